"""Those who use a server that is killed under them, and remember what it promised.

A speaker retries what was not acknowledged with the same transaction ID, as clients do, so each of its texts
must end up in the room exactly once. A listener moves its sync token only once it has dealt with the whole
answer, as clients do, so each event must come to it exactly once.
"""

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from tests.wire import CLIENT, Disconnected, Wire, room_path

MOOD = "org.example.mood"
KNOCK = "org.example.knock"
OBSERVED = ("m.room.message", MOOD)


@dataclass
class Promise:
    """What is being asked for; kept until it is acknowledged."""

    path: str
    content: dict[str, Any]
    room_id: str = ""
    text: str = ""


@dataclass
class Speaker:
    """Says numbered texts in each room in turn, one request in flight; now and then sets a state event,
    or knocks at the listeners with a to-device message."""

    name: str
    wire: Wire
    rooms: list[str]
    listeners: list["Listener"]
    said: dict[str, str] = field(default_factory=dict)
    """Acknowledged texts, in order, and their event IDs."""
    moods: dict[str, str] = field(default_factory=dict)
    """Acknowledged state events and their rooms."""
    knocks: list[str] = field(default_factory=list)
    """Acknowledged to-device messages."""
    pending: Promise | None = None
    stopping: bool = False

    def __post_init__(self) -> None:
        self.numbers = itertools.count()

    async def speak(self) -> None:
        """Until told to stop, or the server is gone."""
        try:
            while self.pending is not None or not self.stopping:
                self.pending = self.pending or self._next()
                await self._ask(self.pending)
                self.pending = None
        except Disconnected:
            if self.pending is not None and "/state/" in self.pending.path:
                self.pending = None  # has no transaction ID: a second attempt could rightly be a second event

    def _next(self) -> Promise:
        number = next(self.numbers)
        room_id = self.rooms[number % len(self.rooms)]
        text = f"{self.name} {number}"
        if number % 10 == 7:
            path = f"{room_path(room_id)}/state/{MOOD}/{quote(self.wire.user_id, safe='')}"
            return Promise(path, {"mood": text}, room_id)
        if number % 10 == 3:
            to = {listener.wire.user_id: {"*": {"text": text}} for listener in self.listeners}
            return Promise(f"{CLIENT}/sendToDevice/{KNOCK}/{self.name}-{number}", {"messages": to}, text=text)
        path = f"{room_path(room_id)}/send/m.room.message/{self.name}-{number}"
        return Promise(path, {"msgtype": "m.text", "body": text}, room_id, text)

    async def _ask(self, promise: Promise) -> None:
        answer = await self.wire.call("PUT", promise.path, promise.content)
        if "/state/" in promise.path:
            self.moods[answer["event_id"]] = promise.room_id
        elif promise.room_id:
            self.said[promise.text] = answer["event_id"]
        else:
            self.knocks.append(promise.text)


@dataclass
class Listener:
    """Syncs for ever from where it stopped; a timeline cut short by the server it completes by paging."""

    wire: Wire
    timeline_limit: int
    since: str = ""
    heard: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """For each room the observed events in the order in which they came."""
    known: set[str] = field(default_factory=set)
    knocks: list[str] = field(default_factory=list)
    gaps: int = 0

    async def listen(self) -> None:
        try:
            while True:
                await self.hear(timeout=2000)
        except Disconnected:
            pass

    async def hear(self, timeout: int = 0) -> int:
        """One sync; how much news there was."""
        limits = {"room": {"timeline": {"limit": self.timeline_limit}}}
        answer = await self.wire.sync(self.since, timeout, limits)
        timelines = {
            room_id: await self._whole_timeline(room_id, room["timeline"])
            for room_id, room in answer.get("rooms", {}).get("join", {}).items()
            if room.get("timeline", {}).get("events")
        }
        # From here on nothing can fail: the answer counts.
        knocks = [event["content"]["text"] for event in answer.get("to_device", {}).get("events", [])]
        self.knocks += knocks
        for room_id, events in timelines.items():
            ids = [event["event_id"] for event in events]
            twice = self.known.intersection(ids)
            assert not twice, f"came twice: {twice} (since={self.since})"
            self.known.update(ids)
            self.heard.setdefault(room_id, []).extend(e for e in events if e["type"] in OBSERVED)
        self.since = answer["next_batch"]
        return len(knocks) + sum(len(events) for events in timelines.values())

    async def _whole_timeline(self, room_id: str, timeline: dict[str, Any]) -> list[dict[str, Any]]:
        """The events, preceded by those of the gap if there is one."""
        events: list[dict[str, Any]] = timeline["events"]
        start = timeline["prev_batch"] if timeline.get("limited") else None
        missing: list[dict[str, Any]] = []
        while start:
            self.gaps += 1
            page = await self.wire.messages(room_id, start)
            for event in page["chunk"]:
                if event["event_id"] in self.known:
                    return missing[::-1] + events
                missing.append(event)
            start = page.get("end")
        return missing[::-1] + events


async def read_whole(wire: Wire, room_id: str, direction: str) -> list[dict[str, Any]]:
    """All the room's events by paging, oldest first."""
    events: list[dict[str, Any]] = []
    start: str | None = ""
    while start is not None:
        page = await wire.messages(room_id, start, direction)
        events += page["chunk"]
        start = page.get("end")
    return events if direction == "f" else events[::-1]


def check_room(
    room_id: str, backward: list[Any], forward: list[Any], speakers: list[Speaker], listeners: list[Listener]
) -> None:
    """Paging, every listener and every acknowledgement tell the same story."""
    ids = [event["event_id"] for event in backward]
    assert len(set(ids)) == len(ids), "an event came twice by paging"
    assert backward[0]["type"] == "m.room.create"
    assert ids == [event["event_id"] for event in forward], "paging forwards and backwards differ"

    texts = {event["event_id"]: event["content"]["body"] for event in backward if "body" in event["content"]}
    for speaker in speakers:
        theirs = [(text, event_id) for event_id, text in texts.items() if text.split()[0] == speaker.name]
        promised = [(text, event_id) for text, event_id in speaker.said.items() if event_id in texts]
        assert theirs == promised, f"{speaker.name} was promised something else, or in another order"
        moods = {event_id for event_id, room in speaker.moods.items() if room == room_id}
        assert moods <= set(ids), f"{speaker.name}'s state events are lost: {moods - set(ids)}"

    observed = [event["event_id"] for event in backward if event["type"] in OBSERVED]
    for listener in listeners:
        heard = [event["event_id"] for event in listener.heard[room_id]]
        assert heard == observed, (
            f"{listener.wire.user_id} missed {set(observed) - set(heard)}, "
            f"heard besides {set(heard) - set(observed)}, or in another order"
        )


async def together(*coroutines: Any) -> None:
    """Run all; the first exception is raised when all have ended."""
    for outcome in await asyncio.gather(*coroutines, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
