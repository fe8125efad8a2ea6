"""A client of sliding sync knows the account: its model equals what the plain API says, after every step.

The client is written from the proposal alone (https://github.com/matrix-org/matrix-spec-proposals/pull/4186).
Four people do random things in a few rooms; each follows with two connections: one that looks at all rooms
all the time, in the accepted form, and one in the older form whose window, limits and subscriptions change
at random, and that loads members lazily. Answers get lost and are asked for again, and the server is
restarted on the way. HEARTH_SLIDING_STEPS sets how many steps are taken.
"""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.harness import Client, HearthServer, Json, ok, room_path
from tests.scenarios.sliding import ALL_STATE, Connection, UnstableConnection

StateKey = tuple[str, str]
STEPS = int(os.environ.get("HEARTH_SLIDING_STEPS", "120"))
SEEDS = range(1, 1 + int(os.environ.get("HEARTH_MODEL_SEEDS", "1")))
EXTENSIONS: Json = {name: {"enabled": True} for name in ("account_data", "receipts", "typing")}


@dataclass
class Room:
    membership: str = ""
    state: dict[StateKey, str] = field(default_factory=dict)
    timeline: list[str] = field(default_factory=list)
    senders: dict[str, str] = field(default_factory=dict)
    name: str | None = None
    joined: int = 0
    invited: int = 0
    unread: int = 0
    is_dm: bool = False
    bump_stamp: int = 0


class Model:
    """What one connection was told."""

    def __init__(self, connection: Connection, body: Callable[[], Json], lazy: bool) -> None:
        self.connection = connection
        self.body = body
        self.lazy = lazy
        self.forget()

    def forget(self) -> None:
        self.rooms: dict[str, Room] = {}
        self.account_data: dict[str, Json] = {}
        self.room_data: dict[tuple[str, str], Json] = {}
        self.receipts: dict[tuple[str, str, str], str] = {}
        self.counts: dict[str, int] = {}
        self.typing: dict[str, set[str]] = {}

    def sync(self, body: Json | None = None) -> None:
        self.take(self.connection.sync(**(body or self.body())))

    def lose_an_answer(self) -> None:
        pos = self.connection.pos
        if pos is not None:
            self.connection.sync(**self.body())
            self.connection.pos = pos

    def take(self, answer: Json) -> None:
        self.counts.update({name: each["count"] for name, each in answer["lists"].items()})
        for room_id, part in answer["rooms"].items():
            self._take_room(room_id, part)
        extensions = answer["extensions"]
        data = extensions.get("account_data", {})
        self.account_data.update({event["type"]: event["content"] for event in data.get("global", ())})
        for room_id, events in data.get("rooms", {}).items():
            self.room_data.update({(room_id, event["type"]): event["content"] for event in events})
        for room_id, event in extensions.get("receipts", {}).get("rooms", {}).items():
            for event_id, kinds in event["content"].items():
                for kind, users in kinds.items():
                    for user_id in users:
                        self.receipts[room_id, kind, user_id] = event_id
        for room_id, event in extensions.get("typing", {}).get("rooms", {}).items():
            self.typing[room_id] = set(event["content"]["user_ids"])

    def _take_room(self, room_id: str, part: Json) -> None:
        assert "bump_stamp" in part
        if part.get("initial"):
            self.rooms[room_id] = Room()
        room = self.rooms[room_id]
        room.membership = part.get("membership", room.membership)
        room.name = part.get("name", room.name)
        room.joined = part.get("joined_count", room.joined)
        room.invited = part.get("invited_count", room.invited)
        room.unread = part.get("notification_count", room.unread)
        room.is_dm = part.get("is_dm", room.is_dm)
        timeline = part.get("timeline", [])
        expanded = part.get("expanded_timeline", part.get("unstable_expanded_timeline", False))
        if part.get("limited") or expanded:
            room.timeline = []
        if part.get("limited") and self.lazy:
            for key in [key for key in room.state if key[0] == "m.room.member"]:
                del room.state[key]
        new = [event["event_id"] for event in timeline]
        assert not set(new) & set(room.timeline), "an event came twice"
        room.timeline += new
        room.senders.update({event["event_id"]: event["sender"] for event in timeline})
        for event in part.get("required_state", ()):
            key = (event["type"], event["state_key"])
            if "content" in event:
                room.state[key] = event["event_id"]
            else:
                room.state.pop(key, None)


