"""The envelope: who may send it, how much it may hold, and what is answered for each event."""

import json
from typing import Any

import pytest

from homeserver.protocol import canonical_json
from tests.federation.company import Company
from tests.federation.synthetic_room import forge
from tests.harness import Json, ok, refused, room_path

WRONG: list[Any] = [None, 1, "x", [], {}, [[]], {"a": {}}, 2**70, -1, "\0"]
WRONG_LISTS: list[Any] = [1, "x", {}]


def body(between: Company, **changes: Any) -> bytes:
    given = {"origin": between.remote.name, "origin_server_ts": 1, "pdus": [], "edus": [], **changes}
    content = {name: value for name, value in given.items() if value is not None}
    return canonical_json.encode_lax(content)


def put(between: Company, **changes: Any) -> Any:
    return between.remote.put_transaction(between.name, body(between, **changes))


def test_events_of_a_room_arrive(between: Company) -> None:
    for version in ("1", "6", "12"):
        alice, room = between.shared_room(version=version)
        events = room.chat(3)
        assert between.send(*events) == {event.event_id: {} for event in events}
        bodies = [event["content"].get("body") for event in alice.timeline(room.room_id)]
        assert bodies == ["message 0", "message 1", "message 2"]
        assert between.send(*events) == {event.event_id: {} for event in events}
        assert alice.timeline(room.room_id) == []


def test_events_with_numbers_that_old_rooms_hold(between: Company) -> None:
    alice, room = between.shared_room(version="5")
    content = {"msgtype": "m.text", "body": "exact", "big": 12345678901234567890123, "float": 1.10}
    pdu = forge(room.make("m.room.message", {}), between.remote.name, between.remote.key, content=content)
    assert list(between.send(pdu).values()) == [{}]
    assert [each["content"]["body"] for each in alice.timeline(room.room_id)] == ["exact"]


def test_an_event_for_each_reason_to_refuse_it(between: Company) -> None:
    _, room = between.shared_room(version="11")
    elsewhere = between.remote.make_room("11").say("unknown room")
    good = room.say("good")
    tampered = forge(room.say("tampered"), between.remote.name, between.remote.key)
    tampered["signatures"] = {between.remote.name: {between.remote.key.key_id: "AAAA"}}
    results = between.send(good, elsewhere, tampered)
    assert results.pop(good.event_id) == {}
    assert "does not know" in results.pop(elsewhere.event_id)["error"]
    [(_, unsigned)] = results.items()
    assert "signature" in unsigned["error"]


@pytest.mark.parametrize("pdu", [None, 1, "x", [], {}, {"room_id": 1}, {"room_id": "!a:b"}, {"type": []}])
def test_what_is_no_event(between: Company, pdu: Any) -> None:
    response = put(between, pdus=[pdu])
    assert response.status_code == 200
    assert not any(result == {} for result in response.json()["pdus"].values())


def test_malformed_events_of_a_known_room(between: Company) -> None:
    _, room = between.shared_room(version="10")
    good = dict(room.say("good").pdu)
    for field in list(good):
        for wrong in WRONG:
            response = put(between, pdus=[{**good, field: wrong}])
            assert response.status_code == 200, response.text


def test_limits_and_shapes(between: Company) -> None:
    edu: Json = {"edu_type": "org.example.none", "content": {}}
    assert put(between, edus=[edu] * 100).json() == {"pdus": {}}
    assert put(between, edus=None).json() == {"pdus": {}}
    refused(put(between, edus=[edu] * 101), 400, "M_INVALID_PARAM")
    refused(put(between, pdus=[{}] * 51), 400, "M_INVALID_PARAM")
    refused(put(between, origin="other.test"), 400, "M_INVALID_PARAM")
    refused(put(between, origin=None), 400, "M_MISSING_PARAM")
    refused(put(between, pdus=None), 400, "M_MISSING_PARAM")
    empty = body(between).replace(b"[]", b"null")
    assert ok(between.remote.put_transaction(between.name, empty)) == {"pdus": {}}
    for wrong in WRONG_LISTS:
        refused(put(between, pdus=wrong), 400, "M_BAD_JSON")
        refused(put(between, edus=wrong), 400, "M_BAD_JSON")
    response = between.remote.put_transaction(between.name, body(between), "t" * 256)
    refused(response, 400, "M_INVALID_PARAM")


