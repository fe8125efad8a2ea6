"""Whatever anybody sends to any endpoint, every answer is one that the specification allows, and comes soon.

https://spec.matrix.org/v1.19/client-server-api/#api-standards

HEARTH_GENERATED=50000 is the full run (on each engine; pytest -o faulthandler_timeout=7200),
HEARTH_GENERATED_SEED makes the same choices again.
"""

import asyncio
import json
import os
import random
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from homeserver.http.endpoint import OPEN
from homeserver.protocol import canonical_json
from homeserver.protocol.canonical_json import NotCanonical
from tests.faults.generator import Generator, Shape, family_of
from tests.faults.hostile import Scene
from tests.faults.population import Population
from tests.federation.authority import Authority
from tests.federation.processes import federate
from tests.federation.synthetic import Synthetic
from tests.harness import ENGINES, HearthServer
from tests.spec.responses import check
from tests.spec.support import endpoints
from tests.wire import Disconnected, Wire

CASES = int(os.environ.get("HEARTH_GENERATED", "300"))
SEED = int(os.environ.get("HEARTH_GENERATED_SEED", str(random.randrange(2**32))))
A_BATCH = 150
LIFETIME = 14
"""Batches that a population lives."""
AT_ONCE = 4
SLOW = 5.0
TABLE = json.loads((Path(__file__).parent.parent / "spec" / "requests.json").read_text())

# Everything that can be switched on, so that there is more to reach.
SETTINGS = {
    "allow_guest_access": True, "serve_server_wellknown": True, "allow_public_rooms_over_federation": True,
    "login_via_existing_session": {"enabled": True, "require_ui_auth": False},
    "well_known_support": {"contacts": [{"role": "m.role.admin", "email_address": "admin@localhost"}]},
    "user_directory": {"search_all_users": True},
}  # fmt: skip

# Answers of 500 and more that mean what they say: another server could not be asked, or a feature is absent.
MEANT = {501, 502, 504}


@dataclass
class Made:
    """A request that is ready to be sent."""

    method: str
    path: str
    body: bytes
    token: str
    name: str
    signed: bool | None = None
    """None: no request of a server."""


@dataclass
class Report:
    complaints: list[str] = field(default_factory=list)
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    refusals: dict[str, deque[str]] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)

    def add(self, made: Made, response: httpx.Response, took: float) -> None:
        self.latencies.append(took)
        self.statuses[made.name, response.status_code] += 1
        if response.status_code >= 400:
            refusals = self.refusals.setdefault(made.name, deque(maxlen=3))
            refusals.append(f"{response.text[:120]} {made.path[:200]} {made.body[:200]!r}")

    def show(self) -> None:
        total = Counter[int]()
        succeeded: set[str] = set()
        for (name, status), count in self.statuses.items():
            total[status] += count
            if status < 300:
                succeeded.add(name)
        never = sorted({name for name, _ in self.statuses} - succeeded)
        latencies = sorted(self.latencies)
        print(f"{sum(total.values())} requests: {dict(sorted(total.items()))}")
        print(f"median {latencies[len(latencies) // 2]:.3f} s, slowest {latencies[-1]:.3f} s")
        print(f"{len(succeeded)} endpoints were successful, {len(never)} never:")
        for name in never:
            print(" ", name)
            for each in self.refusals.get(name, ()):
                print("      ", each[:240])


