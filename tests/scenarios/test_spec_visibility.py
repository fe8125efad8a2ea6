"""Who sees which event: history visibility, by what the reader was at the event, on every endpoint.

https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility
"""

import json
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.harness import Client, HearthServer, Json, joined, ok, refused, room_path

# What Bob was when an event was sent, in this order.
MOMENTS = ("before", "invited", "joined", "left", "rejoined", "gone")

# What he sees of them after all of it, by the setting.
VISIBLE = {
    "world_readable": {"before", "invited", "joined", "left", "rejoined", "gone"},
    "shared": {"before", "invited", "joined", "left", "rejoined"},
    "invited": {"invited", "joined", "rejoined"},
    "joined": {"joined", "rejoined"},
}


class Story:
    """Bob is invited, joins, leaves, joins again and leaves; at each moment Alice says what he is."""

    def __init__(self, server: HearthServer, setting: str | None) -> None:
        self.alice, self.bob = server.register("alice"), server.register("bob")
        self.stranger = server.register("stranger")
        state = [{"type": "m.room.join_rules", "content": {"join_rule": "public"}}]
        if setting is not None:
            visibility = {"history_visibility": setting}
            state.append({"type": "m.room.history_visibility", "content": visibility})
        self.room_id = self.alice.create_room(initial_state=state)
        self.events: dict[str, str] = {}
        self.say("before")
        self.alice.invite(self.room_id, self.bob.user_id)
        self.say("invited")
        self.bob.join(self.room_id)
        self.say("joined")
        self.bob.leave(self.room_id)
        self.say("left")
        self.bob.join(self.room_id)
        self.say("rejoined")
        self.bob.leave(self.room_id)
        self.say("gone")

    def say(self, moment: str) -> None:
        self.events[moment] = self.alice.send(self.room_id, moment)

    def path(self, part: str) -> str:
        return f"{room_path(self.room_id)}/{part}"

    def by_event(self, reader: Client) -> set[str]:
        seen = set()
        for moment, event_id in self.events.items():
            response = reader.get(self.path(f"event/{quote(event_id, safe='')}"))
            if response.status_code == 200:
                seen.add(moment)
            else:
                assert response.status_code in (403, 404)
        return seen

    def by_messages(self, reader: Client, direction: str) -> set[str]:
        response = reader.get(self.path("messages"), dir=direction, limit=100)
        return set(bodies(ok(response)["chunk"])) if response.status_code == 200 else set()

    def by_context(self, reader: Client) -> set[str]:
        seen = set()
        for moment, event_id in self.events.items():
            response = reader.get(self.path(f"context/{quote(event_id, safe='')}"), limit=100)
            if response.status_code == 200:
                page = response.json()
                assert bodies([page["event"]]) == [moment]
                seen |= set(bodies([*page["events_before"], page["event"], *page["events_after"]]))
        return seen


def bodies(events: list[Json]) -> list[str]:
    return [event["content"]["body"] for event in events if event["type"] == "m.room.message"]


@pytest.mark.parametrize("setting", [*VISIBLE, None])
def test_on_every_endpoint(server: HearthServer, setting: str | None) -> None:
    story = Story(server, setting)
    expected = VISIBLE[setting or "shared"]
    assert story.by_event(story.bob) == expected
    assert story.by_messages(story.bob, "b") == expected
    assert story.by_messages(story.bob, "f") == expected
    assert story.by_context(story.bob) == expected
    everything = set(MOMENTS)
    assert story.by_event(story.alice) == story.by_messages(story.alice, "b") == everything
    to_strangers = everything if setting == "world_readable" else set()
    for seen in (
        story.by_event(story.stranger),
        story.by_messages(story.stranger, "b"),
        story.by_context(story.stranger),
    ):
        assert seen == to_strangers


@pytest.mark.parametrize("setting", ["world_readable", "shared", "invited", "joined"])
def test_sync_of_somebody_who_joins(server: HearthServer, setting: str) -> None:
    alice, bob = server.register("alice"), server.register("bob")
    visibility = {"type": "m.room.history_visibility", "content": {"history_visibility": setting}}
    room_id = alice.create_room(preset="public_chat", initial_state=[visibility])
    alice.send(room_id, "before")
    alice.invite(room_id, bob.user_id)
    alice.send(room_id, "invited")
    bob.join(room_id)
    alice.send(room_id, "joined")
    room = joined(bob.sync(filter=json.dumps({"room": {"timeline": {"limit": 100}}})), room_id)
    expected = {
        "world_readable": ["before", "invited", "joined"],
        "shared": ["before", "invited", "joined"],
        "invited": ["invited", "joined"],
        "joined": ["joined"],
    }[setting]
    assert bodies(room["timeline"]["events"]) == expected
    page = ok(bob.get(f"{room_path(room_id)}/messages", dir="b", limit=100))
    assert bodies(page["chunk"])[::-1] == expected


