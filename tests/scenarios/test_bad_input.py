"""Whatever is sent to whatever endpoint: the specification's error, nothing changed, no internal error.

https://spec.matrix.org/v1.19/client-server-api/#standard-error-response

Alice has a room and things of her own. Wrong requests in her name must change nothing, and so must the
requests of Mallory, who does odd things to his own and reaches for hers; her sync must stay silent
throughout. (That nothing is logged as an internal error is what the fixture `server` looks after.)
"""

import asyncio
import itertools
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from homeserver.http.endpoint import ADMIN, USER, Endpoint
from tests.harness import Client, HearthServer, ok
from tests.scenarios.attacks import (
    INTERACTIVE,
    TOO_LARGE,
    Attack,
    Place,
    fill,
    foreign,
    names,
    path_of,
    strict,
    wild,
)
from tests.scenarios.refusals import REFUSALS, Refusal
from tests.spec.support import endpoints
from tests.wire import CLIENT, Answer, Wire

# Those that clients use; other servers have another listener and another way to authenticate.
ENDPOINTS = sorted(
    (endpoint for endpoint in endpoints() if endpoint.handler.__module__.startswith("homeserver.")),
    key=lambda endpoint: (endpoint.paths[0], endpoint.method),
)
numbers = itertools.count()

every_endpoint = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=names(ENDPOINTS))


class Stage:
    """Alice and Mallory on one server, who share nothing."""

    def __init__(self, server: HearthServer) -> None:
        self.server = server
        self.alice = settle(server, "alice")
        self.alice.person.sync()
        self._mallory = settle(server, "mallory")

    @property
    def mallory(self) -> Place:
        """Some attacks log him out, deactivate him or leave his room."""
        person, room_id = self._mallory.person, self._mallory.room_id
        if room_id not in person.get("/joined_rooms").json().get("joined_rooms", []):
            self._mallory = settle(self.server, "mallory")
        return self._mallory

    def check_silence(self) -> None:
        news = self.alice.person.sync()
        # Alice's own syncing makes her online, sooner or later.
        noises = ("next_batch", "device_one_time_keys_count", "device_unused_fallback_key_types", "presence")
        for noise in noises:
            news.pop(noise, None)
        assert not without_empty(news), f"Something changed for Alice: {news}"


def settle(server: HearthServer, name: str) -> Place:
    person = server.register(name)
    alias = f"{name}{next(numbers)}"
    room_id = person.create_room(preset="private_chat", room_alias_name=alias)
    return Place(person, room_id, person.send(room_id, "hello"), f"#{alias}:localhost")


def without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: kept for key, each in value.items() if (kept := without_empty(each))}
    return value


@pytest.fixture(scope="module")
def stages() -> dict[str, Stage]:
    return {}


@pytest.fixture
def stage(server: HearthServer, stages: dict[str, Stage]) -> Iterator[Stage]:
    stage = stages.get(server.engine) or stages.setdefault(server.engine, Stage(server))
    yield stage
    stage.check_silence()


def attack(server: HearthServer, method: str, person: Client, attacks: Iterable[Attack]) -> None:
    """All of them, one after another; the complaints about all answers that are wrong."""
    complaints: list[str] = []

    async def all_attacks(wire: Wire) -> None:
        for each in attacks:
            wire.token = person.access_token if each.token is None else each.token
            answer = await wire.request(method, each.path, each.body)
            if complaint := wrong(answer, each):
                complaints.append(
                    f"{each.name}: {method} {each.path[:200]} {each.body[:200]!r} -> {complaint}"
                )

    with_wire(server, all_attacks)
    assert not complaints, "\n".join(complaints)


def with_wire(server: HearthServer, use: Callable[[Wire], Awaitable[None]]) -> None:
    async def run() -> None:
        wire = Wire(server.process.port)
        try:
            await use(wire)
        finally:
            wire.close()

    asyncio.run(run())


def wrong(answer: Answer, attack: Attack) -> str:
    """What is wrong with the answer, if anything."""
    said = f"{answer.status} {answer.body[:200]!r}"
    if answer.status < 400:
        return said if attack.expected or answer.status != 200 else ""
    try:
        error = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return f"no JSON: {said}"
    outcome = (answer.status, error.get("errcode"))
    if answer.status == 401 and "flows" in error and "errcode" not in error:
        outcome = INTERACTIVE
    elif answer.status >= 500 or not isinstance(error.get("errcode"), str) or not error.get("error"):
        return said
    return said if attack.expected and outcome not in attack.expected else ""


@every_endpoint
def test_what_the_declaration_forbids(endpoint: Endpoint, stage: Stage) -> None:
    attack(stage.server, endpoint.method, stage.alice.person, strict(endpoint, stage.alice))


@every_endpoint
def test_odd_input_makes_nothing_stumble(endpoint: Endpoint, stage: Stage) -> None:
    mallory = stage.mallory
    attack(stage.server, endpoint.method, mallory.person, wild(endpoint, mallory))


