"""Whatever is said while a server is away, or while this one dies, arrives: in order in each room, each once.

https://spec.matrix.org/v1.19/server-server-api/#transactions
"""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.faults.hostile import bodies, read_back
from tests.federation.authority import Authority
from tests.federation.processes import federate
from tests.harness import PASSWORD, Client, HearthServer, Json, ok, room_path
from tests.processes import Hearth, ServerProcess, Synapse, synapse_python

pytestmark = pytest.mark.interop

WITHIN = 60


@dataclass
class Outage:
    """`alice` of a Hearth and `bob` of its partner share rooms."""

    hearth: HearthServer
    partner: ServerProcess
    alice: Client
    bob: Client
    rooms: list[str] = field(default_factory=list)
    said: dict[str, list[str]] = field(default_factory=dict)

    def share(self, count: int, name: str) -> None:
        for _ in range(count):
            room_id = self.alice.create_room(preset="public_chat", room_version="11")
            ok(self.bob.post(f"/join/{quote(room_id)}", {}, via=name, server_name=name))
            self.rooms.append(room_id)
            self.said[room_id] = []

    def say(self, speaker: Client, each: int, *, first: int = 0) -> None:
        """In all rooms in turn; what is not acknowledged is said again under the same transaction ID."""
        for number in range(first, first + each):
            for room_id in self.rooms:
                text = f"message {number}"
                path = f"{room_path(room_id)}/send/m.room.message/t{number}"
                while True:
                    try:
                        ok(speaker.put(path, {"msgtype": "m.text", "body": text}))
                    except httpx.TransportError:
                        time.sleep(0.1)  # killed: it comes back
                        continue
                    break
                self.said[room_id].append(text)

    def all_arrive(self, reader: Client, seconds: float = WITHIN) -> None:
        start = time.monotonic()
        for room_id, texts in self.said.items():
            while len(found := bodies(read_back(reader, room_id))) < len(texts):
                waited = time.monotonic() - start
                assert waited < seconds, f"{len(found)} of {len(texts)} in {room_id} after {waited:.0f} s"
                time.sleep(0.5)  # who is asked without a break has no time to receive
            assert found == texts
        # Also where the last rooms are found complete at once: reading takes time, too.
        assert time.monotonic() - start < seconds


@pytest.fixture(params=["hearth sqlite", "synapse sqlite", "synapse postgres"])
def outage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Outage]:
    """With Synapse twenty rooms, between two Hearths a few."""
    other, engine = request.param.split()
    synapse = other == "synapse"
    if synapse and not synapse_python().exists():
        pytest.skip("Synapse is not installed: make peers")
    authority = Authority(tmp_path)
    postgres = request.getfixturevalue("postgres_server") if engine == "postgres" else None
    hearth = HearthServer(engine, tmp_path / "hearth", postgres)
    partner: ServerProcess = (Synapse if synapse else Hearth)(tmp_path / "partner")
    quick = {"destination_min_retry_interval": "1s", "destination_max_retry_interval": "2s"}
    name = federate(hearth.process, authority)
    settings: Json = {"federation": {**quick, "destination_retry_multiplier": 1}} if synapse else {}
    federate(partner, authority, **settings)
    with hearth, partner:
        bob = Client(partner.url)
        if synapse:
            bob.http.event_hooks = {}
        body = {"username": "bob", "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
        bob.adopt(ok(bob.post("/register", body)))
        made = Outage(hearth, partner, hearth.register("alice"), bob)
        made.share(20 if synapse else 4, name)
        yield made
        assert not hearth.internal_errors()
        bob.http.close()


def messages_each(outage: Outage) -> int:
    """Three hundred in twenty rooms."""
    return 15 if len(outage.rooms) == 20 else 5


def test_the_partner_is_away(outage: Outage) -> None:
    outage.say(outage.alice, 1)
    outage.all_arrive(outage.bob)
    outage.partner.stop()
    outage.say(outage.alice, messages_each(outage), first=1)
    outage.partner.start()
    outage.all_arrive(outage.bob)


def test_the_partner_is_away_and_hearth_restarts(outage: Outage) -> None:
    outage.partner.stop()
    outage.say(outage.alice, messages_each(outage))
    outage.hearth.kill()
    outage.hearth.start()
    outage.partner.start()
    outage.all_arrive(outage.bob)


def test_hearth_is_killed_while_it_sends(outage: Outage) -> None:
    sending = threading.Thread(target=outage.say, args=(outage.alice, messages_each(outage)))
    sending.start()
    for _ in range(3):
        time.sleep(0.5)
        outage.hearth.kill()
        outage.hearth.start()
    sending.join()
    outage.all_arrive(outage.bob)


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_hearth_is_away(outage: Outage, how: str) -> None:
    """The partner speaks meanwhile, and once more when Hearth is back: that makes Synapse try again."""
    outage.hearth.kill() if how == "killed" else outage.hearth.stop()
    outage.say(outage.bob, messages_each(outage))
    outage.hearth.start()
    time.sleep(2)
    outage.say(outage.bob, 1, first=100)
    outage.all_arrive(outage.alice)


def test_hearth_is_killed_while_it_receives(outage: Outage) -> None:
    sending = threading.Thread(target=outage.say, args=(outage.bob, messages_each(outage)))
    sending.start()
    for _ in range(3):
        time.sleep(0.5)
        outage.hearth.kill()
        outage.hearth.start()
    sending.join()
    time.sleep(2)
    outage.say(outage.bob, 1, first=100)
    outage.all_arrive(outage.alice)
