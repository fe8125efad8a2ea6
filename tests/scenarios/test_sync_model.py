"""A client that only follows /sync ends with exactly the account that the plain API shows.

Five people do random things in a few rooms. Each follows with a model of their own, one with tight timeline
limits, one with `use_state_after`, one that syncs rarely, one whose filter hides state from timelines. The
server is restarted on the way. At checkpoints the models are held against the API: the same rooms under the
same headings, the same state, every message once and in the order it arrived.
"""

import itertools
import json
import os
import random
from typing import Any
from urllib.parse import quote

import pytest

from tests.harness import Client, HearthServer, Json, ok, room_path

StateKey = tuple[str, str]
STEPS = 120
SEEDS = range(1, 1 + int(os.environ.get("HEARTH_MODEL_SEEDS", "4")))


class Follower:
    """What one client knows, from nothing but its sync responses."""

    def __init__(self, client: Client, query: dict[str, Any], eagerness: float) -> None:
        self.client = client
        self.query = query
        self.eagerness = eagerness
        self.after = "use_state_after" in query
        self.lazy = '"lazy_load_members": true' in query.get("filter", "")
        self.state: dict[str, dict[StateKey, str]] = {}
        self.messages: dict[str, list[str]] = {}
        self.senders: dict[str, set[str]] = {}
        """Of what is shown, in each room."""
        self.invited: set[str] = set()
        self.knocked: set[str] = set()
        self.gaps = 0

    def sync(self) -> None:
        answer = self.client.sync(**self.query)
        rooms = answer.get("rooms", {})
        for room_id in rooms.get("invite", {}):
            self.invited.add(room_id)
            self.knocked.discard(room_id)
        for room_id in rooms.get("knock", {}):
            self.knocked.add(room_id)
            self.invited.discard(room_id)
        for room_id, part in rooms.get("leave", {}).items():
            self.invited.discard(room_id)
            self.knocked.discard(room_id)
            self.state.pop(room_id, None)
            self.messages.pop(room_id, None)
            last = part["timeline"]["events"][-1:] or part.get("state", {}).get("events", [])[-1:]
            if last and "filter" not in self.query:
                assert last[0]["content"].get("membership") in ("leave", "ban"), part
        for room_id, part in rooms.get("join", {}).items():
            self.invited.discard(room_id)
            self.knocked.discard(room_id)
            self._joined(room_id, part)

    def _joined(self, room_id: str, part: Json) -> None:
        state = self.state.setdefault(room_id, {})
        messages = self.messages.setdefault(room_id, [])
        timeline = part["timeline"]
        if timeline["limited"]:
            messages.clear()
            self.senders[room_id] = set()
            self.gaps += 1
        if not self.after:
            _apply(state, part["state"]["events"])
            _apply(state, timeline["events"])
        else:
            assert "state" not in part
            _apply(state, part["state_after"]["events"])
        new = [event["event_id"] for event in timeline["events"] if event["type"] == "m.room.message"]
        assert not set(new) & set(messages), "an event came twice"
        messages.extend(new)
        self.senders.setdefault(room_id, set()).update(event["sender"] for event in timeline["events"])


def _apply(state: dict[StateKey, str], events: list[Json]) -> None:
    for event in events:
        if "state_key" in event:
            state[event["type"], event["state_key"]] = event["event_id"]


def _filter(*, lazy: bool = False, **timeline: Any) -> Json:
    return {"filter": json.dumps({"room": {"timeline": timeline, "state": {"lazy_load_members": lazy}}})}


KINDS: list[tuple[Json, float]] = [
    ({}, 0.6),
    (_filter(limit=2), 0.3),
    ({"use_state_after": "true"}, 0.5),
    ({}, 0.05),
    (_filter(limit=5, types=["m.room.message"]), 0.4),
    (_filter(limit=3, lazy=True), 0.4),
    ({"use_state_after": "true", **_filter(limit=1, lazy=True)}, 0.2),
]
"""How a client asks, and how often."""


