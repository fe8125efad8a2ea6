"""Following a server through /sync. https://spec.matrix.org/v1.19/client-server-api/#syncing"""

import json
import threading
import time
from typing import Any

import pytest

from tests.harness import Client, HearthServer, Json, joined, ok, refused, room_path

LAZY = json.dumps({"room": {"state": {"lazy_load_members": True}}})


def limited_to(count: int, **timeline: Any) -> str:
    return json.dumps({"room": {"timeline": {"limit": count, **timeline}}})


def bodies(events: list[Json]) -> list[str]:
    return [event["content"]["body"] for event in events if event["type"] == "m.room.message"]


def state_of(part: Json, name: str = "state") -> dict[tuple[str, str], Json]:
    return {(event["type"], event["state_key"]): event for event in part[name]["events"]}


@pytest.fixture
def alice(server: HearthServer) -> Client:
    return server.register("alice")


@pytest.fixture
def bob(server: HearthServer) -> Client:
    return server.register("bob")


def room_of(alice: Client, *others: Client, **options: Any) -> str:
    room = alice.create_room(preset="public_chat", **options)
    for other in others:
        other.join(room)
    return room


def test_first_sync_has_the_whole_state(alice: Client, bob: Client) -> None:
    room = room_of(alice, bob, name="Hearth", topic="fire")
    alice.send(room, "hello")
    part = joined(bob.sync(), room)
    everything = {
        **state_of(part),
        **{(e["type"], e.get("state_key", "")): e for e in part["timeline"]["events"]},
    }
    for key in ("m.room.create", "m.room.power_levels", "m.room.join_rules", "m.room.name", "m.room.topic"):
        assert (key, "") in everything
    assert everything["m.room.member", alice.user_id]["content"]["membership"] == "join"
    assert bodies(part["timeline"]["events"]) == ["hello"]
    assert part["summary"]["m.joined_member_count"] == 2
    assert all("room_id" not in event for event in part["timeline"]["events"])


def test_state_is_what_held_before_the_timeline(alice: Client) -> None:
    room = room_of(alice, name="old")
    alice.send_state(room, "m.room.name", {"name": "new"})
    for number in range(3):
        alice.send(room, str(number))
    part = joined(alice.sync(filter=limited_to(4)), room)
    assert state_of(part)["m.room.name", ""]["content"] == {"name": "old"}
    assert part["timeline"]["events"][0]["content"] == {"name": "new"}
    assert part["timeline"]["limited"] is True
    part = joined(alice.sync(since=None, filter=limited_to(3)), room)
    assert state_of(part)["m.room.name", ""]["content"] == {"name": "new"}


def test_incremental_sync_brings_only_what_is_new(alice: Client, bob: Client) -> None:
    room = room_of(alice, bob)
    quiet = room_of(alice)
    alice.sync()
    bob.send(room, "one")
    answer = alice.sync()
    part = joined(answer, room)
    assert bodies(part["timeline"]["events"]) == ["one"]
    assert part["timeline"]["limited"] is False
    assert part["state"]["events"] == []
    assert quiet not in answer["rooms"]["join"]
    assert "rooms" not in alice.sync()


def test_transaction_id_is_for_the_sending_device_only(
    server: HearthServer, alice: Client, bob: Client
) -> None:
    room = room_of(alice, bob)
    phone = server.login(alice.user_id)
    for client in (alice, bob, phone):
        client.sync()
    alice.send(room, "x", transaction_id="mine")
    mine = alice.timeline(room)[0]["unsigned"]
    assert mine["transaction_id"] == "mine"
    assert mine["membership"] == "join"
    assert 0 <= mine["age"] < 60_000
    assert "transaction_id" not in bob.timeline(room)[0]["unsigned"]
    assert "transaction_id" not in phone.timeline(room)[0]["unsigned"]


def test_sending_twice_is_sending_once(server: HearthServer, alice: Client) -> None:
    room = room_of(alice)
    alice.sync()
    first = alice.send(room, "once", transaction_id="same")
    assert alice.send(room, "once", transaction_id="same") == first
    other_device = server.login(alice.user_id)
    assert other_device.send(room, "twice", transaction_id="same") != first
    assert bodies(alice.timeline(room)) == ["once", "twice"]


