"""What people read of a room's past over HTTP: pages, context, single events, state and members."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.harness import Client, HearthServer, Json, joined, ok, refused, room_path


def messages(client: Client, room_id: str, direction: str = "b", **query: Any) -> Json:
    return ok(client.get(f"{room_path(room_id)}/messages", dir=direction, **query))


def bodies(events: list[Json]) -> list[str]:
    return [event["content"]["body"] for event in events if "body" in event["content"]]


def context(client: Client, room_id: str, event_id: str, **query: Any) -> Any:
    return client.get(f"{room_path(room_id)}/context/{quote(event_id, safe='')}", **query)


def one_event(client: Client, room_id: str, event_id: str) -> Any:
    return client.get(f"{room_path(room_id)}/event/{quote(event_id, safe='')}")


class TestPaging:
    @pytest.mark.parametrize("direction", ["b", "f"])
    def test_every_event_is_reached_once(self, server: HearthServer, direction: str) -> None:
        alice = server.register("alice")
        room_id = alice.create_room()
        for number in range(12):
            alice.send(room_id, str(number))
        seen: list[Json] = []
        query: Json = {"limit": 4}
        while True:
            page = messages(alice, room_id, direction, **query)
            seen += page["chunk"]
            if "end" not in page:
                break
            query["from"] = page["end"]
        if direction == "b":
            seen.reverse()
        ids = [event["event_id"] for event in seen]
        assert len(ids) == len(set(ids))
        assert seen[0]["type"] == "m.room.create"
        assert bodies(seen) == [str(number) for number in range(12)]
        assert all(event["room_id"] == room_id for event in seen)

    def test_prev_batch_goes_on_without_a_gap(self, server: HearthServer) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        room_id = alice.create_room(preset="public_chat")
        bob.join(room_id)
        alice.sync()
        before = alice.since
        for number in range(10):
            bob.send(room_id, str(number))
        room = joined(alice.sync(filter='{"room":{"timeline":{"limit":3}}}'), room_id)
        assert room["timeline"]["limited"]
        assert bodies(room["timeline"]["events"]) == ["7", "8", "9"]
        gap = messages(alice, room_id, **{"from": room["timeline"]["prev_batch"], "to": before, "limit": 50})
        assert bodies(gap["chunk"]) == ["6", "5", "4", "3", "2", "1", "0"]
        assert "end" not in gap
        forwards = messages(
            alice, room_id, "f", **{"from": before, "to": room["timeline"]["prev_batch"], "limit": 50}
        )
        assert bodies(forwards["chunk"]) == ["0", "1", "2", "3", "4", "5", "6"]

    def test_filters_and_lazy_members(self, server: HearthServer) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        room_id = alice.create_room(preset="public_chat")
        bob.join(room_id)
        bob.send(room_id, "hello")
        page = messages(alice, room_id, limit=1, filter='{"lazy_load_members":true}')
        assert [event["state_key"] for event in page["state"]] == [bob.user_id]
        assert "state" not in messages(alice, room_id, limit=1)
        page = messages(alice, room_id, filter='{"types":["m.room.cr*"]}')
        assert [event["type"] for event in page["chunk"]] == ["m.room.create"]
        assert len(messages(alice, room_id, filter='{"limit":2}')["chunk"]) == 2

    def test_refusals(self, server: HearthServer) -> None:
        alice = server.register("alice")
        path = f"{room_path(alice.create_room())}/messages"
        refused(alice.get(path), 400, "M_MISSING_PARAM")
        refused(alice.get(path, dir="sideways"), 400, "M_INVALID_PARAM")
        refused(alice.get(path, dir="b", limit="-1"), 400, "M_INVALID_PARAM")
        refused(alice.get(path, dir="b", limit="x"), 400, "M_INVALID_PARAM")
        refused(alice.get(path, dir="b", **{"from": "x"}), 400, "M_INVALID_PARAM")
        refused(alice.get(path, dir="b", filter="{"), 400, "M_INVALID_PARAM")
        refused(server.register("bob").get(path, dir="b"), 403, "M_FORBIDDEN")
        refused(alice.get("/rooms/!nowhere:localhost/messages", dir="b"), 403, "M_FORBIDDEN")


class TestVisibility:
    """Three messages: before Bob's invite, while he is invited, and when he has joined."""

    @pytest.mark.parametrize(
        ("setting", "expected"),
        [
            ("world_readable", ["before", "invited", "joined"]),
            ("shared", ["before", "invited", "joined"]),
            ("invited", ["invited", "joined"]),
            ("joined", ["joined"]),
        ],
    )
    def test_on_every_endpoint(self, server: HearthServer, setting: str, expected: list[str]) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        visibility = {"type": "m.room.history_visibility", "content": {"history_visibility": setting}}
        room_id = alice.create_room(initial_state=[visibility])
        sent = {"before": alice.send(room_id, "before")}
        alice.invite(room_id, bob.user_id)
        sent["invited"] = alice.send(room_id, "invited")
        bob.join(room_id)
        sent["joined"] = alice.send(room_id, "joined")
        assert bodies(messages(bob, room_id, "f", limit=100)["chunk"]) == expected
        assert bodies(messages(bob, room_id, limit=100)["chunk"]) == expected[::-1]
        for body, event_id in sent.items():
            if body in expected:
                assert ok(one_event(bob, room_id, event_id))["content"]["body"] == body
                assert ok(context(bob, room_id, event_id))["event"]["event_id"] == event_id
            else:
                refused(one_event(bob, room_id, event_id), 404, "M_NOT_FOUND")
                refused(context(bob, room_id, event_id), 404, "M_NOT_FOUND")
        around = ok(context(bob, room_id, sent["joined"], limit=100))
        assert bodies(around["events_before"]) == expected[:-1][::-1]

    def test_the_membership_of_the_reader(self, server: HearthServer) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        room_id = alice.create_room(preset="public_chat")
        before = alice.send(room_id, "before")
        bob.join(room_id)
        after = alice.send(room_id, "after")
        assert ok(one_event(bob, room_id, before))["unsigned"]["membership"] == "leave"
        assert ok(one_event(bob, room_id, after))["unsigned"]["membership"] == "join"
        page = messages(bob, room_id, "f", limit=100)["chunk"]
        found = {event["event_id"]: event["unsigned"]["membership"] for event in page}
        assert (found[before], found[after]) == ("leave", "join")

    @pytest.mark.parametrize("how", ["leave", "kick", "ban"])
    def test_what_is_left_to_those_who_left(self, server: HearthServer, how: str) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        room_id = alice.create_room(preset="public_chat", name="Old")
        bob.join(room_id)
        before = alice.send(room_id, "before")
        {
            "leave": lambda: bob.leave(room_id),
            "kick": lambda: alice.kick(room_id, bob.user_id),
            "ban": lambda: alice.ban(room_id, bob.user_id),
        }[how]()
        after = alice.send(room_id, "after")
        alice.send_state(room_id, "m.room.name", {"name": "New"})
        assert bodies(messages(bob, room_id, limit=100)["chunk"]) == ["before"]
        assert bodies(messages(bob, room_id, "f", limit=100)["chunk"]) == ["before"]
        ok(one_event(bob, room_id, before))
        refused(one_event(bob, room_id, after), 404, "M_NOT_FOUND")
        assert bodies(ok(context(bob, room_id, before))["events_after"]) == []
        assert ok(bob.state(room_id, "m.room.name")) == {"name": "Old"}
        whole = {event["type"]: event for event in bob.get(f"{room_path(room_id)}/state").json()}
        assert whole["m.room.name"]["content"] == {"name": "Old"}
        members = ok(bob.get(f"{room_path(room_id)}/members", membership="join"))["chunk"]
        assert [event["state_key"] for event in members] == [alice.user_id]

    def test_peeking(self, server: HearthServer) -> None:
        alice, stranger = server.register("alice"), server.register("stranger")
        content = {"history_visibility": "world_readable"}
        visibility = {"type": "m.room.history_visibility", "content": content}
        room_id = alice.create_room(name="Open", initial_state=[visibility])
        event_id = alice.send(room_id, "hello")
        assert bodies(messages(stranger, room_id)["chunk"]) == ["hello"]
        assert ok(stranger.state(room_id, "m.room.name")) == {"name": "Open"}
        ok(context(stranger, room_id, event_id))
        ok(stranger.get(f"{room_path(room_id)}/members"))
        assert ok(stranger.get(f"{room_path(room_id)}/aliases")) == {"aliases": []}
        refused(stranger.get(f"{room_path(room_id)}/joined_members"), 403, "M_FORBIDDEN")