class Person:
    def __init__(self, client: Client, source: random.Random) -> None:
        self.client = client
        self.random = source
        self.subscribed: str | None = None
        self.wide = Model(Connection(client, "wide"), self.wide_body, lazy=False)
        self.narrow = Model(UnstableConnection(client, "narrow"), self.narrow_body, lazy=True)

    def wide_body(self) -> Json:
        lists = {"all": {"timeline_limit": 3, "required_state": ALL_STATE}}
        return {"lists": lists, "extensions": EXTENSIONS}

    def narrow_body(self, last: int | None = None) -> Json:
        state = [["*", "*"], ["m.room.member", "$LAZY"], ["m.room.member", "$ME"]]
        last = self.random.choice([0, 0, 1, 2]) if last is None else last
        few = {"timeline_limit": self.random.choice([1, 2]), "required_state": state}
        body: Json = {"lists": {"all": {**few, "ranges": [[0, last]]}}, "extensions": EXTENSIONS}
        if self.subscribed is not None:
            body["room_subscriptions"] = {self.subscribed: {"timeline_limit": 6, "required_state": state}}
        return body

    def check(self) -> None:
        """Both models against the API."""
        truth = Truth(self.client)
        self.wide.sync()
        self._check(truth, self.wide)
        if self.random.random() < 0.4:
            self.narrow.sync(self.narrow_body(last=99))
            self._check(truth, self.narrow)

    def _check(self, truth: "Truth", model: Model) -> None:
        for membership, rooms in truth.rooms.items():
            assert {id for id, room in model.rooms.items() if room.membership == membership} == rooms
        for room_id in truth.rooms["join"]:
            room, real = model.rooms[room_id], truth.room(room_id)
            if model.lazy:
                members = {key for key in real.state if key[0] == "m.room.member"}
                known = {key: id for key, id in real.state.items() if key not in members or key in room.state}
                assert room.state == known
                for event_id in room.timeline:
                    key = ("m.room.member", room.senders[event_id])
                    assert key in room.state, "a sender is not known"
                assert room.unread == real.unread
            else:
                assert room.state == real.state
            assert room.timeline, "nothing is shown"
            assert real.timeline[-len(room.timeline) :] == room.timeline
            assert (room.name, room.joined, room.invited) == (real.name, real.joined, real.invited)
            assert room.is_dm is real.is_dm
        known_data = {type: content for type, content in model.account_data.items() if content}
        assert known_data == truth.account_data
        joined = truth.rooms["join"]
        data = {key: each for key, each in model.room_data.items() if key[0] in joined and each}
        assert data == truth.room_data
        receipts = {key: id for key, id in model.receipts.items() if key[0] in joined}
        own = {key: id for key, id in truth.receipts.items() if key[2] == self.client.user_id}
        assert {key: id for key, id in receipts.items() if key[2] == self.client.user_id} == own
        assert receipts.items() <= truth.receipts.items()
        if self._typing(model, joined) != self._typing(truth, joined):
            # Somebody's time was up between the two questions, perhaps.
            truth = Truth(self.client)
            model.sync(self.wide_body() if model is self.wide else self.narrow_body(last=99))
            assert self._typing(model, joined) == self._typing(truth, joined)

    @staticmethod
    def _typing(side: "Model | Truth", rooms: set[str]) -> dict[str, set[str]]:
        return {room_id: side.typing.get(room_id, set()) for room_id in rooms}


