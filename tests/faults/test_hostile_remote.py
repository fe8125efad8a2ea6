"""A server that sends lies gets none of them believed, and keeps no room from working, not even its own.

https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu
"""

import contextlib
import time
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import httpx
import pytest

from homeserver.protocol.events import Event
from homeserver.protocol.signing import SigningKey
from tests.faults.hostile import Scene, bodies, read_back, scene, sees, wait_to_see
from tests.federation.synthetic import Synthetic
from tests.federation.synthetic_http import Answer
from tests.federation.synthetic_room import SyntheticRoom, forge, sign_pdu
from tests.harness import Client, Json

WRONG_KEY = SigningKey("a_synthetic", sha256(b"not the one").digest())


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("hostile")) as made:
        yield made


@pytest.fixture
def here(shared: Scene) -> Iterator[Scene]:
    shared.hearth.internal_errors()
    yield shared
    shared.remote.behave()
    errors = shared.hearth.internal_errors()
    assert not errors, errors


class Shared:
    """A room of the remote's with a user of Hearth's in it."""

    def __init__(self, here: Scene, version: str = "11", **options: Any) -> None:
        self.here = here
        self.remote: Synthetic = here.remote
        self.room: SyntheticRoom = here.remote.make_room(version, **options)
        self.alice: Client = here.join(self.room)
        self.room_id = self.room.room_id

    def send(self, *pdus: Event | Json) -> dict[str, Json]:
        return self.remote.send(self.here.name, pdus)

    def sees(self, event_id: str) -> bool:
        return sees(self.alice, self.room_id, event_id)

    def goes_on(self) -> None:
        """Both sides can still talk."""
        hello = self.room.say("still here")
        assert self.send(hello) == {hello.event_id: {}}
        wait_to_see(self.alice, self.room_id, hello.event_id)
        answer = self.remote.wait_for(self.alice.send(self.room_id, "so are we"))
        assert answer.event_id in self.room.extremities


def id_of(pdu: Json, room: SyntheticRoom) -> str:
    return Event.parse(pdu, room.version).event_id


def failed(results: dict[str, Json], event_id: str) -> bool:
    """Not taken: with an error, or not even named."""
    return "error" in results.get(event_id, {"error": ""})


@pytest.mark.parametrize("version", ["1", "3", "6", "10", "12"])
def test_forged_signatures(here: Scene, version: str) -> None:
    with here.undisturbed():
        on = Shared(here, version)
        good = on.room.say("true")
        wrong_key = on.room.make("m.room.message", {"body": "wrong key"}, key=WRONG_KEY)
        nobody = {**on.room.make("m.room.message", {"body": "unsigned"}).pdu, "signatures": {}}
        other = on.room.make("m.room.message", {"body": "by another"}, server_name="other.example")
        theirs = on.room.make("m.room.message", {"body": "your own"}, sender=on.alice.user_id)
        results = on.send(good, wrong_key, nobody, other, theirs)
        assert results[good.event_id] == {}
        for event_id in (wrong_key.event_id, id_of(nobody, on.room), other.event_id, theirs.event_id):
            assert failed(results, event_id) and not on.sees(event_id)
        on.goes_on()
        assert bodies(read_back(on.alice, on.room_id)) == ["true", "still here", "so are we"]


@pytest.mark.usefixtures("undisturbed")
def test_forged_requests(here: Scene) -> None:
    on = Shared(here)
    event = on.room.say("hello")
    path, body = "/_matrix/federation/v1/send/forged", on.remote.transaction([event])
    assert on.remote.ask(here.name, "PUT", path, body, key=WRONG_KEY).status_code == 401
    assert not on.sees(event.event_id)
    assert on.remote.ask(here.name, "PUT", path, body).status_code == 200
    wait_to_see(on.alice, on.room_id, event.event_id)


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.parametrize("version", ["2", "5", "11"])
def test_wrong_hashes_leave_a_redacted_event(here: Scene, version: str) -> None:
    on = Shared(here, version)
    event = on.room.say("what was said")
    changed = {**event.pdu, "content": {**event.content, "body": "what was never said"}}
    assert on.send(changed) == {event.event_id: {}}
    assert wait_to_see(on.alice, on.room_id, event.event_id)["content"] == {}
    state = on.room.send("m.room.topic", {"topic": "what was set"}, "")
    assert on.send({**state.pdu, "content": {"topic": "what was never set"}}) == {state.event_id: {}}
    assert "never" not in str(read_back(on.alice, on.room_id))
    on.goes_on()