def test_a_gap_is_told_and_pages_back_without_loss(alice: Client, bob: Client) -> None:
    room = room_of(alice, bob)
    bob.send(room, "start")
    alice.sync()
    bob.send_state(room, "m.room.member", {"membership": "join", "displayname": "Bobby"}, bob.user_id)
    sent = [str(number) for number in range(30)]
    for body in sent:
        bob.send(room, body)
    part = joined(alice.sync(filter=limited_to(5)), room)
    assert part["timeline"]["limited"] is True
    assert bodies(part["timeline"]["events"]) == sent[-5:]
    assert state_of(part)["m.room.member", bob.user_id]["content"]["displayname"] == "Bobby"
    assert len(part["state"]["events"]) == 1
    seen: list[str] = []
    token = part["timeline"]["prev_batch"]
    while len(seen) < 25:
        page = ok(alice.get(f"{room_path(room)}/messages", dir="b", limit=7, **{"from": token}))
        seen = bodies(page["chunk"])[::-1] + seen
        token = page["end"]
    assert seen[-25:] == sent[:25]


@pytest.mark.parametrize("restart", [False, True])
def test_state_of_a_gap_is_what_held_before_the_timeline(
    server: HearthServer, alice: Client, restart: bool
) -> None:
    room_id = alice.create_room()
    alice.sync()
    alice.send_state(room_id, "m.room.topic", {"topic": "in the gap"})
    for number in range(4):
        alice.send(room_id, f"{number}")
    alice.send_state(room_id, "m.room.topic", {"topic": "in the timeline"})
    if restart:
        server.restart()
    part = joined(alice.sync(filter=limited_to(2)), room_id)
    assert part["timeline"]["events"][-1]["content"] == {"topic": "in the timeline"}
    assert [event["content"] for event in part["state"]["events"]] == [{"topic": "in the gap"}]


def test_a_gap_after_a_restart(server: HearthServer, alice: Client, bob: Client) -> None:
    """Nothing is remembered in memory then: the same answers come from the database."""
    room = room_of(alice, bob)
    alice.sync()
    token = alice.since
    alice.send_state(room, "m.room.topic", {"topic": "changed"})
    for number in range(30):
        bob.send(room, str(number))
    server.restart()
    for client in (alice, bob):
        client.http.base_url = server.url
    part = joined(alice.sync(since=token, filter=limited_to(10)), room)
    assert part["timeline"]["limited"] is True
    assert bodies(part["timeline"]["events"]) == [str(number) for number in range(20, 30)]
    assert state_of(part)["m.room.topic", ""]["content"]["topic"] == "changed"
    part = joined(alice.sync(since=token, filter=limited_to(100)), room)
    assert part["timeline"]["limited"] is False
    assert len(part["timeline"]["events"]) == 31
    assert part["state"]["events"] == []


def test_use_state_after(alice: Client, bob: Client) -> None:
    room = room_of(alice, bob)
    after = {"org.matrix.msc4222.use_state_after": "true"}
    part = joined(alice.sync(**after), room)
    assert "state" not in part
    current = state_of(part, "org.matrix.msc4222.state_after")
    assert current == state_of(part, "state_after")
    assert current["m.room.member", bob.user_id]["content"]["membership"] == "join"
    alice.send_state(room, "m.room.topic", {"topic": "in the timeline"})
    part = joined(alice.sync(use_state_after="true"), room)
    assert state_of(part, "state_after")["m.room.topic", ""]["content"]["topic"] == "in the timeline"
    assert part["timeline"]["events"][0]["type"] == "m.room.topic"


def test_state_hidden_by_the_timeline_filter_is_told(alice: Client) -> None:
    room = room_of(alice)
    only_messages = limited_to(10, types=["m.room.message"])
    alice.sync(filter=only_messages)
    alice.send(room, "before")
    alice.send_state(room, "m.room.topic", {"topic": "hidden"})
    alice.send(room, "after")
    part = joined(alice.sync(filter=only_messages), room)
    assert bodies(part["timeline"]["events"]) == ["before", "after"]
    assert state_of(part)["m.room.topic", ""]["content"]["topic"] == "hidden"


