"""What clients rely on in /sync beyond the plain course of things.

https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync
"""

import json
from urllib.parse import quote

import pytest

from tests.harness import Client, HearthServer, Json, joined, ok, room_path


@pytest.fixture
def alice(server: HearthServer) -> Client:
    return server.register("alice")


@pytest.fixture
def bob(server: HearthServer) -> Client:
    return server.register("bob")


def types(events: list[Json]) -> list[str]:
    return [event["content"].get("membership", event["type"]) for event in events]


def left(sync: Json, room_id: str) -> Json | None:
    part: Json | None = sync.get("rooms", {}).get("leave", {}).get(room_id)
    return part


def test_heroes_are_the_first_members_of_a_room_whose_name_was_emptied(
    server: HearthServer, alice: Client
) -> None:
    others = [server.register(name) for name in "gfedcba"]
    room_id = alice.create_room(preset="public_chat", name="Hearth")
    for other in others:
        other.join(room_id)
    assert "m.heroes" not in joined(alice.sync(), room_id)["summary"]
    alice.send_state(room_id, "m.room.name", {"name": ""})
    first = [other.user_id for other in others[:5]]
    assert joined(alice.sync(), room_id)["summary"]["m.heroes"] == first
    assert joined(alice.sync(since=None), room_id)["summary"]["m.heroes"] == first


def test_the_presence_of_newcomers(alice: Client, bob: Client) -> None:
    room_id = alice.create_room(preset="public_chat")
    for person in (alice, bob):
        person.sync()
        person.sync_until(lambda answer: answer.get("presence"))
    bob.join(room_id)
    assert bob.user_id in [event["sender"] for event in alice.sync()["presence"]["events"]]


def test_gone_already(alice: Client, bob: Client) -> None:
    """What happened in a stay that was told before is not told again with what follows it."""
    room_id = alice.create_room(preset="public_chat")
    bob.join(room_id)
    bob.sync()
    alice.kick(room_id, bob.user_id)
    assert types((left(bob.sync(), room_id) or {})["timeline"]["events"]) == ["leave"]
    alice.ban(room_id, bob.user_id)
    assert types((left(bob.sync(), room_id) or {})["timeline"]["events"]) == ["ban"]
    ok(alice.post(f"{room_path(room_id)}/unban", {"user_id": bob.user_id}))
    assert types((left(bob.sync(), room_id) or {})["timeline"]["events"]) == ["leave"]
    alice.invite(room_id, bob.user_id)
    bob.sync()
    bob.leave(room_id)
    part = left(bob.sync(), room_id) or {}
    assert types(part["timeline"]["events"]) == ["leave"]
    assert part["timeline"]["limited"] is False and part["state"]["events"] == []
    bob.join(room_id)
    alice.send(room_id, "hello")
    bob.leave(room_id)
    part = left(bob.sync(), room_id) or {}
    assert types(part["timeline"]["events"])[-3:] == ["join", "m.room.message", "leave"]
    assert part["timeline"]["limited"] is True
    assert left(bob.sync(), room_id) is None


def test_joining_brings_what_is_older_than_the_stay(alice: Client, bob: Client) -> None:
    room_id = alice.create_room(preset="public_chat")
    event_id = alice.send(room_id, "hello")
    ok(alice.post(f"{room_path(room_id)}/receipt/m.read/{quote(event_id)}"))
    tag = f"/user/{bob.user_id}/rooms/{quote(room_id)}/tags/u.soon"
    ok(bob.put(tag, {"order": 0.5}))
    bob.sync()
    bob.join(room_id)
    part = joined(bob.sync(), room_id)
    assert part["account_data"]["events"] == [
        {"type": "m.tag", "content": {"tags": {"u.soon": {"order": 0.5}}}}
    ]
    [receipts] = part["ephemeral"]["events"]
    assert alice.user_id in receipts["content"][event_id]["m.read"]