def test_unknown_auth_events(here: Scene) -> None:
    with here.undisturbed():
        on = Shared(here)
        good_auth = on.room.make("m.room.message", {}).auth_events
        missing = "$" + "A" * 43
        # One that nobody has, and one whose forbidden author made it up himself.
        unknown = on.room.make("m.room.message", {"body": "by unknown law"}, auth=[*good_auth, missing])
        mallory = f"@mallory:{on.remote.name}"
        joining = {"membership": "join"}
        lie = on.room.make("m.room.member", joining, mallory, sender=mallory, auth=good_auth[:1])
        on.room.events[lie.event_id] = lie
        lawless = on.room.make(
            "m.room.message", {"body": "by my own law"}, sender=mallory, auth=[*good_auth[:2], lie.event_id]
        )
        results = on.send(unknown, lawless)
        assert set(results) <= {unknown.event_id, lawless.event_id}
        assert not on.sees(unknown.event_id) and not on.sees(lawless.event_id) and not on.sees(lie.event_id)
        on.goes_on()


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("field", ["prev_events", "auth_events"])
def test_loops_in_the_graph(here: Scene, version: str, field: str) -> None:
    """Event IDs of one's own choice make it possible to go round in circles."""
    with here.undisturbed():
        on = Shared(here, version)
        template = on.room.make("m.room.topic", {"topic": "round and round"}, "")
        names = [f"${number}loop{version}{field[:4]}:{on.remote.name}" for number in range(3)]
        loop: list[Json] = []
        for number, name in enumerate(names):
            following = [[names[(number + 1) % 3], {}]]
            others = [] if field == "prev_events" else template.pdu["auth_events"]
            pdu = {**template.pdu, "event_id": name, field: [*others, *following], "signatures": {}}
            loop.append(sign_pdu(pdu, on.room.version, on.remote.name, on.remote.key))
        for pdu in loop:
            event = Event.parse(pdu, on.room.version)
            on.room.events[event.event_id] = event
            on.room.state_after[event.event_id] = on.room.state
        asked = len(on.remote.asked)
        on.send(*loop)
        on.send(loop[0])
        assert len(on.remote.asked) - asked < 100
        on.room.events = {each: event for each, event in on.room.events.items() if each not in names}
        on.goes_on()
        shown = [each["event_id"] for each in read_back(on.alice, on.room_id)]
        assert len(set(shown)) == len(shown)


def test_an_event_that_is_its_own_ancestor(here: Scene) -> None:
    on = Shared(here, "1")
    event = on.room.make("m.room.message", {"body": "I am my own father"})
    pdu = {**event.pdu, "prev_events": [[event.event_id, {}]], "signatures": {}}
    pdu = sign_pdu(pdu, on.room.version, on.remote.name, on.remote.key)
    on.room.events[event.event_id] = Event.parse(pdu, on.room.version)
    on.room.state_after[event.event_id] = on.room.state
    with here.undisturbed():
        on.send(pdu)
        del on.room.events[event.event_id]
        on.goes_on()


def test_a_thousand_missing_ancestors(here: Scene) -> None:
    with here.undisturbed(seconds=90):
        on = Shared(here, members=3)
        on.room.chat(1000)
        last = on.room.say("the last")
        asked = len(on.remote.asked)
        started = time.monotonic()
        assert on.send(last) == {last.event_id: {}}
        wait_to_see(on.alice, on.room_id, last.event_id)
        assert time.monotonic() - started < 20
        # A room's worth of requests, not one an event.
        assert len(on.remote.asked) - asked < 150
        on.goes_on()
        history = read_back(on.alice, on.room_id)
        said = [f"message {n}" for n in range(1000)]
        assert bodies(history) == [*said, "the last", "still here", "so are we"]
        assert len({each["event_id"] for each in history}) == len(history)