def test_lazy_members(server: HearthServer, alice: Client) -> None:
    people = [server.register("member") for _ in range(8)]
    room = room_of(alice, *people, name="named")
    people[0].send(room, "I speak")
    part = joined(
        alice.sync(
            filter=json.dumps({"room": {"state": {"lazy_load_members": True}, "timeline": {"limit": 1}}})
        ),
        room,
    )
    members = {key for type, key in state_of(part) if type == "m.room.member"}
    assert members == {alice.user_id, people[0].user_id}
    people[1].send(room, "me too")
    part = joined(alice.sync(filter=LAZY), room)
    assert {key for _, key in state_of(part)} == {people[1].user_id}
    people[1].send(room, "again")
    assert joined(alice.sync(filter=LAZY), room)["state"]["events"] == []
    redundant = json.dumps(
        {"room": {"state": {"lazy_load_members": True, "include_redundant_members": True}}}
    )
    people[1].send(room, "and again")
    assert len(joined(alice.sync(filter=redundant), room)["state"]["events"]) == 1


def test_joining_brings_the_whole_room(alice: Client, bob: Client) -> None:
    room = room_of(alice, name="whole")
    alice.send(room, "earlier")
    bob.sync()
    bob.join(room)
    part = joined(bob.sync(), room)
    assert "earlier" in bodies(part["timeline"]["events"])
    keys = set(state_of(part)) | {(e["type"], e.get("state_key", "")) for e in part["timeline"]["events"]}
    assert ("m.room.name", "") in keys
    assert ("m.room.member", bob.user_id) in keys
    assert "prev_batch" in part["timeline"]


def test_a_profile_change_is_not_a_join(alice: Client, bob: Client) -> None:
    room = room_of(alice, bob)
    bob.sync()
    ok(bob.put(f"/profile/{bob.user_id}/displayname", {"displayname": "Robert"}))
    part = joined(bob.sync_until(lambda answer: answer if joined(answer, room) else None), room)
    assert [event["type"] for event in part["timeline"]["events"]] == ["m.room.member"]
    assert part["timeline"]["limited"] is False
    event = part["timeline"]["events"][0]
    assert event["content"]["displayname"] == "Robert"
    assert event["unsigned"]["prev_content"]["membership"] == "join"
    assert event["unsigned"]["replaces_state"]


def test_invites_are_stripped_and_once(alice: Client, bob: Client) -> None:
    room = alice.create_room(name="secret", topic="not for all")
    alice.send_state(room, "org.example.private", {"secret": True})
    bob.sync()
    alice.invite(room, bob.user_id)
    answer = bob.sync()
    events = answer["rooms"]["invite"][room]["invite_state"]["events"]
    types = {event["type"] for event in events}
    assert {"m.room.create", "m.room.join_rules", "m.room.name", "m.room.member"} <= types
    assert "org.example.private" not in types
    assert all(set(event) == {"type", "state_key", "content", "sender"} for event in events)
    assert any(event["state_key"] == bob.user_id for event in events)
    assert any(event["state_key"] == alice.user_id for event in events)
    assert "rooms" not in bob.sync()
    assert room in bob.sync(since=None)["rooms"]["invite"]
    bob.join(room)
    answer = bob.sync()
    assert room in answer["rooms"]["join"]
    assert "invite" not in answer["rooms"]


def test_a_declined_invite_is_left(alice: Client, bob: Client) -> None:
    room = alice.create_room()
    alice.invite(room, bob.user_id)
    bob.sync()
    bob.leave(room)
    part = bob.sync()["rooms"]["leave"][room]
    assert part["timeline"]["events"][-1]["content"]["membership"] == "leave"
    assert part["state"]["events"] == []
    assert "rooms" not in bob.sync()


def test_a_declined_invite_repeats_nothing_of_an_earlier_stay(alice: Client, bob: Client) -> None:
    room_id = alice.create_room(preset="public_chat")
    bob.join(room_id)
    alice.send(room_id, "long ago")
    bob.leave(room_id)
    bob.sync()
    alice.invite(room_id, bob.user_id)
    assert room_id in bob.sync()["rooms"]["invite"]
    bob.leave(room_id)
    left = bob.sync()["rooms"]["leave"][room_id]
    [event] = left["timeline"]["events"]
    assert event["content"]["membership"] == "leave" and not left["timeline"]["limited"]


def test_a_rescinded_invite_is_left(alice: Client, bob: Client) -> None:
    room = alice.create_room()
    alice.invite(room, bob.user_id)
    bob.sync()
    alice.kick(room, bob.user_id)
    assert room in bob.sync()["rooms"]["leave"]