def test_a_redaction_without_the_power_is_shown_to_nobody(between: Company) -> None:
    """A client that saw it would hide what it does not redact."""
    alice, room = between.shared_room(version="11", members=2)
    member = f"@member0:{between.remote.name}"
    hers, theirs = room.say("hers", room.creator), room.say("theirs", member)
    ours = alice.send(room.room_id, "ours")
    room.add(between.remote.wait_for(ours))
    vain = room.send("m.room.redaction", {"redacts": ours}, sender=member)
    good = room.send("m.room.redaction", {"redacts": theirs.event_id}, sender=member)
    powerful = room.send("m.room.redaction", {"redacts": ours}, sender=room.creator)
    assert between.send(hers, theirs, vain, good, powerful) == {
        each.event_id: {} for each in (hers, theirs, vain, good, powerful)
    }
    shown = {event["event_id"]: event for event in alice.timeline(room.room_id)}
    assert vain.event_id not in shown and {good.event_id, powerful.event_id} <= shown.keys()
    assert shown[hers.event_id]["content"] and not shown[theirs.event_id]["content"]
    assert shown[ours]["unsigned"]["redacted_because"]["event_id"] == powerful.event_id
    refused(alice.get(f"{room_path(room.room_id)}/event/{vain.event_id}"), 404, "M_NOT_FOUND")


def test_a_transaction_again(between: Company) -> None:
    alice, room = between.shared_room()
    event = room.say("once")
    first = between.send(event, txn="again")
    assert first == {event.event_id: {}} == between.send(event, txn="again")
    # Whatever it holds: it was taken already.
    assert between.send(room.say("not looked at"), txn="again") == first
    assert [each["content"]["body"] for each in alice.timeline(room.room_id)] == ["once"]


def test_a_server_that_the_room_keeps_out(between: Company) -> None:
    alice, room = between.shared_room(version="11")
    acl = room.send("m.room.server_acl", {"allow": ["*"], "deny": ["localhost"]}, "")
    assert between.send(acl) == {acl.event_id: {}}
    late = room.say("late")
    assert "ACL" in between.send(late)[late.event_id]["error"]
    between.edu("m.typing", room_id=room.room_id, user_id=room.creator, typing=True)
    between.edu("m.receipt", **{
        room.room_id: {"m.read": {room.creator: {"event_ids": [acl.event_id], "data": {"ts": 1}}}}
    })
    answer = alice.sync()["rooms"]["join"][room.room_id]
    assert [event["type"] for event in answer["timeline"]["events"]] == ["m.room.server_acl"]
    assert not answer["ephemeral"]["events"]


def test_a_gap_is_filled(between: Company) -> None:
    alice, room = between.shared_room()
    room.say("lost")
    last = room.say("last")
    assert between.send(last) == {last.event_id: {}}
    assert [event["content"]["body"] for event in alice.timeline(room.room_id)] == ["lost", "last"]


def test_a_sync_does_not_hide_a_gap(between: Company) -> None:
    """What it tells begins after the gap; who pages back from there closes it, or reads what closed it."""
    alice, room = between.shared_room()
    before = room.say("before")
    between.send(before)
    alice.sync()
    since = alice.since
    lost = [event.event_id for event in room.chat(150)]
    last = room.say("last")
    assert between.send(last) == {last.event_id: {}}
    many = json.dumps({"room": {"timeline": {"limit": 1000}}})
    for start in (since, None, since, None):
        timeline = alice.sync(since=start, filter=many)["rooms"]["join"][room.room_id]["timeline"]
        told = [event["event_id"] for event in timeline["events"]]
        assert timeline["limited"] and told[-1] == last.event_id and before.event_id not in told
        if start is None:
            page = {"dir": "b", "limit": 1000, "from": timeline["prev_batch"]}
            found = ok(alice.get(f"{room_path(room.room_id)}/messages", **page))["chunk"]
            older = [event["event_id"] for event in reversed(found)]
            assert [*older, *told][-152:] == [before.event_id, *lost, last.event_id]