def test_whoever_leaves_does_not_type(alice: Client, bob: Client) -> None:
    room_id = alice.create_room(preset="public_chat")
    bob.join(room_id)
    ok(bob.put(f"{room_path(room_id)}/typing/{bob.user_id}", {"typing": True, "timeout": 30_000}))
    part = joined(alice.sync(), room_id)
    assert part["ephemeral"]["events"][0]["content"] == {"user_ids": [bob.user_id]}
    bob.leave(room_id)
    part = joined(alice.sync(), room_id)
    assert part["ephemeral"]["events"] == [{"type": "m.typing", "content": {"user_ids": []}}]


def keys(part: Json, name: str) -> dict[str, Json]:
    """Contents of the state by type; of members, by user."""
    return {
        event["state_key"] if event["type"] == "m.room.member" else event["type"]: event["content"]
        for event in part[name]["events"]
    }


def test_the_state_after_a_stay(alice: Client, bob: Client) -> None:
    room_id = alice.create_room(preset="public_chat")
    bob.join(room_id)
    bob.sync()
    alice.send_state(room_id, "m.room.topic", {"topic": "seen"})
    alice.kick(room_id, bob.user_id)
    alice.send_state(room_id, "m.room.topic", {"topic": "not seen"})
    after = keys(left(bob.sync(use_state_after=True), room_id) or {}, "state_after")
    assert after["m.room.topic"] == {"topic": "seen"}
    assert after[bob.user_id]["membership"] == "leave"
    alice.ban(room_id, bob.user_id)
    after = keys(left(bob.sync(use_state_after=True), room_id) or {}, "state_after")
    assert [each["membership"] for each in after.values()] == ["ban"]


@pytest.mark.parametrize("timeline", [{"limit": 2}, {"limit": 0}, {"not_types": ["m.room.topic"]}])
def test_the_state_of_rooms_that_were_left(alice: Client, bob: Client, timeline: Json) -> None:
    room_id = alice.create_room(preset="public_chat")
    bob.join(room_id)
    alice.send_state(room_id, "m.room.topic", {"topic": "seen"})
    alice.kick(room_id, bob.user_id)
    alice.send_state(room_id, "m.room.topic", {"topic": "not seen"})
    alice.ban(room_id, bob.user_id)
    shape = json.dumps({"room": {"include_leave": True, "timeline": timeline}})
    after = keys(left(bob.sync(since=None, filter=shape, use_state_after=True), room_id) or {}, "state_after")
    part = left(bob.sync(since=None, filter=shape), room_id) or {}
    before = keys(part, "state")
    for event in part["timeline"]["events"]:
        if "state_key" in event:
            before[event["state_key"] or event["type"]] = event["content"]
    assert before == after
    assert after["m.room.topic"] == {"topic": "seen"} and after[bob.user_id]["membership"] == "ban"
    assert after[alice.user_id]["membership"] == "join"


def test_ones_own_presence_is_in_the_first_sync(alice: Client) -> None:
    [event] = alice.sync()["presence"]["events"]
    assert event["sender"] == alice.user_id and event["content"]["presence"] == "online"
    assert "presence" not in alice.sync(since=None, filter='{"presence": {"types": []}}')


def test_a_list_of_members_that_was_asked_for_once_is_kept_up_in_gaps(
    server: HearthServer, alice: Client, bob: Client
) -> None:
    """https://spec.matrix.org/v1.19/client-server-api/#lazy-loading-room-members"""
    lazy = json.dumps({"room": {"state": {"lazy_load_members": True}, "timeline": {"limit": 2}}})
    carol, dave = server.register("carol"), server.register("dave")
    room_id = alice.create_room(preset="public_chat", name="named")
    for person in (bob, carol):
        person.join(room_id)
    for _ in range(3):
        alice.send(room_id, "hello")
    alice.sync(filter=lazy)
    known = keys({"members": {"events": ok(alice.get(f"{room_path(room_id)}/members"))["chunk"]}}, "members")
    carol.leave(room_id)
    dave.join(room_id)
    for _ in range(3):
        alice.send(room_id, "hello")
    known |= keys(joined(alice.sync(filter=lazy), room_id), "state")
    present = {user_id for user_id, content in known.items() if content.get("membership") == "join"}
    assert present == {alice.user_id, bob.user_id, dave.user_id}