class TestContext:
    def test_around_an_event(self, server: HearthServer) -> None:
        alice = server.register("alice")
        room_id = alice.create_room()
        ids = [alice.send(room_id, str(number)) for number in range(9)]
        found = ok(context(alice, room_id, ids[4], limit=5))
        assert found["event"]["event_id"] == ids[4]
        assert bodies(found["events_before"]) == ["3", "2"]
        assert bodies(found["events_after"]) == ["5", "6", "7"]
        assert any(event["type"] == "m.room.create" for event in found["state"])
        earlier = messages(alice, room_id, **{"from": found["start"], "limit": 2})
        assert bodies(earlier["chunk"]) == ["1", "0"]
        later = messages(alice, room_id, "f", **{"from": found["end"], "limit": 2})
        assert bodies(later["chunk"]) == ["8"]
        alone = ok(context(alice, room_id, ids[0], limit=0))
        assert (alone["events_before"], alone["events_after"]) == ([], [])

    def test_the_filter_leaves_the_event(self, server: HearthServer) -> None:
        alice = server.register("alice")
        room_id = alice.create_room()
        event_id = alice.send(room_id, "hello")
        found = ok(context(alice, room_id, event_id, filter='{"types":["m.room.name"]}', limit=50))
        assert found["event"]["event_id"] == event_id
        assert found["events_before"] == found["state"] == []

    def test_refusals(self, server: HearthServer) -> None:
        alice = server.register("alice")
        room_id = alice.create_room()
        refused(context(alice, room_id, "$nothing"), 404, "M_NOT_FOUND")
        refused(context(alice, room_id, "$nothing", limit="x"), 400, "M_INVALID_PARAM")
        elsewhere = alice.send(alice.create_room(), "elsewhere")
        refused(context(alice, room_id, elsewhere), 404, "M_NOT_FOUND")
        refused(context(server.register("bob"), room_id, elsewhere), 403, "M_FORBIDDEN")
