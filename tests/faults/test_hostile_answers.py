"""A server that answers with lies, with too much, too slowly or never, costs a bounded time and memory, and
leaves nobody half in a room.

https://spec.matrix.org/v1.19/server-server-api/#joining-rooms
"""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from homeserver.protocol.signing import SigningKey
from tests.faults.hostile import DeadEnd, Scene, bodies, read_back, scene, sees, wait_to_see
from tests.federation.authority import Authority
from tests.federation.synthetic import Synthetic
from tests.federation.synthetic_http import Answer, Asked, Hook, HttpsServer, Raw, drip, flood
from tests.federation.synthetic_room import SyntheticRoom
from tests.harness import Client, Json, ok


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("hostile")) as made:
        yield made


@pytest.fixture
def here(shared: Scene) -> Iterator[Scene]:
    """The scene with a remote of its own, whose failures nobody remembers."""
    shared.hearth.internal_errors()
    with Synthetic(shared.authority) as remote:
        yield Scene(shared.authority, shared.hearth, shared.name, remote)
    errors = shared.hearth.internal_errors()
    assert not errors, errors


def join_fails(here: Scene, room: SyntheticRoom, seconds: float = 30) -> Client:
    """The client is told, and is not in the room."""
    client = here.hearth.register("guest")
    started = time.monotonic()
    answer = here.try_to_join(room, client)
    assert time.monotonic() - started < seconds
    assert answer.status_code >= 400, answer.text
    assert room.room_id not in ok(client.get("/joined_rooms"))["joined_rooms"]
    assert room.room_id not in client.sync().get("rooms", {}).get("join", {})
    return client


def answering(content: Any) -> Hook:
    return lambda asked, honest: Answer(content)


def talk(here: Scene, room: SyntheticRoom, client: Client) -> None:
    hello = room.say("still here")
    assert here.remote.send(here.name, [hello]) == {hello.event_id: {}}
    wait_to_see(client, room.room_id, hello.event_id)
    here.remote.wait_for(client.send(room.room_id, "so am I"))


# Certificates and redirects