class Truth:
    """What the plain API says."""

    def __init__(self, client: Client) -> None:
        self.client = client
        answer = ok(client.get("/sync", timeout=0))
        rooms = answer.get("rooms", {})
        self.rooms: dict[str, set[str]] = {name: set(rooms.get(name, {})) for name in ("invite", "knock")}
        self.rooms["join"] = set(ok(client.get("/joined_rooms"))["joined_rooms"])
        self.synced: Json = rooms.get("join", {})
        self.account_data = {
            event["type"]: event["content"] for event in answer.get("account_data", {}).get("events", ())
        }
        self.direct = {id for rooms in self.account_data.get("m.direct", {}).values() for id in rooms}
        self.room_data: dict[tuple[str, str], Json] = {}
        self.receipts: dict[tuple[str, str, str], str] = {}
        self.typing: dict[str, set[str]] = {}
        for room_id, part in self.synced.items():
            for event in part["account_data"]["events"]:
                self.room_data[room_id, event["type"]] = event["content"]
            for event in part["ephemeral"]["events"]:
                self._ephemeral(room_id, event)

    def _ephemeral(self, room_id: str, event: Json) -> None:
        if event["type"] == "m.typing":
            self.typing[room_id] = set(event["content"]["user_ids"])
            return
        for event_id, kinds in event["content"].items():
            for kind, users in kinds.items():
                for user_id in users:
                    self.receipts[room_id, kind, user_id] = event_id

    def room(self, room_id: str) -> Room:
        path = room_path(room_id)
        state: Any = self.client.get(f"{path}/state").json()
        name = next((event["content"].get("name") for event in state if event["type"] == "m.room.name"), None)
        memberships = [event["content"]["membership"] for event in state if event["type"] == "m.room.member"]
        page = ok(self.client.get(f"{path}/messages", dir="b", limit=200))
        return Room(
            "join",
            {(event["type"], event["state_key"]): event["event_id"] for event in state},
            [event["event_id"] for event in reversed(page["chunk"])],
            name=name or None,
            joined=memberships.count("join"),
            invited=memberships.count("invite"),
            unread=self.synced[room_id]["unread_notifications"]["notification_count"],
            is_dm=room_id in self.direct,
        )


