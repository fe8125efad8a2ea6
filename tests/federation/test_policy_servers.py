"""Rooms with a policy server: what it does not sign is not sent from here, and not shown if it comes here."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from homeserver.protocol.events import Event
from homeserver.protocol.hashing import signed_bytes
from homeserver.protocol.signing import signatures_of
from tests.federation.company import Company, company
from tests.federation.synthetic import V1, Synthetic, good
from tests.federation.synthetic_http import Answer, Asked
from tests.federation.synthetic_room import SyntheticRoom
from tests.harness import Client, Json, ok, refused, room_path
from tests.waiting import until

POLICY = "m.room.policy"
MESSAGE = "m.room.message"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    with company(tmp_path_factory.mktemp("policy")) as both:
        yield both


@pytest.fixture
def both(running: Company) -> Iterator[Company]:
    running.remote.behave()
    yield running
    running.remote.behave()


def policed(both: Company, version: str = "12", content: Any = None) -> tuple[Client, SyntheticRoom]:
    alice, room = both.shared_room(version=version, power={"state_default": 0})
    both.send(room.send(POLICY, both.remote.policy if content is None else content, ""))
    until(lambda: alice.state(room.room_id, POLICY).status_code == 200)
    alice.sync()
    return alice, room


def say(alice: Client, room: SyntheticRoom, body: str) -> Any:
    path = f"{room_path(room.room_id)}/send/{MESSAGE}/{body.replace(' ', '-')}"
    return alice.put(path, {"msgtype": "m.text", "body": body})


def signed(both: Company, pdu: Json, version: Any) -> bool:
    key = both.remote.policy_key
    signature = signatures_of(pdu, both.remote.name).get(key.key_id)
    return signature is not None and key.verify_key.verifies(signed_bytes(pdu, version), signature)


def refuse(both: Company, wanted: Callable[[Json], bool], content: Any, status: int = 400) -> None:
    def hook(asked: Asked, honest: Callable[[], Answer]) -> Answer:
        return Answer(content, status) if wanted(asked.json) else honest()

    both.remote.instead("policy_sign", hook)


def says(body: str) -> Callable[[Json], bool]:
    return lambda pdu: pdu["content"].get("body") == body


def bodies(alice: Client, room: SyntheticRoom) -> list[Any]:
    return [each["content"].get("body") for each in alice.timeline(room.room_id)]


@pytest.mark.parametrize("version", ["1", "11", "12"])
def test_our_events_are_sent_with_its_signature(both: Company, version: str) -> None:
    alice, room = policed(both, version)
    event_id = ok(say(alice, room, "hello"))["event_id"]
    arrived = both.remote.wait_for(event_id)
    assert signed(both, arrived.pdu, room.version)
    assert ok(say(alice, room, "hello"))["event_id"] == event_id
    topic = alice.send_state(room.room_id, "m.room.topic", {"topic": "t"})
    assert signed(both, both.remote.wait_for(topic).pdu, room.version)


def test_what_it_refuses_is_not_sent(both: Company) -> None:
    alice, room = policed(both)
    stands_on = list(room.extremities)
    refuse(both, says("spam"), {"errcode": "M_FORBIDDEN", "error": "This is spam"})
    answer = refused(say(alice, room, "spam"), 400, "M_FORBIDDEN")
    assert answer["error"] == "This is spam"
    event_id = ok(say(alice, room, "ham"))["event_id"]
    arrived = both.remote.wait_for(event_id)
    assert list(arrived.prev_events) == stands_on
    assert bodies(alice, room) == ["ham"]


@pytest.mark.parametrize(
    ("given", "status", "errcode"),
    [
        (Answer({"errcode": "M_NOT_FOUND", "error": "?"}, 404), 404, "M_NOT_FOUND"),
        (Answer({"retry_after_ms": 7}, 429), 429, "M_LIMIT_EXCEEDED"),
        (Answer({"errcode": "M_UNKNOWN_TOKEN", "error": "Log out"}, 403), 403, "M_FORBIDDEN"),
        (Answer({}, 200), 502, "M_UNKNOWN"),
        (Answer({"localhost": 1}, 200), 502, "M_UNKNOWN"),
    ],
)
def test_answers_that_do_not_recommend(both: Company, given: Answer, status: int, errcode: str) -> None:
    alice, room = policed(both)
    both.remote.instead("policy_sign", lambda asked, honest: given)
    refused(say(alice, room, "x"), status, errcode)
    alice.send_state(room.room_id, POLICY, {})
    ok(say(alice, room, "x"))


def test_a_signature_with_another_key_is_none(both: Company) -> None:
    other = {**both.remote.policy, "public_keys": {"ed25519": both.remote.key.verify_key.encode()}}
    alice, room = policed(both, content=other)
    refused(say(alice, room, "x"), 502, "M_UNKNOWN")


@pytest.mark.parametrize("changes", [{"via": 1}, {"public_keys": {}}, {"via": "nobody.example.org"}])
def test_rooms_that_use_none(both: Company, changes: Json) -> None:
    alice, room = policed(both, content={**both.remote.policy, **changes})
    before = both.remote.times_asked("policy_sign")
    event_id = ok(say(alice, room, "x"))["event_id"]
    both.remote.wait_for(event_id)
    assert both.remote.times_asked("policy_sign") == before


def test_many_at_once_are_all_sent(both: Company) -> None:
    alice, room = policed(both)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: say(alice, room, f"m{number}"), range(20)))
        comes = [room.make(MESSAGE, {"body": f"r{number}"}) for number in range(5)]
        both.send(*comes)
    sent = {ok(answer)["event_id"] for answer in answers}
    assert len(sent) == 20
    arrived = [both.remote.wait_for(event_id) for event_id in sent]
    assert all(signed(both, event.pdu, room.version) for event in arrived)


def test_events_from_elsewhere_are_shown_to_it(both: Company) -> None:
    alice, room = policed(both)
    before = both.remote.times_asked("policy_sign")
    event = room.say("unsigned")
    assert both.send(event) == {event.event_id: {}}
    assert bodies(alice, room) == ["unsigned"]
    assert both.remote.times_asked("policy_sign") == before + 1
    path = f"{V1}/event/{event.event_id}"
    [pdu] = good(both.remote.ask(both.name, "GET", path))["pdus"]
    assert signed(both, pdu, room.version)
    assert signatures_of(pdu, both.remote.name).keys() == {both.remote.key.key_id, "ed25519:policy_server"}


def test_events_with_its_signature_are_not_shown_to_it_again(both: Company) -> None:
    alice, room = policed(both)
    before = both.remote.times_asked("policy_sign")
    event = endorsed(both.remote, room.say("signed"))
    assert both.send(event) == {event.event_id: {}}
    assert bodies(alice, room) == ["signed"]
    assert both.remote.times_asked("policy_sign") == before


def test_events_that_it_does_not_recommend_are_soft_failed(both: Company) -> None:
    alice, room = policed(both)
    refuse(both, says("spam"), {"errcode": "M_FORBIDDEN", "error": "This is spam"})
    first, spam, last = room.say("first"), room.say("spam"), room.say("last")
    assert both.send(first, spam, last) == {each.event_id: {} for each in (first, spam, last)}
    assert bodies(alice, room) == ["first", "last"]
    refused(alice.get(f"{room_path(room.room_id)}/event/{spam.event_id}"), 404, "M_NOT_FOUND")
    event = both.remote.wait_for(ok(say(alice, room, "answer"))["event_id"])
    assert spam.event_id not in event.prev_events


def test_invites_need_it_before_they_are_shown_to_anybody(both: Company) -> None:
    alice, room = policed(both)
    guest = f"@guest:{both.remote.name}"
    refuse(both, lambda pdu: pdu.get("state_key") == guest, {"errcode": "M_FORBIDDEN", "error": "no"})
    before = both.remote.times_asked("invite")
    refused(alice.post(f"{room_path(room.room_id)}/invite", {"user_id": guest}), 400, "M_FORBIDDEN")
    assert both.remote.times_asked("invite") == before
    both.remote.behave()
    alice.invite(room.room_id, guest)
    assert both.remote.times_asked("invite") == before + 1


def test_joins_through_us_need_it(both: Company) -> None:
    alice, room = policed(both)
    visitor = f"@visitor:{both.remote.name}"
    refuse(both, lambda pdu: pdu.get("state_key") == visitor, {"errcode": "M_FORBIDDEN", "error": "no"})
    mine = both.remote.rooms[room.room_id]
    try:
        with pytest.raises(AssertionError, match="M_FORBIDDEN"):
            both.remote.join(both.name, room.room_id)
    finally:
        both.remote.rooms[room.room_id] = mine
    members = ok(alice.get(f"{room_path(room.room_id)}/joined_members"))["joined"]
    assert visitor not in members


def test_a_policy_server_that_does_not_answer_can_be_set_aside(both: Company) -> None:
    alice, room = policed(both)
    both.remote.instead("policy_sign", lambda asked, honest: Answer({}, 502))
    before = both.remote.times_asked("policy_sign")
    for number in range(3):
        refused(say(alice, room, f"x{number}"), 502, "M_UNKNOWN")
    assert both.remote.times_asked("policy_sign") == before + 1
    alice.send_state(room.room_id, POLICY, {})
    ok(say(alice, room, "y"))
    assert both.remote.times_asked("policy_sign") == before + 1


def endorsed(remote: Synthetic, event: Event) -> Event:
    signature = remote.policy_key.sign(signed_bytes(event.pdu, event.version))
    signatures = event.pdu["signatures"]
    of_server = {**signatures[remote.name], remote.policy_key.key_id: signature}
    return event.with_pdu({**event.pdu, "signatures": {**signatures, remote.name: of_server}})
