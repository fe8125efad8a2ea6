"""Typing, receipts and presence of remote users, as local ones see them; and nonsense, which harms nobody."""

from typing import Any

import pytest

from tests.federation.company import Company, ephemeral
from tests.harness import Json
from tests.waiting import until


def test_typing(between: Company) -> None:
    alice, room = between.shared_room(members=1)
    zoe = f"@member0:{between.remote.name}"
    between.edu("m.typing", room_id=room.room_id, user_id=zoe, typing=True)
    assert ephemeral(alice, room, "m.typing") == [{"user_ids": [zoe]}]
    between.edu("m.typing", room_id=room.room_id, user_id=zoe, typing=False)
    assert ephemeral(alice, room, "m.typing") == [{"user_ids": []}]
    for user_id in (alice.user_id, f"@stranger:{between.remote.name}", "@zoe:other.test", "zoe", ""):
        between.edu("m.typing", room_id=room.room_id, user_id=user_id, typing=True)
    between.edu("m.typing", room_id="!none:other.test", user_id=zoe, typing=True)
    assert ephemeral(alice, room, "m.typing") == []


def test_receipts(between: Company) -> None:
    alice, room = between.shared_room(members=2)
    zoe, yan = (f"@member{number}:{between.remote.name}" for number in (0, 1))
    first, second = room.chat(2)
    between.send(first, second)
    read = {
        zoe: {"event_ids": [second.event_id], "data": {"ts": 5}},
        yan: {"event_ids": [first.event_id], "data": {"ts": 6, "thread_id": "main"}},
        alice.user_id: {"event_ids": [first.event_id], "data": {"ts": 7}},
        "@stranger:" + between.remote.name: {"event_ids": [first.event_id], "data": {"ts": 7}},
        "bad": {"event_ids": 1},
    }
    between.edu("m.receipt", **{room.room_id: {"m.read": read, "m.read.private": read}, "!x:y": 1})
    [content] = ephemeral(alice, room, "m.receipt")
    assert content == {
        second.event_id: {"m.read": {zoe: {"ts": 5}}},
        first.event_id: {"m.read": {yan: {"ts": 6, "thread_id": "main"}}},
    }
    back = {zoe: {"event_ids": [first.event_id], "data": {"ts": 9}}}
    between.edu("m.receipt", **{room.room_id: {"m.read": back}})
    assert ephemeral(alice, room, "m.receipt") == []


def test_presence(between: Company) -> None:
    alice, room = between.shared_room()
    owner, stranger = room.creator, f"@stranger:{between.remote.name}"
    push = [
        {"user_id": owner, "presence": "online", "last_active_ago": 10, "currently_active": True,
         "status_msg": "here"},
        {"user_id": stranger, "presence": "online", "last_active_ago": 1},
        {"user_id": alice.user_id, "presence": "offline", "last_active_ago": 1, "status_msg": "lie"},
        {"user_id": owner, "presence": "asleep"}, 5,
    ]  # fmt: skip
    between.edu("m.presence", push=push)

    def seen() -> Any:
        events = alice.sync(timeout=500).get("presence", {}).get("events", [])
        return [event for event in events if event["sender"] != alice.user_id]

    [event] = until(seen)
    assert event["sender"] == owner
    content = event["content"]
    assert (content["presence"], content["status_msg"]) == ("online", "here")
    assert content["currently_active"]


WRONG: list[Any] = [None, 1, 1.5, "", "x", "\0", [], {}, [1], {"a": 1}, {"@a:b": {}}, 2**70, True, "a" * 300]
FIELDS = {
    "m.typing": ("room_id", "user_id", "typing"),
    "m.presence": ("push",),
    "m.receipt": ("!a:b",),
    "m.direct_to_device": ("sender", "type", "message_id", "messages"),
    "m.device_list_update": (
        "user_id", "device_id", "stream_id", "prev_id", "deleted", "keys", "device_display_name",
    ),
    "m.signing_key_update": ("user_id", "master_key", "self_signing_key"),
}  # fmt: skip


@pytest.mark.parametrize("edu_type", FIELDS)
def test_nonsense_harms_nobody(between: Company, edu_type: str) -> None:
    alice, room = between.shared_room(members=1)
    zoe = f"@member0:{between.remote.name}"
    good: Json = {
        "room_id": room.room_id, "user_id": zoe, "typing": True, "sender": zoe, "type": "m.x",
        "message_id": "fuzz", "messages": {alice.user_id: {"*": {}}}, "device_id": "D", "stream_id": 1,
        "push": [], room.room_id: {"m.read": {}},
    }  # fmt: skip
    edus: list[Any] = [{"edu_type": edu_type, "content": each} for each in WRONG] + WRONG
    edus += [{"edu_type": each, "content": good} for each in WRONG]
    for field in (*FIELDS[edu_type], room.room_id):
        for wrong in WRONG:
            edus.append({"edu_type": edu_type, "content": {**good, field: wrong}})
            edus.append({"edu_type": edu_type, "content": {**good, field: {"m.read": {zoe: wrong}}}})
            edus.append({"edu_type": edu_type, "content": {**good, field: [{"user_id": zoe, "x": wrong}]}})
            edus.append({"edu_type": edu_type, "content": {**good, field: {alice.user_id: {"*": wrong}}}})
    last = room.say("still here")
    between.send(edus=edus)
    assert between.send(last) == {last.event_id: {}}
    until(lambda: "still here" in [e["content"].get("body") for e in alice.timeline(room.room_id)])
    assert not between.hearth.internal_errors()