@every_endpoint
def test_a_body_that_is_too_large(endpoint: Endpoint, server: HearthServer) -> None:
    """Refused by its announced size: the head alone is sent."""
    path = fill(endpoint.paths[0], dict.fromkeys(endpoint.path_fields, "x"))
    size = endpoint.max_body + 1
    head = f"{endpoint.method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.process.port), timeout=10) as connection:
        connection.sendall(head.encode())
        answer = connection.recv(65536)
    assert answer.startswith(f"HTTP/1.1 {TOO_LARGE[0]} ".encode()), answer
    assert f'"{TOO_LARGE[1]}"'.encode() in answer


# Somebody else's things that one may nevertheless name: (method, path, parameter).
PUBLIC = {
    # Whoever knows an alias may ask where it leads, and of any room whether the directory lists it.
    ("GET", "/_matrix/client/v3/directory/room/{room_alias}", "room_alias"),
    ("GET", "/_matrix/client/v3/directory/list/room/{room_id}", "room_id"),
    # It is others whom one reports, and rooms one need not be in.
    ("POST", "/_matrix/client/v3/users/{user_id}/report", "user_id"),
    ("POST", "/_matrix/client/v3/rooms/{room_id}/report", "room_id"),
}

OUT_OF_REACH = {
    (400, "M_INVALID_PARAM"),
    (400, "M_MISSING_PARAM"),
    (403, "M_FORBIDDEN"),
    (404, "M_NOT_FOUND"),
    INTERACTIVE,  # device IDs mean something only together with their user
}


@every_endpoint
def test_other_peoples_things_are_out_of_reach(endpoint: Endpoint, stage: Stage) -> None:
    mallory, method = stage.mallory, endpoint.method
    attacks = []
    for name, each in foreign(endpoint, mallory, stage.alice):
        profile = method == "GET" and "/profile/" in endpoint.paths[0]
        public = profile or (method, endpoint.paths[0], name) in PUBLIC
        # Account data and tags are one's own notes, seen by nobody else, about whatever room they name.
        own_note = name == "room_id" and "/user/{user_id}/rooms/" in endpoint.paths[0]
        if not public and not own_note:
            each.expected = OUT_OF_REACH
        attacks.append(each)
    attack(stage.server, method, mallory.person, attacks)


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE", "PATCH"])
def test_methods_that_a_path_does_not_know(method: str, stage: Stage) -> None:
    known: dict[str, set[str]] = {}
    for endpoint in ENDPOINTS:
        for path in endpoint.paths:
            known.setdefault(fill(path, dict.fromkeys(endpoint.path_fields, "x")), set()).add(endpoint.method)
    unrecognized = {(405, "M_UNRECOGNIZED")}
    attacks = [Attack("method", path, expected=unrecognized) for path in known if method not in known[path]]
    attack(stage.server, method, stage.alice.person, attacks)


@pytest.mark.parametrize(
    "path", ["/", "/_matrix", "/_matrix/client/v3/nothing", "/_matrix/client/v99/sync", "/%00"]
)
def test_paths_that_nobody_knows(path: str, stage: Stage) -> None:
    unrecognized = [Attack("path", path, expected={(404, "M_UNRECOGNIZED")})]
    attack(stage.server, "GET", stage.alice.person, unrecognized)


def test_guests_are_kept_out(tmp_path: Path) -> None:
    """Of all but a fixed list of endpoints. https://spec.matrix.org/v1.19/client-server-api/#guest-access"""
    with HearthServer("sqlite", tmp_path, settings={"allow_guest_access": True}) as server:
        guest = server.client()
        guest.adopt(ok(guest.post("/register", {}, kind="guest")))
        place = Place(guest, "!nowhere:localhost", "$nothing", "#nowhere:localhost")
        refused = {(403, "M_GUEST_ACCESS_FORBIDDEN"), (403, "M_FORBIDDEN")}
        for endpoint in ENDPOINTS:
            if endpoint.auth in (USER, ADMIN) and not endpoint.guests:
                attack(
                    server, endpoint.method, guest, [Attack("", path_of(endpoint, place), expected=refused)]
                )
        assert not server.internal_errors()


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: f"{refusal[0]} {refusal[1]}"[:90])
def test_what_has_a_wrong_meaning(refusal: Refusal, stage: Stage) -> None:
    method, path, body, expected = refusal
    mallory, alice = stage.mallory, stage.alice
    values = {
        "me": mallory.person.user_id,
        "my_name": localpart(mallory.person.user_id),
        "room": mallory.room_id,
        "event": mallory.event_id,
        "alias": mallory.alias,
        "alias_local": localpart(mallory.alias),
        "her": alice.person.user_id,
        "her_room": alice.room_id,
        "her_event": alice.event_id,
        "her_alias": alice.alias,
    }
    path = fill(path, {name: quote(value, safe="") for name, value in values.items()})
    content = b"" if body is None else fill(orjson.dumps(body).decode(), values).encode()
    attacks = [Attack("refusal", CLIENT + path, content, expected=expected)]
    attack(stage.server, method, mallory.person, attacks)


def localpart(identifier: str) -> str:
    return identifier[1:].partition(":")[0]