class Run:
    def __init__(self, scene: Scene, seed: int) -> None:
        self.scene = scene
        self.generator = Generator(seed, {}, TABLE["$defs"])
        self.shapes = [Shape(endpoint, TABLE["operations"]) for endpoint in endpoints()]
        self.report = Report()
        self.population = Population(scene, self.generator)

    def run(self, cases: int) -> None:
        batches = -(-cases // A_BATCH)
        for number in range(batches):
            if number and number % LIFETIME == 0:
                self.population = Population(self.scene, self.generator)
            asyncio.run(self.batch())
            if errors := self.scene.hearth.internal_errors():
                self.report.complaints.append(f"Logged in batch {number}:\n{errors[:5000]}")
            self.population.heal()
            if number % 20 == 19:
                print(f"{(number + 1) * A_BATCH} requests", flush=True)
            if len(self.report.complaints) > 20:
                break

    async def batch(self) -> None:
        todo = iter(range(A_BATCH))

        async def work() -> None:
            wire = Wire(self.scene.hearth.process.port)
            for _ in todo:
                await self.send(wire, self.make())
            wire.close()

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))

    def make(self) -> Made:
        generator, people = self.generator, self.population
        shape = generator.chance.choice(self.shapes)
        endpoint = shape.endpoint
        asker, token = people.asker(shape.template)
        people.asking = asker or people.victim
        generator.family = family_of(shape.template)
        values = {name: generator.segment(name, schema) for name, schema in shape.path.items()}
        if "user_id" in values and "/admin/" in shape.template:
            values["user_id"] = people.victim.client.user_id
        elif "user_id" in values and "/rooms/" not in shape.template and generator.happens(0.6):
            values["user_id"] = people.asking.client.user_id
        if "/devices/" in shape.template and generator.happens(0.5):
            values["device_id"] = people.asking.client.device_id
        if "event_id" in values and generator.happens(0.6):
            values["room_id"], values["event_id"] = generator.chance.choice(list(people.events.items()))
        body = self.body(shape, values)
        path = shape.template
        for name, value in values.items():
            path = path.replace(f"{{{name}}}", quote(value, safe="", errors="surrogatepass"), 1)
        path += self.query(shape)
        signed = None
        if endpoint.handler.__module__.startswith("federation.") and endpoint.auth is not OPEN:
            signed = generator.happens(0.9)
            try:
                body = canonical_json.encode_lax(canonical_json.decode_lax(body)) if signed and body else body
            except (NotCanonical, ValueError, RecursionError):
                signed = False
        return Made(endpoint.method, path, body, token, f"{endpoint.method} {shape.template}", signed)

    def body(self, shape: Shape, values: dict[str, str]) -> bytes:
        generator = self.generator
        body: Any = self.population.body(shape.template, values)
        if body is None and shape.bodies:
            body = generator.value(generator.chance.choice(shape.bodies))
            if isinstance(body, dict) and generator.happens(0.9):
                body.pop("invite_3pid", None)  # are always refused
        if body is None:
            return b"" if generator.happens(0.9) else generator.bytes_of(generator.anything())
        for _ in range(generator.chance.choice([0, 0, 0, 0, 0, 1, 1, 2])):
            body = generator.spoil(body)
        return generator.bytes_of(body)

    def query(self, shape: Shape) -> str:
        generator, pairs = self.generator, []
        for name, schema in shape.query.items():
            if not generator.happens(0.97 if name in shape.required else 0.3):
                continue
            value = generator.value(schema, name)
            if generator.happens(0.1):
                value = "-1" if name.startswith("timeout") else generator.odd_text()
            for each in value if isinstance(value, list) else [value]:
                text = each if isinstance(each, str) else json.dumps(each)
                pairs.append(f"{quote(name)}={quote(text, safe='', errors='surrogatepass')}")
        return "?" + "&".join(pairs) if pairs else ""

    async def send(self, wire: Wire, made: Made) -> None:
        started = time.monotonic()
        try:
            response = await self.answer(wire, made)
            took = time.monotonic() - started
            check(response)
        except (AssertionError, httpx.HTTPError, Disconnected) as error:
            self.complain(made, f"{type(error).__name__}: {error}")
            return
        self.report.add(made, response, took)
        if response.status_code >= 500 and response.status_code not in MEANT:
            self.complain(made, f"{response.status_code} {response.text[:300]}")
        if response.status_code == 401 and made.token == self.population.victim.client.access_token:
            self.population.new_victim()
        if took > SLOW:
            self.complain(made, f"took {took:.1f} s")
        if response.status_code == 200 and response.headers.get("content-type") == "application/json":
            self.generator.known.hear(made.path, response.json())

    async def answer(self, wire: Wire, made: Made) -> httpx.Response:
        if made.signed:
            ask = self.scene.remote.ask
            return await asyncio.to_thread(ask, self.scene.name, made.method, made.path, made.body or None)
        wire.token = made.token
        kind = "text/plain" if "msc4108" in made.path else "application/json"
        answer = await asyncio.wait_for(wire.request(made.method, made.path, made.body, kind), 60)
        headers = {b"Authorization": f"Bearer {made.token}".encode()}
        request = httpx.Request(made.method, self.scene.hearth.url + made.path, headers=headers,
        content=made.body)
        return httpx.Response(answer.status, headers=answer.headers, content=answer.body, request=request)

    def complain(self, made: Made, what: str) -> None:
        complaint = f"{made.method} {made.path[:500]}\n  {made.body[:1500]!r}\n  {what[:1500]}"
        print(complaint, flush=True)
        self.report.complaints.append(complaint)


@pytest.fixture(params=ENGINES)
def here(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    """Hearth speaks with the remote and nobody else: no name server is asked about elsewhere.example."""
    postgres = request.getfixturevalue("postgres_server") if request.param == "postgres" else None
    authority = Authority(tmp_path)
    hearth = HearthServer(request.param, tmp_path / "hearth", postgres, SETTINGS)
    with Synthetic(authority) as remote:
        name = federate(hearth.process, authority, federation_domain_whitelist=[remote.name])
        with hearth:
            yield Scene(authority, hearth, name, remote)


def test_every_answer_is_within_the_rules(here: Scene) -> None:
    print(f"HEARTH_GENERATED_SEED={SEED}")
    here.remote.make_room("12", members=3)
    here.remote.make_room("9", members=3)
    run = Run(here, SEED)
    run.run(CASES)
    run.report.show()
    assert not run.report.complaints, "\n".join(run.report.complaints)
