"""The stream of events from before /sync, and looking into rooms.

https://spec.matrix.org/v1.19/client-server-api/#room-previews
"""

import threading
import time
from typing import Any
from urllib.parse import quote

from tests.harness import Client, HearthServer, Json, ok, refused, room_path


def bodies(events: list[Json]) -> list[str]:
    return [event["content"]["body"] for event in events if event["type"] == "m.room.message"]


def members(events: list[Json]) -> list[tuple[str, str]]:
    return [(e["state_key"], e["content"]["membership"]) for e in events if e["type"] == "m.room.member"]


def listen(client: Client, start: str | None, timeout: int = 0, **query: Any) -> Json:
    query |= {"from": start} if start is not None else {}
    return ok(client.get("/events", timeout=timeout, **query))


def world_readable(owner: Client) -> str:
    readable = {"type": "m.room.history_visibility", "content": {"history_visibility": "world_readable"}}
    return owner.create_room(preset="public_chat", visibility="public", initial_state=[readable])


def test_everything_and_then_what_happens(server: HearthServer) -> None:
    alice, bob = server.register("alice"), server.register("bob")
    room, left = alice.create_room(name="here", invite=[bob.user_id]), bob.create_room(preset="public_chat")
    bob.send(left, "before")
    alice.join(left)
    alice.leave(left)
    bob.send(left, "after")
    ok(alice.put(f"/user/{alice.user_id}/rooms/{quote(room)}/account_data/org.note", {"note": 1}))
    ok(alice.put(f"/user/{alice.user_id}/account_data/org.mine", {"mine": 2}))
    for number in range(3):
        alice.send(room, str(number))
    first = ok(alice.get("/initialSync", limit=2))
    [info] = first["rooms"]
    assert (info["room_id"], info["membership"], info["visibility"]) == (room, "join", "private")
    assert bodies(info["messages"]["chunk"]) == ["1", "2"]
    assert all(event["room_id"] == room for event in info["messages"]["chunk"])
    state = {(event["type"], event["state_key"]): event["content"] for event in info["state"]}
    assert state["m.room.name", ""] == {"name": "here"} and len(state) > 5
    assert info["account_data"] == [{"type": "org.note", "content": {"note": 1}}]
    assert {"type": "org.mine", "content": {"mine": 2}} in first["account_data"]
    earlier = ok(alice.get(f"{room_path(room)}/messages", dir="b", **{"from": info["messages"]["start"]}))
    assert bodies(earlier["chunk"]) == ["0"]

    rooms = {each["room_id"]: each for each in ok(alice.get("/initialSync", archived=True))["rooms"]}
    assert rooms[left]["membership"] == "leave"
    assert bodies(rooms[left]["messages"]["chunk"]) == ["before"]

    [invite] = [each for each in ok(bob.get("/initialSync"))["rooms"] if each["room_id"] == room]
    assert invite["membership"] == "invite" and invite["invite"]["sender"] == alice.user_id

    nothing = listen(alice, first["end"])
    assert nothing["start"] == first["end"] and nothing["chunk"] == []
    alice.send(room, "3")
    bob.join(room)
    news = listen(alice, nothing["end"])
    assert bodies(news["chunk"]) == ["3"] and members(news["chunk"]) == [(bob.user_id, "join")]
    assert listen(alice, news["end"])["chunk"] == []


def test_waiting(server: HearthServer) -> None:
    alice, bob = server.register("alice"), server.register("bob")
    room = alice.create_room(preset="public_chat")
    bob.join(room)
    start = ok(alice.get("/initialSync"))["end"]
    threading.Timer(0.3, bob.send, (room, "hello")).start()
    ok(bob.put(f"{room_path(room)}/typing/{bob.user_id}", {"typing": True}))
    begun = time.monotonic()
    assert bodies(listen(alice, start, 10_000)["chunk"]) == ["hello"]
    assert time.monotonic() - begun < 5


def test_no_event_is_left_out_and_none_comes_twice(server: HearthServer) -> None:
    """However much happened, and of a room that was joined only what came with the join."""
    alice, bob = server.register("alice"), server.register("bob")
    room = alice.create_room(preset="public_chat")
    alice.send(room, "before bob came")
    other = alice.create_room()
    token = ok(bob.get("/initialSync"))["end"]
    said = [str(number) for number in range(150)]
    bob.join(room)
    for body in said:
        alice.send(room, body)
    ok(alice.post(f"{room_path(other)}/invite", {"user_id": bob.user_id}))
    heard: list[Json] = []
    for _ in range(10):
        answer = listen(bob, token)
        heard, token = heard + answer["chunk"], answer["end"]
        if not answer["chunk"]:
            break
    assert bodies(heard) == said
    assert members(heard) == [(bob.user_id, "join"), (bob.user_id, "invite")]
    bob.leave(room)
    alice.send(room, "gone")
    answer = listen(bob, token)
    assert members(answer["chunk"]) == [(bob.user_id, "leave")] and not bodies(answer["chunk"])


def test_looking_into_a_room(server: HearthServer) -> None:
    alice, bob = server.register("alice"), server.register("bob")
    room = world_readable(alice)
    alice.send(room, "welcome")
    info = ok(bob.get(f"{room_path(room)}/initialSync", limit=1))
    assert "membership" not in info and info["visibility"] == "public"
    assert bodies(info["messages"]["chunk"]) == ["welcome"]
    assert {event["type"] for event in info["state"]} >= {"m.room.create", "m.room.member"}
    threading.Timer(0.3, alice.send, (room, "live")).start()
    answer = listen(bob, info["messages"]["end"], 10_000, room_id=room)
    assert bodies(answer["chunk"]) == ["live"]
    assert listen(bob, info["messages"]["end"])["chunk"] == []  # not among bob's own
    # What the room hides from now on is hidden, the change itself is not.
    alice.send_state(room, "m.room.history_visibility", {"history_visibility": "joined"})
    alice.send(room, "secret")
    refused(bob.get("/events", room_id=room, **{"from": answer["end"]}), 403, "M_FORBIDDEN")
    refused(bob.get(f"{room_path(room)}/initialSync"), 403, "M_FORBIDDEN")


def test_a_room_that_was_left(server: HearthServer) -> None:
    alice, bob = server.register("alice"), server.register("bob")
    room = alice.create_room(preset="public_chat", name="old")
    bob.join(room)
    alice.send(room, "before")
    bob.leave(room)
    alice.send(room, "after")
    alice.send_state(room, "m.room.name", {"name": "new"})
    info = ok(bob.get(f"{room_path(room)}/initialSync"))
    assert info["membership"] == "leave" and bodies(info["messages"]["chunk"]) == ["before"]
    [name] = [event for event in info["state"] if event["type"] == "m.room.name"]
    assert name["content"] == {"name": "old"}
    refused(bob.get("/events", room_id=room), 403, "M_FORBIDDEN")
    info = ok(alice.get(f"{room_path(room)}/initialSync"))
    assert info["membership"] == "join" and bodies(info["messages"]["chunk"]) == ["before", "after"]


def test_one_event(server: HearthServer) -> None:
    alice, bob = server.register("alice"), server.register("bob")
    event_id = alice.send(alice.create_room(), "mine")
    assert ok(alice.get(f"/events/{quote(event_id)}"))["content"]["body"] == "mine"
    refused(bob.get(f"/events/{quote(event_id)}"), 404, "M_NOT_FOUND")
    refused(bob.get("/events/$nothing"), 404, "M_NOT_FOUND")