class World:
    """People and rooms, and what may happen."""

    most_rooms = 4
    via: Json = {}
    """What is said with a request to join."""

    def __init__(self, seed: int, people: list[Client]) -> None:
        self.random = random.Random(seed)
        self.people = people
        kinds = itertools.cycle(KINDS)
        self.followers = [Follower(client, *next(kinds)) for client in people]
        self.rooms: list[str] = []
        self.sent: dict[str, list[str]] = {}

    def step(self) -> None:
        who = self.random.choice(self.people)
        if not self.rooms or (len(self.rooms) < self.most_rooms and self.random.random() < 0.08):
            self._create(who)
            return
        room = self.random.choice(self.rooms)
        other = self.random.choice(self.people).user_id
        acts = {
            "message": 10, "state": 4, "join": 5, "leave": 2, "invite": 3, "kick": 1,
            "ban": 1, "unban": 2, "name": 1, "knock": 1,
        }  # fmt: skip
        act = self.random.choices(list(acts), list(acts.values()))[0]
        path = room_path(room)
        number = self.random.randrange(10**6)
        if act == "message":
            answer = who.put(
                f"{path}/send/m.room.message/{number}", {"msgtype": "m.text", "body": str(number)}
            )
            if answer.status_code == 200:
                self.sent[room].append(answer.json()["event_id"])
        elif act == "state":
            key = self.random.choice(["a", "b", "c"])
            who.put(f"{path}/state/org.example.thing/{key}", {"n": number})
        elif act == "name":
            who.put(f"/profile/{who.user_id}/displayname", {"displayname": f"N{number}"})
        elif act in ("invite", "kick", "ban", "unban"):
            who.post(f"{path}/{act}", {"user_id": other})
        elif act in ("knock", "join"):
            who.post(f"/{act}/{quote(room)}", **self.via)
        else:
            who.post(f"{path}/{act}")

    def _create(self, who: Client) -> None:
        rule = self.random.choice(["public", "public", "invite", "knock"])
        room = who.create_room(
            preset="public_chat",
            initial_state=[{"type": "m.room.join_rules", "content": {"join_rule": rule}}],
            power_level_content_override={"state_default": 0, "invite": 0, "kick": 50, "ban": 50},
        )
        self.rooms.append(room)
        self.sent[room] = []

    def sometimes_sync(self) -> None:
        for follower in self.followers:
            if self.random.random() < follower.eagerness:
                follower.sync()

    def check(self) -> None:
        for follower in self.followers:
            follower.sync()
            follower.sync()
            self._check(follower)

    def _check(self, follower: Follower) -> None:
        client = follower.client
        joined = set(ok(client.get("/joined_rooms"))["joined_rooms"])
        assert set(follower.state) == joined
        for room in joined:
            events: Any = client.get(f"{room_path(room)}/state").json()
            truth = {(event["type"], event["state_key"]): event["event_id"] for event in events}
            known = follower.state[room]
            if follower.lazy:
                truth = {key: id for key, id in truth.items() if key[0] != "m.room.member" or key in known}
                assert follower.senders[room] <= {user_id for _, user_id in known}, "a sender is not known"
            assert known == truth
            page = ok(client.get(f"{room_path(room)}/messages", dir="b", limit=1000))
            visible = [e["event_id"] for e in page["chunk"][::-1] if e["type"] == "m.room.message"]
            seen = follower.messages[room]
            assert visible[len(visible) - len(seen) :] == seen
        fresh = client.sync(since=None, **follower.query)
        follower.client.since = fresh["next_batch"]
        rooms = fresh.get("rooms", {})
        assert set(rooms.get("invite", {})) == follower.invited
        assert set(rooms.get("knock", {})) == follower.knocked
        assert set(rooms.get("join", {})) == joined


@pytest.mark.parametrize("seed", SEEDS)
def test_following_is_knowing(server: HearthServer, seed: int) -> None:
    world = World(seed, [server.register(f"model{seed}") for _ in KINDS])
    for step in range(STEPS):
        world.step()
        world.sometimes_sync()
        if step in (STEPS // 3, 2 * STEPS // 3):
            world.check()
        if step == STEPS // 2:
            server.restart()
            for person in world.people:
                person.http.base_url = server.url
    world.check()
    assert sum(follower.gaps for follower in world.followers) > 0