def test_leaving_shows_the_room_once_up_to_the_leave(alice: Client, bob: Client) -> None:
    room = room_of(alice, bob)
    bob.sync()
    alice.send(room, "last words")
    bob.leave(room)
    alice.send(room, "behind your back")
    part = bob.sync()["rooms"]["leave"][room]
    assert bodies(part["timeline"]["events"]) == ["last words"]
    assert part["timeline"]["events"][-1]["content"]["membership"] == "leave"
    assert "rooms" not in bob.sync()
    assert room not in bob.sync(since=None).get("rooms", {}).get("leave", {})
    with_left = json.dumps({"room": {"include_leave": True}})
    part = bob.sync(since=None, filter=with_left)["rooms"]["leave"][room]
    assert "behind your back" not in json.dumps(part)
    ok(bob.post(f"{room_path(room)}/forget"))
    assert room not in bob.sync(since=None, filter=with_left).get("rooms", {}).get("leave", {})


def test_a_ban_counts_as_leaving(alice: Client, bob: Client) -> None:
    room = room_of(alice, bob)
    bob.sync()
    alice.ban(room, bob.user_id)
    part = bob.sync()["rooms"]["leave"][room]
    assert part["timeline"]["events"][-1]["content"]["membership"] == "ban"
    assert "rooms" not in bob.sync()


def test_leaving_and_coming_back_between_two_syncs(alice: Client, bob: Client) -> None:
    room = room_of(alice, bob)
    bob.sync()
    bob.leave(room)
    alice.send_state(room, "m.room.topic", {"topic": "while you were out"})
    bob.join(room)
    answer = bob.sync()
    part = joined(answer, room)
    keys = {**state_of(part), **{(e["type"], e.get("state_key", "")): e for e in part["timeline"]["events"]}}
    assert keys["m.room.topic", ""]["content"]["topic"] == "while you were out"
    assert room not in answer["rooms"].get("leave", {})


def test_knocking(alice: Client, bob: Client) -> None:
    room = alice.create_room(initial_state=[{"type": "m.room.join_rules", "content": {"join_rule": "knock"}}])
    bob.sync()
    ok(bob.post(f"/knock/{room}", {"reason": "please"}))
    events = bob.sync()["rooms"]["knock"][room]["knock_state"]["events"]
    assert {"m.room.create", "m.room.join_rules"} <= {event["type"] for event in events}
    alice.invite(room, bob.user_id)
    answer = bob.sync()
    assert room in answer["rooms"]["invite"]
    bob.join(room)
    assert room in bob.sync()["rooms"]["join"]