@pytest.mark.parametrize("wrong", ["authority", "name", "expired"])
def test_wrong_certificates(here: Scene, wrong: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    authority = here.authority
    if wrong == "authority":
        authority = Authority(tmp_path_factory.mktemp("another"), "Another authority")
    name = "elsewhere.example" if wrong == "name" else "localhost"
    certificate = authority.issue(name, expired=wrong == "expired")
    reached: list[Any] = []

    def note(asked: Asked) -> Answer:
        reached.append(asked)
        return Answer()

    server = HttpsServer("127.0.0.1", certificate, [], note)
    try:
        with here.undisturbed(seconds=30):
            client = here.hearth.register("guest")
            there = f"localhost:{server.server_address[1]}"
            answer = client.post(f"/join/%21room:{there}", {}, via=[there])
            assert answer.status_code in (404, 502, 504), answer.text
        assert not reached, "something was said to the wrong server"
    finally:
        server.close()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect_loops(here: Scene, status: int) -> None:
    room = here.remote.make_room()

    def redirect(asked: Any, honest: Any) -> Answer:
        return Answer({}, status, {"Location": f"https://{here.remote.name}{asked.uri}"})

    here.remote.instead("make_join", redirect)
    with here.undisturbed(seconds=30):
        join_fails(here, room)
    assert here.remote.times_asked("make_join") < 4


# Too much, too slow, never


@pytest.mark.parametrize("operation", ["make_join", "send_join"])
def test_a_hundred_megabytes_and_more(here: Scene, operation: str) -> None:
    room = here.remote.make_room(members=3)
    here.remote.instead(operation, lambda asked, honest: flood(300))
    with here.undisturbed(megabytes=450, seconds=60):
        join_fails(here, room, 60)


@pytest.mark.interop
@pytest.mark.parametrize("filling", [b"{},", b"[],", b"[[[[[[[[[]]]]]]]]],", b'{"a":[]},'])
def test_small_things_in_great_number(here: Scene, filling: bytes) -> None:
    """A hundred megabytes of JSON may be gigabytes once they are read."""
    room = here.remote.make_room(members=3)
    start, end = b'{"state": [', b'{}], "auth_chain": []}'
    body = start + filling * (90_000_000 // len(filling)) + end
    here.remote.instead("send_join", lambda asked, honest: Answer(body))
    with here.undisturbed(megabytes=1200, seconds=90):
        join_fails(here, room, 90)


def test_a_flood_instead_of_history(here: Scene) -> None:
    room = here.remote.make_room(members=3)
    room.chat(50)
    client = here.join(room)
    here.remote.instead("backfill", lambda asked, honest: flood(300))
    with here.undisturbed(megabytes=300):
        history = read_back(client, room.room_id)
    assert history
    here.remote.behave()
    talk(here, room, client)


@pytest.mark.interop
@pytest.mark.parametrize("how", ["endless", "silent"])
def test_slow_answers_hold_up_only_what_needs_them(here: Scene, how: str) -> None:
    """While one room waits for what is missing, those of other servers go on; the same server's wait their
    turn, as it waits for the answer to its transaction.
    """
    slow, quick = here.remote.make_room("11", members=1), here.remote.make_room("11", members=1)
    client = here.join(slow)
    here.join(quick, client)
    hook: Hook = lambda asked, honest: drip(b" " * 10_000, 0.5) if how == "endless" else None  # noqa: E731
    for operation in ("get_missing_events", "state_ids", "state", "event", "backfill", "event_auth"):
        here.remote.instead(operation, hook)
    slow.chat(40)
    waiting = slow.say("with ancestors that never come")
    results: list[Any] = []

    def send() -> None:
        results.append(here.remote.put_transaction(here.name, here.remote.transaction([waiting])))

    here.remote.http.timeout = 200.0
    with Synthetic(here.authority, seed=5) as friend, here.undisturbed(seconds=60):
        room = friend.make_room("11")
        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        time.sleep(1)
        started = time.monotonic()
        ok(client.post(f"/join/{room.room_id}", {}, via=[friend.name]))
        hello = room.say("from a friend")
        assert friend.send(here.name, [hello]) == {hello.event_id: {}}
        client.send(slow.room_id, "we can still write")
        assert time.monotonic() - started < 5
        other = quick.say("from the same server, but another room")
        assert here.remote.send(here.name, [other]) == {other.event_id: {}}
        wait_to_see(client, quick.room_id, other.event_id)


@pytest.mark.interop
@pytest.mark.parametrize("how", ["endless", "silent"])
def test_slow_answers_are_given_up(here: Scene, how: str) -> None:
    """Some minutes: each request has its time limit, and a transaction ends."""
    room = here.remote.make_room("11", members=1)
    client = here.join(room)
    hook: Hook = lambda asked, honest: drip(b" " * 10_000, 0.5) if how == "endless" else None  # noqa: E731
    for operation in ("get_missing_events", "state_ids", "state", "event", "backfill", "event_auth"):
        here.remote.instead(operation, hook)
    room.chat(40)
    here.remote.http.timeout = 400.0
    with here.undisturbed(seconds=400):
        answer = here.remote.put_transaction(here.name, here.remote.transaction([room.say("the last")]))
        assert answer.status_code == 200
    here.remote.behave()
    client.send(room.room_id, "we can still write")


@pytest.mark.interop
@pytest.mark.parametrize("operation", ["make_join", "send_join"])
def test_joins_that_are_never_answered(here: Scene, operation: str) -> None:
    room = here.remote.make_room()
    here.remote.instead(operation, lambda asked, honest: None)
    with here.undisturbed(seconds=400):
        client = here.hearth.register("guest")
        client.http.timeout = 400.0
        assert here.try_to_join(room, client).status_code >= 400


# Answers that are none


NOT_ANSWERS: list[tuple[str, bytes]] = [
    ("empty", b""), ("list", b"[]"), ("null", b"null"), ("broken", b"{"), ("object", b"{}"),
    ("numbers", b'{"event": 5, "room_version": 7, "state": 8, "auth_chain": 9, "pdus": 10}'),
    ("strings", b'{"event": "e", "room_version": "11", "state": "s", "auth_chain": "a"}'),
    ("lists of nothing", b'{"event": [], "room_version": "11", "state": [null, 1], "auth_chain": [[]]}'),
    ("empty objects", b'{"event": {}, "room_version": "11", "state": [{}], "auth_chain": [{}]}'),
    ("nested", b'{"state": ' + b"[" * 100_000 + b"]" * 100_000 + b', "auth_chain": []}'),
    ("unknown version", b'{"event": {}, "room_version": "org.example.99"}'),
    ("binary", bytes(range(256))),
]


@pytest.mark.parametrize("operation", ["make_join", "send_join"])
@pytest.mark.parametrize("body", [each for _, each in NOT_ANSWERS], ids=[each for each, _ in NOT_ANSWERS])
def test_answers_to_joins_that_are_none(here: Scene, operation: str, body: bytes) -> None:
    room = here.remote.make_room("11")
    here.remote.instead(operation, lambda asked, honest: Answer(body))
    join_fails(here, room)
    here.remote.behave()


@pytest.mark.parametrize("operation", ["get_missing_events", "state_ids", "state", "event", "backfill"])
def test_answers_about_events_that_are_none(here: Scene, operation: str) -> None:
    room = here.remote.make_room("11", members=1)
    client = here.join(room)
    for _, body in NOT_ANSWERS:
        here.remote.instead(operation, answering(body))
        room.chat(15)
        here.remote.send(here.name, [room.say("after a gap")])
        client.get(f"/rooms/{room.room_id}/messages", dir="b", limit=30)
    here.remote.behave()
    talk(here, room, client)


def test_servers_that_are_named_and_are_not_there(here: Scene) -> None:
    """A join answer may name as many servers as it likes; few of them are tried at a time."""
    room = here.remote.make_room("11", members=3)
    dead_end = DeadEnd()
    names = [f"127.{n // 250}.1.{n % 250 + 1}:{dead_end.port}" for n in range(20_000)]
    here.remote.instead("send_join", lambda asked, honest: Answer({
        **honest().content, "members_omitted": True, "servers_in_room": [here.remote.name, *names],
    }))
    try:
        with here.undisturbed(megabytes=80, seconds=30):
            here.remote.instead("state", lambda asked, honest: Answer({}, 404))
            client = here.join(room)
            for number in range(5):
                here.remote.wait_for(client.send(room.room_id, f"message {number}"))
        assert 0 < dead_end.most <= 60
    finally:
        dead_end.close()
    here.remote.behave()


def test_make_join_for_something_else(here: Scene) -> None:
    """The template is a suggestion: nothing but a join of our user into this room gets our signature."""
    room = here.remote.make_room("11")
    changes: list[Json] = [
        {"type": "m.room.message"}, {"sender": "@someone:else"}, {"state_key": "@someone:else"},
        {"content": {"membership": "leave"}}, {"room_id": "!another:room"}, {"content": {}},
    ]
    for change in changes:
        def lie(asked: Any, honest: Callable[[], Answer], change: Json = change) -> Answer:
            made = honest().content
            return Answer({**made, "event": {**made["event"], **change}})

        here.remote.instead("make_join", lie)
        client = here.hearth.register("guest")
        answer = here.try_to_join(room, client)
        for pdu in (each.json for each in here.remote.asked if each.operation == "send_join"):
            assert (pdu["type"], pdu["content"]["membership"]) == ("m.room.member", "join")
            assert pdu["room_id"] == room.room_id and pdu["sender"] == pdu["state_key"]
            assert pdu["sender"].endswith(f":{here.name}")
        if answer.status_code == 200:
            talk(here, room, client)


# State that contradicts itself


def without(kind: str) -> Callable[[Json, SyntheticRoom], Json]:
    def lie(answer: Json, room: SyntheticRoom) -> Json:
        return {
            **answer,
            "state": [pdu for pdu in answer["state"] if pdu["type"] != kind],
            "auth_chain": [pdu for pdu in answer["auth_chain"] if pdu["type"] != kind],
        }

    return lie


def of_another_room(answer: Json, room: SyntheticRoom) -> Json:
    other = SyntheticRoom.create("11", room.server_name, room.key, "another")
    state = [each.pdu for each in other.events_of(other.state)]
    return {**answer, "state": state, "auth_chain": state}


def forged(answer: Json, room: SyntheticRoom) -> Json:
    wrong = SigningKey("a_synthetic", b"x" * 32)
    other = SyntheticRoom.create("11", room.server_name, wrong, "room0")
    state = [each.pdu for each in other.events_of(other.state)]
    return {**answer, "state": state, "auth_chain": state}


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.parametrize(
    "lie", [without("m.room.create"), of_another_room, forged], ids=["no create", "another room", "forged"]
)
def test_state_that_is_no_room(here: Scene, lie: Callable[[Json, SyntheticRoom], Json]) -> None:
    room = here.remote.make_room("11", members=2)
    here.remote.instead("send_join", lambda asked, honest: Answer(lie(honest().content, room)))
    here.remote.instead("send_join_v1", lambda asked, honest: Answer([200, lie(honest().content, room)]))
    join_fails(here, room)
    here.remote.behave()
    room = here.remote.make_room("11")
    talk(here, room, here.join(room))


def twice(answer: Json, room: SyntheticRoom) -> Json:
    """Two topics, two events of power levels."""
    topics = [room.make("m.room.topic", {"topic": text}, "") for text in ("one", "two")]
    power = room.make("m.room.power_levels", {"users": {room.creator: 100, "@mallory:evil": 100}}, "")
    return {**answer, "state": [*answer["state"], *(each.pdu for each in (*topics, power))]}


def forbidden(answer: Json, room: SyntheticRoom) -> Json:
    """State by somebody who was never in the room, with auth events that do not allow it."""
    mallory = f"@mallory:{room.server_name}"
    power = room.make("m.room.power_levels", {"users": {mallory: 100}}, "", sender=mallory)
    name = room.make("m.room.name", {"name": "Mallory's"}, "", sender=mallory)
    state = [pdu for pdu in answer["state"] if pdu["type"] != "m.room.power_levels"]
    return {**answer, "state": [*state, power.pdu, name.pdu]}


def not_state(answer: Json, room: SyntheticRoom) -> Json:
    return {**answer, "state": [*answer["state"], room.make("m.room.message", {"body": "state?"}).pdu]}


def two_creates(answer: Json, room: SyntheticRoom) -> Json:
    create = room.make("m.room.create", {"room_version": "11", "x": 1}, "", prev=[], auth=[], depth=1)
    return {**answer, "state": [*answer["state"], create.pdu]}


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.parametrize("lie", [twice, forbidden, not_state, two_creates])
def test_state_that_contradicts_itself(here: Scene, lie: Callable[[Json, SyntheticRoom], Json]) -> None:
    """Either the join fails as a whole, or what contradicts is left out and the room works."""
    room = here.remote.make_room("11", members=2)
    here.remote.instead("send_join", lambda asked, honest: Answer(lie(honest().content, room)))
    client = here.hearth.register("guest")
    answer = here.try_to_join(room, client)
    here.remote.behave()
    if answer.status_code == 200:
        state = ok_list(client, room)
        keys = [(each["type"], each["state_key"]) for each in state]
        assert len(keys) == len(set(keys)) and all("state_key" in each for each in state)
        assert not any(each["sender"].startswith("@mallory") for each in state)
        talk(here, room, client)
    else:
        assert room.room_id not in ok(client.get("/joined_rooms"))["joined_rooms"]


def ok_list(client: Client, room: SyntheticRoom) -> list[Json]:
    answer = client.get(f"/rooms/{room.room_id}/state")
    assert answer.status_code == 200, answer.text
    state: list[Json] = answer.json()
    return state


def test_a_gap_with_lying_state(here: Scene) -> None:
    """The state at the far side of a gap gives nobody power that the room's own rules do not."""
    room = here.remote.make_room("11", members=2)
    client = here.join(room)
    mallory = f"@mallory:{here.remote.name}"
    lies = [
        room.make("m.room.member", {"membership": "join"}, mallory, sender=mallory),
        room.make("m.room.power_levels", {"users": {mallory: 100}}, "", sender=mallory),
        room.make("m.room.name", {"name": "Mallory's"}, "", sender=mallory),
    ]
    room.chat(60)

    def state_ids(asked: Any, honest: Callable[[], Answer]) -> Answer:
        given = honest().content
        return Answer({**given, "pdu_ids": [*given["pdu_ids"], *(each.event_id for each in lies)]})

    here.remote.instead("state_ids", state_ids)
    here.remote.instead("get_missing_events", lambda asked, honest: Answer({"events": []}))
    for each in lies:
        room.events[each.event_id] = each
    last = room.say("across the gap")
    with here.undisturbed():
        here.remote.send(here.name, [last])
    for each in lies[1:]:
        del room.events[each.event_id]
    here.remote.behave()
    levels = ok(client.get(f"/rooms/{room.room_id}/state/m.room.power_levels/"))
    assert mallory not in levels["users"]
    assert client.get(f"/rooms/{room.room_id}/state/m.room.name/").status_code == 404
    talk(here, room, client)


# Keys


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.parametrize(("version", "counts"), [("4", True), ("5", False), ("11", False)])
def test_expired_keys(here: Scene, version: str, counts: bool) -> None:
    """From room version 5 a key signs no event later than the day it is valid until."""
    now = int(time.time() * 1000)
    room = here.remote.make_room(version, members=1)
    here.remote.valid_until = now + 3_600_000
    client = here.join(room)
    late = room.make("m.room.message", {"body": "late"}, ts=now + 2 * 3_600_000)
    early = room.say("early", ts=now)
    here.remote.send(here.name, [early, late])
    assert sees(client, room.room_id, early.event_id)
    assert sees(client, room.room_id, late.event_id) is counts
    assert "early" in bodies(read_back(client, room.room_id))


@pytest.mark.usefixtures("undisturbed")
def test_old_keys(here: Scene) -> None:
    """A key given up verifies what it signed before, and no request."""
    now = int(time.time() * 1000)
    old = here.remote.key
    room = here.remote.make_room("11", members=1)
    before = room.make("m.room.message", {"body": "before"}, ts=now - 20_000_000)
    after = room.make("m.room.message", {"body": "after"}, ts=now)
    here.remote.old_keys = {old.key_id: {"key": old.verify_key.encode(), "expired_ts": now - 10_000_000}}
    here.remote.key = SigningKey.generate("a_new")
    client = here.join(room)
    results = here.remote.send(here.name, [before, after])
    assert results[before.event_id] == {}
    assert sees(client, room.room_id, before.event_id)
    assert not sees(client, room.room_id, after.event_id)
    body = here.remote.transaction([])
    path = "/_matrix/federation/v1/send/old"
    assert here.remote.ask(here.name, "PUT", path, body, key=old).status_code == 401
    assert here.remote.ask(here.name, "PUT", path, body).status_code == 200


def test_keys_that_are_none(here: Scene) -> None:
    """A server whose keys nobody can read is a server nobody believes."""
    unsigned = {"valid_until_ts": 10**15, "verify_keys": {"ed25519:a_synthetic": {"key": "?"}}}
    answers: list[Any] = [{}, {"verify_keys": {}}, b"[", [1], unsigned]
    for content in answers:
        with Synthetic(here.authority, seed=9) as other:
            named = {**content, "server_name": other.name} if isinstance(content, dict) else content
            other.instead("server_keys", answering(named))
            sent = other.put_transaction(here.name, other.transaction([]))
            assert sent.status_code == 401, sent.text
    with Synthetic(here.authority, seed=9) as other:
        other.instead("server_keys", lambda asked, honest: flood(50))
        with here.undisturbed(megabytes=60):
            assert other.put_transaction(here.name, other.transaction([])).status_code == 401


def test_headers_without_end(here: Scene) -> None:
    def headers() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n"
        while True:
            yield b"X-More: and more\r\n" * 1000

    room = here.remote.make_room("11")
    here.remote.instead("make_join", lambda asked, honest: Raw(headers()))
    with here.undisturbed(megabytes=50, seconds=30):
        join_fails(here, room)