def test_ancestors_without_end(here: Scene) -> None:
    """Each answer names more that is missing: whoever follows never comes home."""
    with here.undisturbed():
        on = Shared(here, "1")
        template = on.room.make("m.room.message", {"body": "deeper"})

        def event(number: int) -> Json:
            pdu = {
                **template.pdu, "event_id": f"${number}deep:{on.remote.name}", "signatures": {},
                "prev_events": [[f"${number + 1}deep:{on.remote.name}", {}]], "depth": 10**9 - number,
            }
            return sign_pdu(pdu, on.room.version, on.remote.name, on.remote.key)

        def number_of(event_id: str) -> int:
            return int(event_id[1:].partition("deep:")[0])

        def missing(asked: Any, honest: Any) -> Answer:
            first = max(number_of(each) for each in asked.json["latest_events"])
            return Answer({"events": [event(first + n) for n in range(1, 11)][::-1]})

        def one(asked: Any, honest: Any) -> Answer:
            return Answer({"origin": on.remote.name, "pdus": [event(number_of(asked.args[0]))]})

        on.remote.instead("get_missing_events", missing)
        on.remote.instead("event", one)
        on.remote.instead("backfill", lambda asked, honest: Answer({"pdus": [event(7)]}))
        state = list(on.room.state.values())
        ids = {"pdu_ids": state, "auth_chain_ids": [each.event_id for each in on.room.auth_chain(state)]}
        on.remote.instead("state_ids", lambda asked, honest: Answer(ids))
        asked = len(on.remote.asked)
        on.send(event(0))
        assert len(on.remote.asked) - asked < 100
        on.remote.behave()
        on.goes_on()


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.parametrize(("version", "depth"), [("4", 2**63 - 2), ("6", 2**53 - 1), ("11", 2**53 - 1)])
def test_huge_depth(here: Scene, version: str, depth: int) -> None:
    on = Shared(here, version)
    deep = on.room.make("m.room.message", {"body": "deep"}, depth=depth)
    on.room.add(deep)
    assert on.send(deep) == {deep.event_id: {}}
    wait_to_see(on.alice, on.room_id, deep.event_id)
    on.goes_on()
    assert bodies(read_back(on.alice, on.room_id)) == ["deep", "still here", "so are we"]


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.parametrize("depth", [-1, 2**53, 10**30, 1.5, "5", None])
def test_impossible_depth(here: Scene, depth: Any) -> None:
    on = Shared(here, "10")
    event = on.room.make("m.room.message", {"body": "bottomless"})
    pdu = {**event.pdu, "depth": depth}
    signed = sign_pdu({**pdu, "signatures": {}}, on.room.version, on.remote.name, on.remote.key) \
        if isinstance(depth, int) and depth < 2**53 else pdu
    on.send(signed)
    on.goes_on()
    assert "bottomless" not in bodies(read_back(on.alice, on.room_id))


def test_oversized_events(here: Scene) -> None:
    with here.undisturbed():
        on = Shared(here)
        small = on.room.say("small")
        template = on.room.make("m.room.message", {"body": "template"})
        oversized = [
            forge(template, on.remote.name, on.remote.key, content={"body": "x" * 65_536}),
            forge(template, on.remote.name, on.remote.key, type="m." + "x" * 255),
            forge(template, on.remote.name, on.remote.key, state_key="é" * 200),
            forge(template, on.remote.name, on.remote.key, sender=f"@{'x' * 255}:{on.remote.name}"),
            forge(template, on.remote.name, on.remote.key, prev_events=[f"${n:043}" for n in range(21)]),
            forge(template, on.remote.name, on.remote.key, auth_events=[f"${n:043}" for n in range(11)]),
            forge(template, on.remote.name, on.remote.key, content={"body": "x" * 5_000_000}),
        ]
        results = on.send(small, *oversized)
        assert results[small.event_id] == {}
        assert all("error" in result for event_id, result in results.items() if event_id != small.event_id)
        on.goes_on()
        assert bodies(read_back(on.alice, on.room_id)) == ["small", "still here", "so are we"]


