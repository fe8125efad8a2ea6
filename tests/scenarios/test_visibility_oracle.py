"""Changes of the setting × every kind of reader × every way to read, against what the specification says.

https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility

One room for each pair of settings, in which all readers live through their stories at once. They ask in
parallel, over bare connections: some four thousand requests on each engine.
"""

import asyncio
import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import orjson

from tests.harness import Client, HearthServer, Json
from tests.scenarios.visibility_oracle import MEMBER, SETTINGS, VISIBILITY, Happened, Oracle
from tests.wire import CLIENT, Wire, room_path, sync_path

# What becomes of a reader before each of five messages. In the middle the setting changes.
STORIES = {
    "never": ("", "", "", "", ""),
    "always": ("join", "", "", "", ""),
    "late": ("", "", "", "", "join"),
    "left": ("", "join", "", "leave", ""),
    "again": ("join", "leave", "", "join", ""),
    "invited": ("", "invite", "", "join", ""),
    "waiting": ("", "invite", "", "", ""),
    "declined": ("", "invite", "leave", "", ""),
    "declined the second": ("join", "leave", "invite", "", "leave"),
    "accepted late": ("join", "leave", "invite", "", "join"),
    "banned": ("", "join", "", "", "ban"),
}
CHANGES_IN = 2
TOPIC, MESSAGE = "m.room.topic", "m.room.message"
AROUND = {"room": {"include_leave": True, "timeline": {"limit": 100}}}


class Room:
    """What happened in it, and tokens: after how many events it is their turn."""

    def __init__(self, settings: tuple[str, str], room_id: str) -> None:
        self.settings = settings
        self.room_id = room_id
        self.path = room_path(room_id)
        self.events: list[Happened] = []
        self.tokens: dict[int, str] = {}


class House:
    def __init__(self, server: HearthServer) -> None:
        self.port = server.process.port
        self.owner = server.register("owner")
        self.readers = {name: server.register(name.replace(" ", "-")) for name in STORIES}

    def wire(self, client: Client) -> Wire:
        return Wire(self.port, client.access_token)

    async def room(self, first: str, second: str) -> Room:
        owner = self.wire(self.owner)
        readers = {name: self.wire(client) for name, client in self.readers.items()}
        state = [
            {"type": "m.room.join_rules", "content": {"join_rule": "public"}},
            {"type": VISIBILITY, "content": {"history_visibility": first}},
        ]
        room = Room((first, second), await owner.create_room(initial_state=state))
        only = {"room": {"rooms": [room.room_id], "timeline": {"limit": 1}}}
        root, tokens = "", []
        for phase in range(5):
            if phase == CHANGES_IN:
                await owner.set_state(room.room_id, VISIBILITY, {"history_visibility": second})
            for name, story in STORIES.items():
                await self._act(room.path, owner, readers[name], self.readers[name].user_id, story[phase])
            await owner.set_state(room.room_id, TOPIC, {"topic": f"topic {phase}"})
            content: Json = {"msgtype": "m.text", "body": f"needle {phase}"}
            if root:
                content["m.relates_to"] = {"rel_type": "m.thread", "event_id": root}
            path = f"{room.path}/send/{MESSAGE}/{owner.transaction()}"
            event_id = (await owner.call("PUT", path, content))["event_id"]
            root = root or event_id
            if phase % 2 == 0:
                timeline = (await owner.sync(sync_filter=only))["rooms"]["join"][room.room_id]["timeline"]
                tokens.append((event_id, timeline["prev_batch"]))
        chunk = (await owner.messages(room.room_id, direction="f"))["chunk"]
        room.events = [
            Happened(each["event_id"], each["type"], each["content"], each.get("state_key"))
            for each in chunk
        ]
        numbers = {event.event_id: number for number, event in enumerate(room.events)}
        room.tokens = {numbers[event_id]: token for event_id, token in tokens}
        for wire in (owner, *readers.values()):
            wire.close()
        return room

    async def _act(self, path: str, owner: Wire, reader: Wire, user_id: str, action: str) -> None:
        if action in ("join", "leave"):
            await reader.call("POST", f"{path}/{action}", {})
        elif action:
            await owner.call("POST", f"{path}/{action}", {"user_id": user_id})