class World:
    def __init__(self, server: HearthServer, seed: int) -> None:
        self.random = random.Random(seed)
        self.server = server
        self.people = [Person(server.register(f"sliding{seed}"), self.random) for _ in range(4)]
        self.rooms: list[str] = []
        self.sent: dict[str, list[str]] = {}

    def step(self) -> None:
        who = self.random.choice(self.people).client
        if not self.rooms or (len(self.rooms) < 5 and self.random.random() < 0.1):
            self._create(who)
            return
        room = self.random.choice(self.rooms)
        acts = {
            self._message: 10, self._state: 4, self._name: 2, self._join: 6, self._leave: 2,
            self._on_other: 6, self._knock: 1, self._redact: 2, self._receipt: 3, self._data: 2,
            self._room_data: 3, self._direct: 1, self._profile: 1, self._forget: 1, self._typing: 2,
        }  # fmt: skip
        act = self.random.choices(list(acts), list(acts.values()))[0]
        act(who, room)

    def _create(self, who: Client) -> None:
        rule = self.random.choice(["public", "public", "invite", "knock"])
        history = self.random.choice(["shared", "shared", "joined", "invited"])
        room = who.create_room(
            preset="public_chat",
            initial_state=[
                {"type": "m.room.join_rules", "content": {"join_rule": rule}},
                {"type": "m.room.history_visibility", "content": {"history_visibility": history}},
            ],
            power_level_content_override={"state_default": 0, "invite": 0, "kick": 50, "ban": 50},
        )
        self.rooms.append(room)
        self.sent[room] = []

    @property
    def _number(self) -> int:
        return self.random.randrange(10**6)

    def _message(self, who: Client, room: str) -> None:
        number = self._number
        body = {"msgtype": "m.text", "body": str(number)}
        for _ in range(self.random.choice([1, 1, 1, 5])):
            answer = who.put(f"{room_path(room)}/send/m.room.message/{number}", body)
            number += 1
            if answer.status_code == 200:
                self.sent[room].append(answer.json()["event_id"])

    def _state(self, who: Client, room: str) -> None:
        key = self.random.choice(["a", "b", "c"])
        answer = who.put(f"{room_path(room)}/state/org.example.thing/{key}", {"n": self._number})
        if answer.status_code == 200:
            self.sent[room].append(answer.json()["event_id"])

    def _name(self, who: Client, room: str) -> None:
        content = self.random.choice([{}, {"name": f"Room {self._number}"}])
        answer = who.put(f"{room_path(room)}/state/m.room.name/", content)
        if answer.status_code == 200:
            self.sent[room].append(answer.json()["event_id"])

    def _join(self, who: Client, room: str) -> None:
        who.post(f"{room_path(room)}/join")

    def _leave(self, who: Client, room: str) -> None:
        who.post(f"{room_path(room)}/leave")

    def _forget(self, who: Client, room: str) -> None:
        who.post(f"{room_path(room)}/forget")

    def _knock(self, who: Client, room: str) -> None:
        who.post(f"/knock/{room}")

    def _on_other(self, who: Client, room: str) -> None:
        verb = self.random.choice(["invite", "invite", "kick", "ban", "unban", "unban"])
        other = self.random.choice(self.people).client.user_id
        who.post(f"{room_path(room)}/{verb}", {"user_id": other})

    def _redact(self, who: Client, room: str) -> None:
        if self.sent[room]:
            who.put(f"{room_path(room)}/redact/{self.random.choice(self.sent[room])}/{self._number}")

    def _receipt(self, who: Client, room: str) -> None:
        if self.sent[room]:
            kind = self.random.choice(["m.read", "m.read.private"])
            who.post(f"{room_path(room)}/receipt/{kind}/{self.sent[room][-1]}")

    def _typing(self, who: Client, room: str) -> None:
        typing = self.random.random() < 0.5
        who.put(f"{room_path(room)}/typing/{who.user_id}", {"typing": typing, "timeout": 120_000})

    def _data(self, who: Client, room: str) -> None:
        who.put(f"/user/{who.user_id}/account_data/org.example.mine", {"n": self._number})

    def _room_data(self, who: Client, room: str) -> None:
        path = f"/user/{who.user_id}/rooms/{room}/account_data/org.example.of_room"
        who.put(path, {"n": self._number})

    def _direct(self, who: Client, room: str) -> None:
        rooms = self.random.sample(self.rooms, self.random.randrange(len(self.rooms) + 1))
        who.put(f"/user/{who.user_id}/account_data/m.direct", {"@somebody:localhost": rooms})

    def _profile(self, who: Client, room: str) -> None:
        who.put(f"/profile/{who.user_id}/displayname", {"displayname": f"N{self._number}"})

    def look(self) -> None:
        """Some sync, some lose an answer, one is checked."""
        for person in self.people:
            if self.random.random() < 0.2:
                person.subscribed = self.random.choice([None, *self.rooms])
            if self.random.random() < 0.4:
                person.narrow.sync()
            if self.random.random() < 0.1:
                person.narrow.lose_an_answer()
            if self.random.random() < 0.1:
                person.wide.lose_an_answer()
        self.random.choice(self.people).check()

    def restart(self) -> None:
        self.server.restart()
        for person in self.people:
            person.client.http.base_url = self.server.url
            for model in (person.wide, person.narrow):
                model.typing.clear()  # whoever typed before it is not remembered


@pytest.mark.parametrize("seed", SEEDS)
def test_following_is_knowing(server: HearthServer, seed: int) -> None:
    world = World(server, seed)
    for step in range(STEPS):
        world.step()
        world.look()
        if step % 100 == 60:
            world.restart()
    for person in world.people:
        person.check()