def test_oversized_transactions(here: Scene) -> None:
    with here.undisturbed():
        on = Shared(here)
        events = on.room.chat(51)
        too_many = on.remote.put_transaction(here.name, on.remote.transaction(events))
        assert 400 <= too_many.status_code < 500
        assert not on.sees(events[0].event_id)
        edu = {"edu_type": "m.typing", "content": {"room_id": on.room_id, "user_id": "@a:b", "typing": True}}
        too_many = on.remote.put_transaction(here.name, on.remote.transaction([], [edu] * 101))
        assert 400 <= too_many.status_code < 500
        padding = b'{"origin":"%b","pdus":[],"x":"' % on.remote.name.encode() + b"x" * 60_000_000 + b'"}'
        with contextlib.suppress(httpx.TransportError):  # if it hangs up on us in the middle
            assert on.remote.put_transaction(here.name, padding).status_code in (400, 413)
        on.remote.hang_up()
        assert on.send(*events) == {each.event_id: {} for each in events}
        on.goes_on()


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"null", b"{", b'{"pdus": 1}', b'{"pdus": [1, null, "x", [], {}]}', b'{"edus": {}}',
        b'{"pdus": [{"room_id": 5}]}', b'{"pdus": [{"room_id": "!x"}], "edus": [1, {}, {"edu_type": 5}]}',
        b'{"pdus": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}",
        b'{"pdus": [], "edus": [], "origin": "someone.else"}',
        b'{"pdus": [{"room_id": "!\\u0000"}], "origin_server_ts": "now"}',
        b'{"pdus": [], "n": ' + b"9" * 10_000 + b"}",
    ],
    ids=range(13),
)
def test_transactions_that_are_none(here: Scene, body: bytes) -> None:
    answer = here.remote.put_transaction(here.name, body)
    assert answer.status_code in (200, 400, 401, 403), answer.text


@pytest.mark.parametrize("filling", [b"0.5,", b"{},", b"[[[[[[[]]]]]]],"])
def test_transactions_that_take_long_to_read(here: Scene, filling: bytes) -> None:
    """Nine megabytes of nothings, signed rightly and wrongly, keep nobody else waiting."""
    many = filling * (9_000_000 // len(filling))
    body = b'{"origin":"%b","pdus":[{"room_id":"!x:y","n":[%b0]}]}' % (here.remote.name.encode(), many)
    with here.undisturbed(megabytes=500, seconds=60):
        assert here.remote.put_transaction(here.name, body).status_code == 200
        path = "/_matrix/federation/v1/send/slow"
        assert here.remote.ask(here.name, "PUT", path, body, key=WRONG_KEY).status_code in (400, 401)


@pytest.mark.usefixtures("undisturbed")
def test_replayed_transactions(here: Scene) -> None:
    on = Shared(here)
    events = on.room.chat(3)
    bob = here.hearth.register("bob")
    bob.sync()
    knock: Json = {
        "edu_type": "m.direct_to_device",
        "content": {
            "sender": f"@owner:{on.remote.name}", "type": "org.example.knock", "message_id": "once",
            "messages": {bob.user_id: {bob.device_id: {"text": "knock"}}},
        },
    }
    body = on.remote.transaction(events, [knock])
    first = on.remote.put_transaction(here.name, body, "replayed")
    again = on.remote.put_transaction(here.name, body, "replayed")
    assert first.json() == again.json() == {"pdus": {each.event_id: {} for each in events}}
    another = on.remote.put_transaction(here.name, body, "replayed under another name")
    assert another.json() == first.json()
    on.goes_on()
    said = [f"message {n}" for n in range(3)] + ["still here", "so are we"]
    assert bodies(read_back(on.alice, on.room_id)) == said
    knocks = bob.sync_until(lambda sync: sync.get("to_device", {}).get("events"))
    assert len(knocks) == 1 and not bob.sync().get("to_device", {}).get("events")


@pytest.mark.usefixtures("undisturbed")
def test_events_into_rooms_the_sender_is_not_in(here: Scene) -> None:
    carol = here.hearth.register("carol")
    private = carol.create_room(room_version="11")
    room = SyntheticRoom("11", here.remote.name, here.remote.key, "intruder")
    room.room_id = private
    somewhere: Json = {"prev": ["$" + "B" * 43], "depth": 9}
    nobody = [
        room.make("m.room.message", {"body": "let me in"}, auth=["$" + "C" * 43], **somewhere),
        room.make("m.room.member", {"membership": "join"}, room.creator, auth=[], **somewhere),
        room.make("m.room.create", {"room_version": "11"}, "", prev=[], auth=[], depth=1),
    ]
    here.remote.send(here.name, nobody)
    history = read_back(carol, private)
    assert not {each["event_id"] for each in history} & {each.event_id for each in nobody}
    carol.send(private, "still mine")