class Reading:
    """One reader in one room; `wrong` is what the server shows otherwise than it should."""

    def __init__(self, wire: Wire, user_id: str, room: Room) -> None:
        self.wire, self.user_id, self.room, self.path = wire, user_id, room, room.path
        self.events = room.events
        self.oracle = Oracle(room.events, user_id)
        self.sees = {event.event_id: self.oracle.sees(number) for number, event in enumerate(self.events)}
        self.wrong: list[str] = []

    async def all(self) -> list[str]:
        await self.messages()
        await self.single_events()
        await self.related()
        await self.sync()
        await self.search()
        await self.state()
        return self.wrong

    async def get(self, path: str) -> tuple[int, Any]:
        answer = await self.wire.request("GET", path)
        return answer.status, orjson.loads(answer.body)

    def compare(self, what: str, shown: Iterable[Json], among: set[str] | None = None) -> None:
        ids = {each["event_id"] for each in shown}
        for number, event in enumerate(self.events):
            expected = self.sees[event.event_id]
            if among is not None and event.event_id not in among:
                continue
            if expected not in (None, event.event_id in ids):
                self.wrong.append(f"{what}: {number} {event.type} {event.content}: expected {expected}")

    def of_type(self, *types: str) -> set[str]:
        return {event.event_id for event in self.events if event.type in types}

    async def messages(self) -> None:
        for direction in ("b", "f"):
            status, body = await self.get(f"{self.path}/messages?dir={direction}&limit=100")
            if self.oracle.may_read:
                self.compare(f"messages {direction}", body.get("chunk", ()))
            elif status != 403:
                self.wrong.append(f"messages {direction}: {status}")

    async def single_events(self) -> None:
        asked = self.of_type(VISIBILITY, MESSAGE)
        asked |= {event.event_id for event in self.events if event.state_key == self.user_id}
        by_event, by_context = [], []
        for event_id in asked:
            status, body = await self.get(f"{self.path}/event/{quote(event_id, safe='')}")
            if status == 200:
                by_event.append(body)
        around = self.of_type(VISIBILITY, MESSAGE)
        for event_id in around:
            status, body = await self.get(f"{self.path}/context/{quote(event_id, safe='')}?limit=100")
            if status == 200:
                by_context.append(body["event"])
                shown = [body["event"], *body["events_before"], *body["events_after"]]
                self.compare(f"around {event_id}", shown)
        self.compare("event", by_event, asked)
        self.compare("context", by_context, around)

    async def related(self) -> None:
        root, *children = (event.event_id for event in self.events if event.type == MESSAGE)
        v1 = self.path.replace("/v3/", "/v1/")
        status, body = await self.get(f"{v1}/relations/{quote(root, safe='')}?limit=50")
        if status == 200:
            self.compare("relations", [{"event_id": root}, *body["chunk"]], {root, *children})
        elif self.sees[root]:
            self.wrong.append(f"relations: {status}")
        status, body = await self.get(f"{v1}/threads")
        is_thread = any(self.sees[child] for child in children)
        if self.oracle.may_read:
            if (self.sees[root] and is_thread) != any(each["event_id"] == root for each in body["chunk"]):
                self.wrong.append(f"threads: {body}")
        elif status != 403:
            self.wrong.append(f"threads: {status}")

    async def sync(self) -> None:
        wanted = AROUND["room"] | {"rooms": [self.room.room_id]}
        _, body = await self.get(sync_path(sync_filter={"room": wanted}))
        parts = body.get("rooms", {})
        part = next((parts[kind][self.room.room_id] for kind in ("join", "leave") if kind in parts), None)
        if self.oracle.is_joined or self.oracle.left_at is not None:
            assert part is not None
            self.compare("sync", part["timeline"]["events"], self.upto_leave())
        elif part is not None:
            self.compare("sync of one who never joined", part["timeline"]["events"], self.upto_leave())
            others = [each for each in part["timeline"]["events"] if each.get("state_key") != self.user_id]
            if others or part["state"]["events"]:
                self.wrong.append(f"sync of one who never joined: {part}")

    def upto_leave(self) -> set[str]:
        """Where history ends for those who left, even if it is open to strangers."""
        end = len(self.events) if self.oracle.left_at is None else self.oracle.left_at + 1
        shown = self.events[: end if self.oracle.ever_joined else 0]
        return {event.event_id for event in shown}

    async def search(self) -> None:
        criteria = {"search_term": "needle", "filter": {"rooms": [self.room.room_id], "limit": 50}}
        body = json.dumps({"search_categories": {"room_events": criteria}}).encode()
        answer = await self.wire.request("POST", f"{CLIENT}/search", body)
        found = orjson.loads(answer.body)["search_categories"]["room_events"]["results"]
        among = self.of_type(MESSAGE)
        shown = [each["result"] for each in found]
        # One searches the rooms that one is or was in.
        self.compare("search", shown, among & self.upto_leave())
        if late := {each["event_id"] for each in shown} - self.upto_leave():
            self.wrong.append(f"search after the leave: {late}")

    async def state(self) -> None:
        oracle, last = self.oracle, len(self.events) - 1
        parts = ["state", f"state/{TOPIC}/", "members", f"members?at={quote(self.room.tokens[last])}"]
        if not oracle.may_read:
            for part in (*parts, "joined_members"):
                status, _ = await self.get(f"{self.path}/{part}")
                if status != 403:
                    self.wrong.append(f"{part}: {status}")
            return
        expected = oracle.state_upto(last)
        _, whole = await self.get(f"{self.path}/state")
        self._is_state("state", whole, expected)
        _, topic = await self.get(f"{self.path}/state/{TOPIC}/")
        contents = {event.event_id: event.content for event in self.events}
        if topic != contents[expected[TOPIC, ""]]:
            self.wrong.append(f"topic: {topic}")
        _, members = await self.get(f"{self.path}/members")
        self._is_state("members", members["chunk"], only_members(expected))
        for number, token in self.room.tokens.items():
            _, members = await self.get(f"{self.path}/members?at={quote(token)}")
            then = only_members(oracle.state_upto(number, open_now=oracle.is_open))
            self._is_state(f"members at {number}", members.get("chunk", ()), then)

    def _is_state(self, what: str, shown: Iterable[Json], expected: dict[tuple[str, str], str]) -> None:
        state = {(each["type"], each["state_key"]): each["event_id"] for each in shown}
        if state != expected:
            self.wrong.append(f"{what}: differs in {dict(state.items() ^ expected.items())}")


def only_members(state: dict[tuple[str, str], str]) -> dict[tuple[str, str], str]:
    return {key: event_id for key, event_id in state.items() if key[0] == MEMBER}


def test_everybody_sees_what_the_specification_says(server: HearthServer) -> None:
    house = House(server)
    wrong: list[str] = []

    async def read(name: str, rooms: list[Room]) -> None:
        reader = house.readers[name]
        wire = house.wire(reader)
        for room in rooms:
            found = await Reading(wire, reader.user_id, room).all()
            wrong.extend(f"{' to '.join(room.settings)}, {name}: {each}" for each in found)
        wire.close()

    async def everything() -> None:
        pairs = [(first, second) for first in SETTINGS for second in SETTINGS]
        rooms = await asyncio.gather(*(house.room(*pair) for pair in pairs))
        await asyncio.gather(*(read(name, list(rooms)) for name in STORIES))

    asyncio.run(everything())
    assert not wrong, "\n".join(wrong)


