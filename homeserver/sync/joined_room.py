"""One joined room of a sync: timeline, state, summary, unread counts, receipts and typing.

https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync_response-200_joined-room
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from homeserver.push.unread import NOTHING_UNREAD, UnreadCounts
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.sight import Reader
from homeserver.sync.event_format import EventFormat
from homeserver.sync.lazy_members import LazyMembers
from homeserver.sync.request import SyncRequest, Window
from homeserver.sync.room_parts import (
    NAMING,
    Reading,
    Timeline,
    at_once,
    has_url,
    heroes,
    last_in_memory,
    naming_events,
    previous_batch,
    recent_timeline,
    state_of,
    stored_timelines,
    summary,
    whole_state,
)
from homeserver.sync.typing import Typing
from storage.database import Database
from storage.events import StoredEvent
from storage.receipts import PRIVATE, Receipt

MEMBER = "m.room.member"
_SUMMED_UP = (MEMBER, *NAMING)
ROOMS_AT_ONCE = 50


@dataclass(slots=True)
class Visit:
    """A room to look at, with what was read for it.

    `is_new`: it is told afresh, with its whole state; else what came after `since`.
    """

    room_id: str
    is_new: bool
    since: int
    receipts: Sequence[Receipt]
    account_data: list[dict[str, Any]]
    unread: UnreadCounts = NOTHING_UNREAD


class JoinedRooms:
    def __init__(
        self, db: Database, rooms: Rooms, event_format: EventFormat, typing: Typing, lazy: LazyMembers
    ) -> None:
        self._db = db
        self._rooms = rooms
        self._format = event_format
        self._typing = typing
        self._lazy = lazy

    def starts_afresh(self, request: SyncRequest) -> None:
        """The client knows nothing any more."""
        self._lazy.forget(request.user_id, request.device_id)

    async def parts(
        self, request: SyncRequest, window: Window, visits: Sequence[Visit], ignored: frozenset[str]
    ) -> dict[str, dict[str, Any]]:
        """The parts of the rooms that have something to tell, by room ID.

        What is not in memory is read for all rooms together.
        """
        rooms = await self._rooms.get_all([visit.room_id for visit in visits])
        timelines = await self._timelines(request, window, visits, rooms, ignored)
        states = {}
        whole = [visit.room_id for visit in visits if visit.is_new or request.full_state]
        await self._rooms.events.many([each for room_id in whole for each in naming_events(rooms[room_id])])
        for room_id in whole:
            states[room_id] = await self._whole_state(request, rooms[room_id], timelines[room_id])
        wanted = [event_id for event_ids in states.values() for event_id in event_ids]
        found = await self._rooms.events.many(wanted) if wanted else {}
        parts = {}
        for visit in visits:
            room, timeline = rooms[visit.room_id], timelines[visit.room_id]
            if visit.room_id in states:
                state = [found[event_id] for event_id in states[visit.room_id] if event_id in found]
                if request.lazy_members:
                    self._note_sent(request, visit.room_id, [*state, *timeline.events])
            else:
                state = await self._changed_state(request, room, timeline)
            part = await self._part(request, window, visit, room, timeline, state, ignored)
            if part is not None:
                parts[visit.room_id] = part
        return parts

    async def _part(
        self,
        request: SyncRequest,
        window: Window,
        visit: Visit,
        room: Room,
        timeline: Timeline,
        state: list[StoredEvent],
        ignored: frozenset[str],
    ) -> dict[str, Any] | None:
        """None where there is nothing to tell after all."""
        whole = visit.is_new or request.full_state
        state_filter = request.filter.room.state
        if not state_filter.is_trivial:
            state = [
                stored
                for stored in state
                if state_filter.matches(stored.event.type, stored.event.sender, has_url(stored), room.room_id)
            ]
        ephemeral = self._ephemeral(request, window, visit, ignored)
        if not (timeline.events or timeline.limited or state or ephemeral or visit.account_data or whole):
            return None
        state_events = await self._format.events(request, state, None)
        previous = previous_batch(timeline) or window.upto
        part: dict[str, Any] = {
            "timeline": {
                "events": await self._format.timeline(request, timeline),
                "limited": timeline.limited,
                "prev_batch": str(previous),
            },
            "account_data": {"events": visit.account_data},
            "ephemeral": {"events": ephemeral},
            **_unread(request, visit.unread),
        }
        if request.use_state_after:
            part["state_after"] = part["org.matrix.msc4222.state_after"] = {"events": state_events}
        else:
            part["state"] = {"events": state_events}
        if whole or _concerns_summary(state, timeline):
            part["summary"] = await summary(room, request.user_id, self._rooms.events)
        return part

    async def _timelines(
        self,
        request: SyncRequest,
        window: Window,
        visits: Sequence[Visit],
        rooms: Mapping[str, Room],
        ignored: frozenset[str],
    ) -> dict[str, Timeline]:
        upto = window.upto.position
        timelines = {}
        readings = []
        for visit in visits:
            room = rooms[visit.room_id]
            if not visit.is_new:
                recent = recent_timeline(room, request, visit.since, upto, ignored)
                if recent is not None:
                    timelines[visit.room_id] = recent
                    continue
            reader = Reader(request.user_id, True, ignored)
            sees_all = not visit.is_new
            last = last_in_memory(room, upto, at_once(request)) if visit.since == 0 else None
            readings.append(Reading(room.nid, room.room_id, visit.since, upto, reader, sees_all, last))
        for start in range(0, len(readings), ROOMS_AT_ONCE):
            some = readings[start : start + ROOMS_AT_ONCE]
            timelines.update(await self._db.read(stored_timelines, some, request, self._rooms.events.peek))
        if window.since is not None:
            for visit in visits:
                if visit.is_new:  # may overlap what the client had when it was here before
                    timelines[visit.room_id].limited = True
        return timelines

    async def _whole_state(self, request: SyncRequest, room: Room, timeline: Timeline) -> list[str]:
        """The IDs of the whole state, before the timeline or after it as the client asked."""
        if request.use_state_after:
            entries = dict(room.head.state.entries)
        else:
            entries = await whole_state(self._db, room, timeline)
        if request.lazy_members:
            told = await summary(room, request.user_id, self._rooms.events)
            wanted = {request.user_id, *told.get("m.heroes", ()), *_senders(timeline)}
            entries = {key: entry for key, entry in entries.items() if key[0] != MEMBER or key[1] in wanted}
        return [entry.event_id for entry in entries.values()]

    async def _changed_state(self, request: SyncRequest, room: Room, timeline: Timeline) -> list[StoredEvent]:
        """What changed since, and is not told by the timeline, unless the client wants that told again."""
        changed = dict(timeline.hidden_state)
        if request.use_state_after and timeline.forked is not None:
            changed = dict(timeline.forked)
        elif request.use_state_after:
            changed.update(state_of(timeline.events))
        state = list(changed.values())
        if request.lazy_members:
            state = await self._with_lazy_members(request, room, timeline, state)
        return state

    async def _with_lazy_members(
        self, request: SyncRequest, room: Room, timeline: Timeline, state: Sequence[StoredEvent]
    ) -> list[StoredEvent]:
        """With the senders that the device may not know.

        Every change of a member is told, also those of a gap: a client may have asked for all members once
        (to encrypt for them, say), and would never hear who came and went.
        """
        needed = _senders(timeline)
        if any(stored.event.type == MEMBER for stored in timeline.events) and room.head.joined <= 10:
            needed.update(heroes(room, request.user_id))
        told = {stored.event.state_key for stored in state if stored.event.type == MEMBER}
        told.update(stored.event.state_key for stored in timeline.events if stored.event.type == MEMBER)
        entries = room.head.state.entries
        missing = [
            (user_id, entry.event_id)
            for user_id in needed
            if user_id not in told and (entry := entries.get((MEMBER, user_id))) is not None
        ]
        if not request.filter.room.state.include_redundant_members:
            since = _asked_from(request)
            missing = self._lazy.unsent(request.user_id, request.device_id, room.room_id, missing, since)
        self._note_sent(request, room.room_id, [*state, *timeline.events])
        found = await self._rooms.events.many([event_id for _, event_id in missing])
        return [*state, *found.values()]

    def _note_sent(self, request: SyncRequest, room_id: str, events: Iterable[StoredEvent]) -> None:
        members = [
            (stored.event.state_key or "", stored.event_id)
            for stored in events
            if stored.event.type == MEMBER and stored.event.is_state
        ]
        self._lazy.unsent(request.user_id, request.device_id, room_id, members, _asked_from(request))

    def _ephemeral(
        self, request: SyncRequest, window: Window, visit: Visit, ignored: frozenset[str]
    ) -> list[dict[str, Any]]:
        wanted = request.filter.room.ephemeral
        if wanted.is_empty:
            return []
        room_id = visit.room_id
        events: list[dict[str, Any]] = []
        if visit.receipts and wanted.matches("m.receipt", room_id=room_id):
            content = receipt_content(visit.receipts, request.user_id, ignored)
            if content:
                events.append({"type": "m.receipt", "content": content})
        position = self._typing.position(room_id)
        after = 0 if visit.is_new else window.after_ephemeral
        if position > after and wanted.matches("m.typing", room_id=room_id):
            users = [user_id for user_id in self._typing.users(room_id) if user_id not in ignored]
            if users or not visit.is_new:
                events.append({"type": "m.typing", "content": {"user_ids": users}})
        return events


def _asked_from(request: SyncRequest) -> int:
    return request.since.position if request.since is not None else -1


def _senders(timeline: Timeline) -> set[str]:
    return {stored.event.sender for stored in timeline.events}


def _concerns_summary(state: Iterable[StoredEvent], timeline: Timeline) -> bool:
    return any(stored.event.type in _SUMMED_UP for stored in chain(state, timeline.events))


def receipt_content(
    receipts: Sequence[Receipt], reader: str, ignored: frozenset[str]
) -> dict[str, dict[str, dict[str, Any]]]:
    """event → type → user → {ts, thread_id}; of private receipts only the reader's own."""
    content: dict[str, dict[str, dict[str, Any]]] = {}
    for receipt in receipts:
        if receipt.user_id in ignored or (receipt.receipt_type == PRIVATE and receipt.user_id != reader):
            continue
        body: dict[str, Any] = {"ts": receipt.ts}
        if receipt.thread_id is not None:
            body["thread_id"] = receipt.thread_id
        by_type = content.setdefault(receipt.event_id, {})
        by_type.setdefault(receipt.receipt_type, {})[receipt.user_id] = body
    return content


def _unread(request: SyncRequest, unread: UnreadCounts) -> dict[str, Any]:
    if not request.filter.room.timeline.unread_thread_notifications:
        return {"unread_notifications": _counts(unread.notification_count, unread.highlight_count)}
    threads = {root: _counts(*counts) for root, counts in unread.threads.items()}
    main = _counts(unread.main_notification_count, unread.main_highlight_count)
    return {"unread_notifications": main, "unread_thread_notifications": threads}


def _counts(notification: int, highlight: int) -> dict[str, int]:
    return {"notification_count": notification, "highlight_count": highlight}