class TestChangingTheSetting:
    @pytest.fixture
    def story(self, server: HearthServer) -> Iterator[tuple[Client, Client, str, dict[str, str]]]:
        """Readable by the world, then for members only, then for the world again; Bob was never there."""
        alice, stranger = server.register("alice"), server.register("stranger")
        visibility = {
            "type": "m.room.history_visibility",
            "content": {"history_visibility": "world_readable"},
        }
        room_id = alice.create_room(preset="public_chat", initial_state=[visibility])
        events = {"open": alice.send(room_id, "open")}
        events["closing"] = alice.send_state(
            room_id, "m.room.history_visibility", {"history_visibility": "joined"}
        )
        events["closed"] = alice.send(room_id, "closed")
        events["opening"] = alice.send_state(
            room_id, "m.room.history_visibility", {"history_visibility": "world_readable"}
        )
        events["open again"] = alice.send(room_id, "open again")
        yield alice, stranger, room_id, events

    def test_what_a_stranger_sees(self, story: tuple[Client, Client, str, dict[str, str]]) -> None:
        _, stranger, room_id, events = story
        page = ok(stranger.get(f"{room_path(room_id)}/messages", dir="b", limit=100))
        ids = {event["event_id"] for event in page["chunk"]}
        assert {name for name, event_id in events.items() if event_id in ids} == set(events) - {"closed"}
        path = f"{room_path(room_id)}/event/"
        for name, event_id in events.items():
            response = stranger.get(path + quote(event_id, safe=""))
            assert (response.status_code == 200) is (name != "closed"), name

    def test_one_who_joins_now(self, story: tuple[Client, Client, str, dict[str, str]]) -> None:
        _, stranger, room_id, events = story
        stranger.join(room_id)
        page = ok(stranger.get(f"{room_path(room_id)}/messages", dir="b", limit=100))
        assert "closed" not in bodies(page["chunk"])
        refused(
            stranger.get(f"{room_path(room_id)}/event/{quote(events['closed'], safe='')}"), 404, "M_NOT_FOUND"
        )


class TestState:
    def test_those_who_left_see_the_state_as_it_was(self, server: HearthServer) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        room_id = alice.create_room(preset="public_chat", name="then")
        bob.join(room_id)
        bob.leave(room_id)
        carol = server.register("carol")
        carol.join(room_id)
        alice.send_state(room_id, "m.room.name", {"name": "now"})
        alice.send_state(room_id, "org.example.new", {})
        path = room_path(room_id)
        assert ok(bob.get(f"{path}/state/m.room.name/")) == {"name": "then"}
        whole = bob.get(f"{path}/state").json()
        assert {"name": "then"} in [event["content"] for event in whole]
        assert "org.example.new" not in [event["type"] for event in whole]
        refused(bob.get(f"{path}/state/org.example.new/"), 404, "M_NOT_FOUND")
        members = ok(bob.get(f"{path}/members"))["chunk"]
        assert {event["state_key"]: event["content"]["membership"] for event in members} == {
            alice.user_id: "join",
            bob.user_id: "leave",
        }
        refused(bob.get(f"{path}/joined_members"), 403, "M_FORBIDDEN")

    @pytest.mark.parametrize("setting", ["shared", "world_readable"])
    def test_the_invited_and_strangers(self, server: HearthServer, setting: str) -> None:
        alice, bob, stranger = (server.register(name) for name in ("alice", "bob", "stranger"))
        visibility = {"type": "m.room.history_visibility", "content": {"history_visibility": setting}}
        room_id = alice.create_room(initial_state=[visibility], invite=[bob.user_id], name="x")
        status = 200 if setting == "world_readable" else 403
        for reader in (bob, stranger):
            for part in ("state", "state/m.room.name/", "members"):
                response = reader.get(f"{room_path(room_id)}/{part}")
                assert response.status_code == status, (part, response.text)
            response = reader.get(f"{room_path(room_id)}/messages", dir="b")
            assert response.status_code == status, response.text

    def test_nobody_learns_of_a_room_by_asking(self, server: HearthServer) -> None:
        alice, stranger = server.register("alice"), server.register("stranger")
        room_id = alice.create_room()
        parts: tuple[tuple[str, Json], ...] = (
            ("state", {}),
            ("state/m.room.create/", {}),
            ("members", {}),
            ("joined_members", {}),
            ("messages", {"dir": "b"}),
            ("aliases", {}),
        )
        for part, query in parts:
            there = stranger.get(f"{room_path(room_id)}/{part}", **query)
            assert there.status_code == 403, (part, there.text)
            nowhere = stranger.get(f"{room_path('!nowhere:localhost')}/{part}", **query)
            assert nowhere.status_code in (403, 404), (part, nowhere.text)


class TestEvents:
    def test_an_event_of_another_room(self, server: HearthServer) -> None:
        alice = server.register("alice")
        here, there = alice.create_room(), alice.create_room()
        event_id = quote(alice.send(there, "x"), safe="")
        refused(alice.get(f"{room_path(here)}/event/{event_id}"), 404, "M_NOT_FOUND")
        refused(alice.get(f"{room_path(here)}/context/{event_id}"), 404, "M_NOT_FOUND")

    def test_what_is_unsigned(self, server: HearthServer) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        room_id = alice.create_room(preset="public_chat", name="One")
        bob.join(room_id)
        second = alice.send_state(room_id, "m.room.name", {"name": "Two"})
        seen = ok(bob.get(f"{room_path(room_id)}/event/{quote(second, safe='')}"))
        unsigned: Json = seen["unsigned"]
        assert unsigned["prev_content"] == {"name": "One"}
        assert unsigned["membership"] == "join"
        assert 0 <= unsigned["age"] < 60_000
        assert "transaction_id" not in unsigned
        first_seen: int = unsigned["age"]
        again = ok(bob.get(f"{room_path(room_id)}/event/{quote(second, safe='')}"))["unsigned"]["age"]
        assert again >= first_seen