def test_history_before_a_join_is_hidden_where_the_room_says_so(alice: Client, bob: Client) -> None:
    hidden = [{"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}]
    room = alice.create_room(preset="public_chat", initial_state=hidden)
    alice.send(room, "before")
    bob.join(room)
    alice.send(room, "after")
    part = joined(bob.sync(), room)
    assert bodies(part["timeline"]["events"]) == ["after"]


def test_unread_counts_and_receipts(alice: Client, bob: Client) -> None:
    room = room_of(alice, bob)
    bob.sync()
    alice.send(room, "one")
    last = alice.send(room, {"msgtype": "m.text", "body": "hi", "m.mentions": {"user_ids": [bob.user_id]}})
    part = joined(bob.sync(), room)
    assert part["unread_notifications"] == {"notification_count": 2, "highlight_count": 1}
    ok(bob.post(f"{room_path(room)}/receipt/m.read/{last}"))
    part = joined(bob.sync(), room)
    assert part["unread_notifications"] == {"notification_count": 0, "highlight_count": 0}
    [receipt] = part["ephemeral"]["events"]
    assert bob.user_id in receipt["content"][last]["m.read"]
    alice.sync()
    ok(bob.post(f"{room_path(room)}/receipt/m.read.private/{alice.send(room, 'three')}"))
    part = joined(alice.sync(), room)
    assert "m.read.private" not in json.dumps(part)


def test_unread_counts_of_threads(alice: Client, bob: Client) -> None:
    room = room_of(alice, bob)
    root = bob.send(room, "root")
    threaded = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
    alice.send(room, {"msgtype": "m.text", "body": "in thread", **threaded})
    alice.send(room, "in main")
    apart = limited_to(20, unread_thread_notifications=True)
    part = joined(bob.sync(filter=apart), room)
    assert part["unread_notifications"]["notification_count"] == 1
    assert part["unread_thread_notifications"][root]["notification_count"] == 1
    part = joined(bob.sync(since=None), room)
    assert part["unread_notifications"]["notification_count"] == 2


def test_typing_and_waiting(alice: Client, bob: Client) -> None:
    room = room_of(alice, bob)
    calm = json.dumps({"presence": {"types": []}})
    alice.sync(filter=calm)
    seen: list[Json] = []
    waiting = threading.Thread(target=lambda: seen.append(alice.sync(timeout=10_000, filter=calm)))
    started = time.monotonic()
    waiting.start()
    time.sleep(0.3)
    ok(bob.put(f"{room_path(room)}/typing/{bob.user_id}", {"typing": True, "timeout": 20_000}))
    waiting.join(10)
    assert time.monotonic() - started < 8
    [event] = joined(seen[0], room)["ephemeral"]["events"]
    assert event == {"type": "m.typing", "content": {"user_ids": [bob.user_id]}}
    ok(bob.put(f"{room_path(room)}/typing/{bob.user_id}", {"typing": False}))
    [event] = joined(alice.sync(filter=calm), room)["ephemeral"]["events"]
    assert event["content"]["user_ids"] == []


def test_a_wait_ends_with_a_message_or_with_time(alice: Client, bob: Client) -> None:
    room = room_of(alice, bob)
    calm = json.dumps({"presence": {"types": []}})
    alice.sync(filter=calm)
    started = time.monotonic()
    alice.sync(timeout=500, filter=calm)
    assert 0.4 < time.monotonic() - started < 5
    seen: list[Json] = []
    waiting = threading.Thread(target=lambda: seen.append(alice.sync(timeout=20_000, filter=calm)))
    waiting.start()
    time.sleep(0.2)
    bob.send(room, "wake up")
    waiting.join(10)
    assert bodies(joined(seen[0], room)["timeline"]["events"]) == ["wake up"]


def test_account_data_of_all_kinds(alice: Client) -> None:
    room = room_of(alice)
    answer = alice.sync()
    assert "m.push_rules" in {event["type"] for event in answer["account_data"]["events"]}
    ok(alice.put(f"/user/{alice.user_id}/account_data/org.example", {"a": 1}))
    ok(alice.put(f"/user/{alice.user_id}/rooms/{room}/account_data/org.example", {"b": 2}))
    ok(alice.put(f"/user/{alice.user_id}/rooms/{room}/tags/m.favourite", {"order": 0.5}))
    answer = alice.sync()
    assert answer["account_data"]["events"] == [{"type": "org.example", "content": {"a": 1}}]
    events = joined(answer, room)["account_data"]["events"]
    assert {event["type"] for event in events} == {"org.example", "m.tag"}
    assert "account_data" not in alice.sync()


def test_ignored_people_are_not_heard(server: HearthServer, alice: Client, bob: Client) -> None:
    room = room_of(alice, bob)
    ok(
        alice.put(
            f"/user/{alice.user_id}/account_data/m.ignored_user_list", {"ignored_users": {bob.user_id: {}}}
        )
    )
    alice.sync()
    bob.send(room, "can you hear me")
    bob.send_state(room, "m.room.member", {"membership": "join", "displayname": "B"}, bob.user_id)
    secret = bob.create_room()
    bob.invite(secret, alice.user_id)
    answer = alice.sync()
    assert bodies(joined(answer, room)["timeline"]["events"]) == []
    assert "invite" not in answer["rooms"]
    assert server.log()


def test_to_device_messages_come_until_acknowledged(alice: Client, bob: Client) -> None:
    alice.sync()
    before = alice.since
    body = {"messages": {alice.user_id: {alice.device_id: {"n": 1}}}}
    ok(bob.put("/sendToDevice/org.example/1", body))
    first = alice.sync()
    assert [event["content"]["n"] for event in first["to_device"]["events"]] == [1]
    assert alice.sync(since=before)["to_device"] == first["to_device"]
    alice.since = first["next_batch"]
    assert "to_device" not in alice.sync()


def test_many_to_device_messages_come_in_portions_and_once(
    server: HearthServer, alice: Client, bob: Client
) -> None:
    alice.sync()
    for number in range(230):
        ok(
            bob.put(
                f"/sendToDevice/org.example/m{number}",
                {"messages": {alice.user_id: {alice.device_id: {"n": number}}}},
            )
        )
    seen: list[int] = []
    for _ in range(4):
        events = alice.sync().get("to_device", {"events": []})["events"]
        assert len(events) <= 100
        seen.extend(event["content"]["n"] for event in events)
    assert seen == list(range(230))


def test_key_counts_are_always_there(alice: Client) -> None:
    answer = alice.sync()
    assert answer["device_one_time_keys_count"] == {"signed_curve25519": 0}
    assert answer["device_unused_fallback_key_types"] == []
    ok(alice.post("/keys/upload", {"one_time_keys": {"signed_curve25519:A": {"key": "x"}}}))
    assert alice.sync()["device_one_time_keys_count"] == {"signed_curve25519": 1}
    assert alice.sync()["device_one_time_keys_count"] == {"signed_curve25519": 1}


def test_device_lists_follow_joins_and_leaves(alice: Client, bob: Client) -> None:
    alice.sync()
    room = room_of(alice, bob)
    assert bob.user_id in alice.sync()["device_lists"]["changed"]
    keys = {
        "user_id": bob.user_id,
        "device_id": bob.device_id,
        "algorithms": ["m.megolm.v1.aes-sha2"],
        "keys": {f"ed25519:{bob.device_id}": "abc"},
        "signatures": {},
    }
    ok(bob.post("/keys/upload", {"device_keys": keys}))
    assert alice.sync()["device_lists"]["changed"] == [bob.user_id]
    bob.leave(room)
    assert alice.sync()["device_lists"]["left"] == [bob.user_id]


def test_presence_of_room_mates(server: HearthServer, alice: Client, bob: Client) -> None:
    stranger = server.register("stranger")
    room_of(alice, bob)
    alice.sync()
    ok(bob.put(f"/presence/{bob.user_id}/status", {"presence": "online", "status_msg": "here"}))
    ok(stranger.put(f"/presence/{stranger.user_id}/status", {"presence": "online", "status_msg": "there"}))
    event = alice.sync_until(
        lambda answer: next(
            (each for each in answer.get("presence", {}).get("events", []) if each["sender"] == bob.user_id),
            None,
        )
    )
    assert event["content"]["presence"] == "online"
    assert event["content"]["status_msg"] == "here"
    assert stranger.user_id not in json.dumps(alice.sync(since=None))


def test_filters_leave_out_rooms_and_types(alice: Client) -> None:
    room, other = room_of(alice), room_of(alice)
    only = json.dumps({"room": {"rooms": [room]}, "account_data": {"types": []}, "presence": {"types": []}})
    answer = alice.sync(filter=only)
    assert set(answer["rooms"]["join"]) == {room}
    assert "account_data" not in answer
    assert other not in json.dumps(answer)
    fields = json.dumps({"event_fields": ["type", "content.body"], "room": {"state": {"types": []}}})
    alice.send(room, "x")
    part = joined(alice.sync(since=None, filter=fields), room)
    assert part["state"]["events"] == []
    assert part["timeline"]["events"][-1] == {"type": "m.room.message", "content": {"body": "x"}}
    raw = joined(alice.sync(since=None, filter=json.dumps({"event_format": "federation"})), room)
    assert "auth_events" in raw["timeline"]["events"][-1]


def test_full_state(alice: Client, bob: Client) -> None:
    room = room_of(alice, bob)
    alice.sync()
    part = joined(alice.sync(full_state="true"), room)
    assert ("m.room.create", "") in state_of(part)
    assert part["timeline"]["events"] == []


def test_redaction_is_seen_everywhere(alice: Client, bob: Client) -> None:
    room = room_of(alice, bob)
    event_id = bob.send(room, "regret")
    alice.sync()
    redaction = ok(alice.put(f"{room_path(room)}/redact/{event_id}/t1", {"reason": "rude"}))["event_id"]
    [event] = alice.timeline(room)
    assert event["redacts"] == event_id
    assert event["content"] == {"reason": "rude", "redacts": event_id}
    served = ok(alice.get(f"{room_path(room)}/event/{event_id}"))
    assert served["content"] == {}
    assert served["unsigned"]["redacted_because"]["event_id"] == redaction
    refused(bob.put(f"{room_path(room)}/redact/{alice.send(room, 'mine')}/t2"), 403, "M_FORBIDDEN")


def test_bad_tokens_are_refused(alice: Client) -> None:
    for token in ("x", "s1", "s1_x", "t1_2", "s99999999999999999999_0", "💥"):
        refused(alice.get("/sync", since=token), 400, "M_INVALID_PARAM")
