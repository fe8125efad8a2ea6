"""Holds what a server answered against the oracle: lists of events, what stands beside each, syncs.

Everything here yields what is wrong, in words; nothing is asked of a server but by `Asked.get`.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import httpx

from tests.harness import Json, room_path
from tests.scenarios.visibility_oracle import EITHER, FOR_GUESTS, NO, REFUSALS, YES, Reading, Verdict
from tests.scenarios.visibility_stories import Room, Story

Wrong = Iterator[str]


class Asked:
    """One reader and one room: asks an endpoint, and tells what is wrong with the answer."""

    def __init__(self, story: Story, room: Room, name: str) -> None:
        self.room = room
        self.name = name
        self.reading = story.reading(room, name)
        self.client = story.readers[name]
        self.path = room_path(room.room_id)
        self.content = {event["event_id"]: event["content"] for event in room.events}

    def get(self, path: str, version: str = "", **query: Any) -> httpx.Response:
        return self.client.get(f"{version}{self.path}/{path}", **query)

    def wrong(self, response: httpx.Response, verdict: Verdict, endpoint: str) -> Wrong:
        """What is wrong with the status."""
        refusals = REFUSALS[endpoint]
        if self.reading.guest and endpoint not in FOR_GUESTS:
            refusals = {403}
        if verdict is EITHER:
            refusals = {403, 404}
        allowed = {NO: refusals, EITHER: refusals | {200}, YES: {200}}[verdict]
        if response.status_code not in allowed:
            yield f"{response.status_code}, the oracle says {verdict.name}: {response.text[:120]}"

    def wrong_list(
        self,
        given: Iterable[Json],
        verdict: Callable[[str], Verdict],
        expected: Iterable[str],
        *,
        bundled: bool = True,
    ) -> Wrong:
        """What is wrong with events that are all to be seen, and among which `expected` must be."""
        given = list(given)
        ids = [event["event_id"] for event in given]
        if len(set(ids)) < len(ids):
            yield "an event comes twice"
        for event in given:
            if verdict(event["event_id"]) is NO:
                yield f"shows {self.told(event['event_id'])}"
            yield from self.wrong_event(event, bundled)
        for event_id in expected:
            if verdict(event_id) is YES and event_id not in ids:
                yield f"hides {self.told(event_id)}"

    def wrong_event(self, event: Json, bundled: bool = True) -> Wrong:
        """What is wrong with what stands in and beside one event."""
        event_id = event["event_id"]
        if event_id not in self.reading.index:
            yield f"an event nobody sent: {event}"
            return
        if event["content"] != self.content[event_id]:
            yield f"other content in {self.told(event_id)}: {event['content']}"
        unsigned = event.get("unsigned", {})
        membership = self.reading.membership_after(event_id)
        if unsigned.get("membership", membership) != membership:
            yield f"membership {unsigned['membership']} instead of {membership} at {self.told(event_id)}"
        if "prev_content" in unsigned:
            previous = unsigned["replaces_state"]
            if self.reading.may_see_replaced(event_id, previous) is NO:
                yield f"prev_content of {self.told(previous)} in {self.told(event_id)}"
        yield from self.wrong_relations(event, bundled)

    def wrong_relations(self, event: Json, bundled: bool) -> Wrong:
        """ "Child events might not be visible … any aggregations … will be lacking them"."""
        relations = event.get("unsigned", {}).get("m.relations", {})
        certain, possible = {}, {}
        for rel_type in ("m.thread", "m.replace", "m.reference"):
            children = self.reading.children(event["event_id"], rel_type)
            possible[rel_type] = {child for child in children if self.reading.may_see(child) is not NO}
            certain[rel_type] = {child for child in children if self.reading.lists(child) is YES}
            if bundled and certain[rel_type] and rel_type not in relations:
                yield f"no {rel_type} beside {self.told(event['event_id'])}"
        shown = {
            "m.replace": [relations["m.replace"]["event_id"]] if "m.replace" in relations else [],
            "m.reference": [child["event_id"] for child in relations.get("m.reference", {}).get("chunk", ())],
        }
        if thread := relations.get("m.thread"):
            shown["m.thread"] = [thread["latest_event"]["event_id"]]
            if not len(certain["m.thread"]) <= thread["count"] <= len(possible["m.thread"]):
                yield f"a count of {thread['count']} in the thread {self.told(event['event_id'])}"
            yield from self.wrong_event(thread["latest_event"], bundled)
        for rel_type, children in shown.items():
            for child in children:
                if child not in possible[rel_type]:
                    yield f"shows {self.told(child)} beside {self.told(event['event_id'])}"

    def told(self, event_id: str) -> str:
        """An event, for people."""
        i = self.reading.index[event_id]
        event = self.room.events[i]
        names = [name for name, named in self.room.named.items() if named == event_id]
        what = " ".join([*names, event.get("state_key", ""), event["content"].get("membership", "")])
        return f"#{i} {event['type']} {what}"

    def pages(self, **query: Any) -> tuple[httpx.Response, list[Json]]:
        """All that /messages gives, page after page."""
        response = page = self.get("messages", limit=200, **query)
        events: list[Json] = []
        while page.status_code == 200:
            events += page.json()["chunk"]
            if "end" not in page.json():
                break
            page = self.get("messages", limit=200, **{**query, "from": page.json()["end"]})
        return response, events


def newest(reading: Reading, given: list[Json], since: int = 0) -> list[str]:
    """What must be in a list of the newest events: all from its first on, and at least the last."""
    certain = [e for e, i in reading.index.items() if i >= since and reading.syncs(e) is YES]
    first = min((reading.index[event["event_id"]] for event in given), default=len(reading.events))
    return [event_id for event_id in certain if reading.index[event_id] >= first] or certain[-1:]


def wrong_sync(asked: Asked, answer: Json, since: int) -> Wrong:
    """What is wrong with a room's part of a sync that follows the first `since` events."""
    reading, room_id = asked.reading, asked.room.room_id
    section, verdict = reading.section(since)
    parts = {name: rooms[room_id] for name, rooms in answer.get("rooms", {}).items() if room_id in rooms}
    for name in set(parts) - {section}:
        yield f"is in {name}"
    if not section:
        return
    if section not in parts:
        if verdict is YES:
            yield f"is not in {section}"
        return
    if verdict is NO:
        yield f"is in {section}"
    part = parts[section]
    if section in ("invite", "knock"):
        for event in part[f"{section}_state"]["events"]:
            if not event.keys() <= {"type", "state_key", "sender", "content", "origin_server_ts"}:
                yield f"not stripped: {event}"
        return
    timeline = part.get("timeline", {"events": []})
    events = timeline["events"]
    if any(reading.index[event["event_id"]] < since for event in events) and reading.arrival < since:
        yield "repeats what came before"
    newly_joined = section == "join" and reading.arrival >= since
    start = reading.arrival if newly_joined and since else since
    expected = newest(reading, events, start)
    if not timeline.get("limited"):
        expected = [event_id for event_id, i in reading.index.items() if i >= start]
    yield from asked.wrong_list(events, reading.syncs, expected, bundled=False)
    state = {event["event_id"] for event in part.get("state", {"events": []})["events"]}
    shown = [event["event_id"] for event in events]
    yield from wrong_sync_state(asked, state, shown, newly_joined or not since)


def wrong_sync_state(asked: Asked, state: set[str], timeline: list[str], whole: bool) -> Wrong:
    """ "All state up to the start of the timeline": with the timeline, it is the state of the room."""
    reading = asked.reading
    if not reading.was_member:
        for event_id in state:  # somebody who never joined was never told the state
            if reading.may_see(event_id) is NO:
                yield f"state shows {asked.told(event_id)}"
        return
    end = len(reading.events) - 1 if reading.departure is None else reading.departure
    for event_id in state:
        if reading.index[event_id] > end:
            yield f"state shows {asked.told(event_id)}"
    first = min((reading.index[event_id] for event_id in timeline), default=end + 1)
    shown = [event for event in reading.events[first : end + 1] if "state_key" in event]
    if not whole or any(event["event_id"] not in timeline for event in shown):
        return  # state events in the middle that the reader may not see: of these nothing is said
    if state != set(reading.state_at(first - 1).values()):
        yield "state is not that at the start of the timeline"
