"""A client that only follows /sync ends with exactly the account that the plain API shows.

Five people do random things in a few rooms. Each follows with a model of their own, one with tight timeline
limits, one with `use_state_after`, one that syncs rarely, one whose filter hides state from timelines. The
server is restarted on the way. At checkpoints the models are held against the API: the same rooms under the
same headings, the same state, every message once and in the order it arrived.
"""

import json
import os
import random
from typing import Any

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
        self.state: dict[str, dict[StateKey, str]] = {}
        self.messages: dict[str, list[str]] = {}
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


def _apply(state: dict[StateKey, str], events: list[Json]) -> None:
    for event in events:
        if "state_key" in event:
            state[event["type"], event["state_key"]] = event["event_id"]


class World:
    """People and rooms, and what may happen."""

    def __init__(self, server: HearthServer, seed: int) -> None:
        self.random = random.Random(seed)
        self.server = server
        self.people = [server.register(f"model{seed}") for _ in range(5)]
        queries: list[dict[str, Any]] = [
            {},
            {"filter": json.dumps({"room": {"timeline": {"limit": 2}}})},
            {"use_state_after": "true"},
            {},
            {"filter": json.dumps({"room": {"timeline": {"limit": 5, "types": ["m.room.message"]}}})},
        ]
        eagerness = [0.6, 0.3, 0.5, 0.05, 0.4]
        self.followers = [
            Follower(client, query, eager)
            for client, query, eager in zip(self.people, queries, eagerness, strict=True)
        ]
        self.rooms: list[str] = []
        self.sent: dict[str, list[str]] = {}

    def step(self) -> None:
        who = self.random.choice(self.people)
        if not self.rooms or (len(self.rooms) < 4 and self.random.random() < 0.08):
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
        elif act == "knock":
            who.post(f"/knock/{room}")
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
            assert follower.state[room] == truth
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
    world = World(server, seed)
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
