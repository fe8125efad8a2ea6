"""Sixteen rooms, one for each pair of visibilities, in which the same readers come and go.

The rooms go through their stages side by side, so that one sync of a reader is about all of them. A
reader's history is what happens to them at which of the four stages; the visibility changes between the
second and the third. What happened is taken from the list of the rooms' owner, who was always joined.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import TypeVar

from tests.harness import Client, HearthServer, Json, ok, room_path
from tests.scenarios.visibility_oracle import SETTINGS, Reading

STAGES, MIDDLE = 4, 2
READERS = {
    "stranger": "",
    "guest": "",
    "joined": "1 join",
    "joined under the new setting": "3 join",
    "invited": "1 invite",
    "invited, joined under the new setting": "1 invite, 3 join",
    "declined": "1 invite, 3 leave",
    "invite taken back": "1 invite, 4 kick",
    "knocking": "1 knock",
    "knocked, let in": "1 knock, 2 invite, 3 join",
    "left": "1 join, 2 leave",
    "left under the new setting": "1 join, 4 leave",
    "kicked": "1 join, 3 kick",
    "banned": "1 join, 3 ban",
    "banned from the start": "1 ban",
    "pardoned": "1 join, 2 ban, 3 unban",
    "rejoined": "1 join, 2 leave, 4 join",
    "rejoined on an invite": "1 join, 2 leave, 3 invite, 4 join",
    "asked back": "1 join, 2 leave, 3 invite",
    "asked back, declined": "1 join, 2 leave, 3 invite, 4 leave",
    "left, knocking": "1 join, 2 leave, 3 knock",
    "forgot": "1 join, 3 leave, 3 forget",
    "forgot a declined invite": "1 invite, 2 leave, 2 forget",
    "forgot, rejoined": "1 join, 2 leave, 2 forget, 4 join",
    "forgot, asked back": "1 join, 2 leave, 2 forget, 3 invite",
}
# Holding every answer of all of them against its schema would take longer than everything else here.
SHAPES_CHECKED = {"guest", "left"}
AROUND = json.dumps({"room": {"include_leave": True, "timeline": {"limit": 200}}})
T = TypeVar("T")
R = TypeVar("R")


@dataclass
class Room:
    """A room and what was sent to it; `named` has the events that are asked for one by one."""

    before: str
    after: str
    room_id: str
    named: dict[str, str] = field(default_factory=dict)
    forgot: dict[str, str] = field(default_factory=dict)  # by reader, the event before forgetting
    stages: list[int] = field(default_factory=list)  # how many events there were when each ended
    events: list[Json] = field(default_factory=list)
    # From the middle: a token, and one to listen from for each reader who may peek.
    token: str = ""
    peeked: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.before} -> {self.after}"


class Story:
    """Everything played to its end, and the syncs that the readers made on the way."""

    def __init__(self, server: HearthServer) -> None:
        self._readings: dict[tuple[str, str, int], Reading] = {}
        self.owner = server.register("owner")
        self.readers = {name: self._account(server, name) for name in READERS}
        for name, reader in self.readers.items():
            if name not in SHAPES_CHECKED:
                reader.http.event_hooks = {}
        self.syncs: dict[str, list[Json]] = {name: [] for name in READERS}  # one after each stage, from 0
        pairs = [(before, after) for before in SETTINGS for after in SETTINGS]
        self.rooms = together(self._create, pairs)
        self._end_stage()
        for stage in range(1, STAGES + 1):
            together(partial(self._play, stage), self.rooms)
            self._end_stage()

    def reading(self, room: Room, name: str, stage: int = STAGES) -> Reading:
        """What the oracle knows of a reader when a stage has ended."""
        key = (room.room_id, name, stage)
        if key not in self._readings:
            events = room.events[: room.stages[stage]]
            user_id = self.readers[name].user_id
            forgot = room.forgot.get(name, "")
            self._readings[key] = Reading(events, user_id, forgot, name.startswith("guest"))
        return self._readings[key]

    def cases(self) -> Iterator[tuple[Room, str]]:
        yield from product(self.rooms, READERS)

    def everything(self, room: Room) -> list[Json]:
        """All events, oldest first."""
        events: list[Json] = []
        query: Json = {"dir": "f", "limit": 500}
        while True:
            page = ok(self.owner.get(f"{room_path(room.room_id)}/messages", **query))
            events += page["chunk"]
            if "end" not in page:
                return events
            query["from"] = page["end"]

    @staticmethod
    def _account(server: HearthServer, name: str) -> Client:
        if not name.startswith("guest"):
            return server.register("reader")
        guest = server.client()
        guest.adopt(ok(guest.post("/register", {}, kind="guest")))
        return guest

    def _create(self, pair: tuple[str, str]) -> Room:
        before, after = pair
        state = [
            {"type": "m.room.history_visibility", "content": {"history_visibility": before}},
            {"type": "m.room.guest_access", "content": {"guest_access": "can_join"}},
        ]
        room_id = self.owner.create_room(preset="public_chat", initial_state=state, name="first")
        room = Room(before, after, room_id)
        self._say(room, "root")
        return room

    def _say(self, room: Room, name: str, rel_type: str = "", parent: str = "") -> None:
        content: Json = {"msgtype": "m.text", "body": f"haystack {name}"}
        if parent:
            content["m.relates_to"] = {"rel_type": rel_type, "event_id": room.named[parent]}
        if rel_type == "m.replace":
            content["m.new_content"] = {"msgtype": "m.text", "body": "edited"}
        room.named[name] = self.owner.send(room.room_id, content)

    def _play(self, stage: int, room: Room) -> None:
        self._move(room, stage)
        self._talk(room, stage)

    def _talk(self, room: Room, stage: int) -> None:
        """What the owner says at the end of a stage; relations reach over the stages and the change."""
        if stage == 1:
            self._say(room, "first reply", "m.thread", "root")
            self._say(room, "parent")
        elif stage == 2:
            self._say(room, "old edit", "m.replace", "parent")
            self.owner.send_state(room.room_id, "m.room.topic", {"topic": "second"})
            if room.before != room.after:
                content = {"history_visibility": room.after}
                room.named["change"] = self.owner.send_state(
                    room.room_id, "m.room.history_visibility", content
                )
            self._say(room, "new edit", "m.replace", "parent")
            self._say(room, "second reply", "m.thread", "root")
            self._say(room, "new root")
        elif stage == 3:
            self._say(room, "reply to new root", "m.thread", "new root")
            self.owner.send_state(room.room_id, "m.room.topic", {"topic": "third"})
        else:
            self._say(room, "reference", "m.reference", "root")
            self.owner.send_state(room.room_id, "m.room.name", {"name": "last"})
            self._say(room, "last")

    def _move(self, room: Room, stage: int) -> None:
        """Lets happen to each reader what their history has for this stage."""
        moves = []
        for name, history in READERS.items():
            for step in filter(None, history.split(", ")):
                number, verb = step.split()
                if int(number) == stage:
                    moves.append((name, verb))
        knocks = [name for name, verb in moves if verb == "knock"]
        if knocks:
            self.owner.send_state(room.room_id, "m.room.join_rules", {"join_rule": "knock"})
            for name in knocks:
                ok(self.readers[name].post(f"/knock/{room.room_id}"))
            self.owner.send_state(room.room_id, "m.room.join_rules", {"join_rule": "public"})
        for name, verb in moves:
            self._do(room, name, verb)

    def _do(self, room: Room, name: str, verb: str) -> None:
        reader, path = self.readers[name], f"{room_path(room.room_id)}/{verb}"
        if verb in ("join", "leave"):
            ok(reader.post(path))
        elif verb in ("invite", "kick", "ban", "unban"):
            ok(self.owner.post(path, {"user_id": reader.user_id}))
        elif verb == "forget":
            query = {"format": "event"}
            member = f"{room_path(room.room_id)}/state/m.room.member/{reader.user_id}"
            room.forgot[name] = ok(self.owner.get(member, **query))["event_id"]
            ok(reader.post(path))

    def _end_stage(self) -> None:
        for room in self.rooms:
            room.events = self.everything(room)
            room.stages.append(len(room.events))
            if len(room.stages) == 1 + MIDDLE:
                room.token = self._token(room)
                for name in ("stranger", "guest"):
                    answer = self.readers[name].get(f"{room_path(room.room_id)}/initialSync")
                    if answer.status_code == 200:
                        room.peeked[name] = answer.json()["messages"]["end"]
        for name, reader in self.readers.items():
            self.syncs[name].append(reader.sync(filter=AROUND))

    def _token(self, room: Room) -> str:
        only = json.dumps({"room": {"rooms": [room.room_id], "timeline": {"limit": 1}}})
        part = ok(self.owner.get("/sync", filter=only))["rooms"]["join"][room.room_id]
        token: str = part["timeline"]["prev_batch"]
        return token


def together(function: Callable[[T], R], values: Iterable[T]) -> list[R]:
    """While one waits for the server, others work on what it answered."""
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(function, values))
