"""The rooms of a sliding sync's answer, each as the difference to what its connection has, or afresh.

https://github.com/matrix-org/matrix-spec-proposals/pull/4186 (Room results)

What is told of a joined room: the timeline since then (or the last events, where it is told afresh or with
more of its past), and of the state what changed and is wanted, and what is wanted only now. All rooms of an
answer are worked on together, so that what is not in memory is read at once.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from homeserver.push.unread import Unread, UnreadCounts
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.sight import Reader
from homeserver.rooms.stripped_state import strip
from homeserver.sync.event_format import EventFormat
from homeserver.sync.lazy_members import LazyMembers
from homeserver.sync.left_room import read_left
from homeserver.sync.request import Window
from homeserver.sync.room_parts import (
    Reading,
    StateKey,
    Timeline,
    heroes,
    previous_batch,
    recent_timeline,
    state_of,
    stored_timelines,
    text,
)
from homeserver.sync.sliding.connections import Sent
from homeserver.sync.sliding.request import SlidingRequest
from homeserver.sync.sliding.required_state import MEMBER, Required
from homeserver.sync.sliding.room_list import Wanted
from homeserver.sync.sliding.timelines import Past, last_timelines, recent, shared, sync_request
from homeserver.sync.tokens import StreamToken
from storage.database import Database
from storage.events import StoredEvent

NAME: StateKey = ("m.room.name", "")
AVATAR: StateKey = ("m.room.avatar", "")
REDACTION = "m.room.redaction"
Part = dict[str, Any]


@dataclass(slots=True)
class Visit:
    """A room to tell of. `since`: the connection has everything up to there; None: it is told afresh.

    `expand`: the timeline is to reach further back than before. `sent`, `known`: as it was sent before.
    `only_state`: there is nothing to tell but what may be wanted of the state now, and was not before.
    `was_joined`: for a room the user is out of, whether they had been in it.
    """

    want: Wanted
    since: int | None
    sent: Sent | None
    known: Required | None
    expand: bool = False
    only_state: bool = False
    was_joined: bool = True

    @property
    def room_id(self) -> str:
        return self.want.entry.row.room_id


@dataclass(slots=True)
class _Work:
    """A joined room in the making. `news`: what happened since; `told`: what the timeline shows."""

    visit: Visit
    room: Room
    required: Required
    news: Timeline
    told: Timeline
    expanded: bool
    keys: list[StateKey] = field(default_factory=list)
    event_ids: dict[StateKey, str | None] = field(default_factory=dict)
    heroes: list[str] | None = None


@dataclass(slots=True)
class Parts:
    """By room ID. `limits`: how many of the last events the connection then has without a gap."""

    rooms: dict[str, Part] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    shown: dict[str, list[str]] = field(default_factory=dict)


class RoomParts:
    def __init__(
        self, db: Database, rooms: Rooms, event_format: EventFormat, unread: Unread, lazy: LazyMembers
    ) -> None:
        self._db = db
        self._rooms = rooms
        self._format = event_format
        self._unread = unread
        self._lazy = lazy

    def asks_again(self, request: SlidingRequest, connection: int, since: int) -> None:
        """What was answered from this position on got lost."""
        self._lazy.asks_again(request.user_id, _device(request, connection), since)

    async def of(
        self,
        request: SlidingRequest,
        window: Window,
        connection: int,
        visits: Sequence[Visit],
        ignored: frozenset[str],
    ) -> Parts:
        parts = Parts()
        joined = [visit for visit in visits if visit.want.entry.row.membership == "join"]
        for visit in visits:
            if visit.want.entry.row.membership in ("invite", "knock"):
                parts.rooms[visit.room_id] = _outside(request, visit)
            elif visit.want.entry.row.membership != "join":
                parts.rooms[visit.room_id] = await self._left(request, visit, ignored, parts)
        if joined:
            await self._joined(request, window, connection, joined, ignored, parts)
        return parts

    # joined rooms

    async def _joined(
        self,
        request: SlidingRequest,
        window: Window,
        connection: int,
        visits: Sequence[Visit],
        ignored: frozenset[str],
        parts: Parts,
    ) -> None:
        rooms = await self._rooms.get_all([visit.room_id for visit in visits])
        works = await self._works(request, window, visits, rooms, ignored)
        device = _device(request, connection)
        for work in works:
            self._choose(request, window, device, work)
        works = [work for work in works if work.keys or not work.visit.only_state]
        wanted = [id for work in works for id in work.event_ids.values() if id is not None]
        found = await self._rooms.events.many(wanted) if wanted else {}
        await self._format.prepare([*found.values(), *(each for work in works for each in work.told.events)])
        counts: dict[str, UnreadCounts] = {}
        if request.form.counts:
            counts = await self._unread.many(request.user_id, [work.room.room_id for work in works])
        for work in works:
            room_id = work.room.room_id
            parts.rooms[room_id] = await self._part(request, window, work, found, counts.get(room_id))
            parts.limits[room_id] = _limit(work)
            parts.shown[room_id] = [stored.event_id for stored in work.told.events]

    async def _works(
        self,
        request: SlidingRequest,
        window: Window,
        visits: Sequence[Visit],
        rooms: Mapping[str, Room],
        ignored: frozenset[str],
    ) -> list[_Work]:
        upto = window.upto.position
        news: dict[str, Timeline] = {}
        by_limit: dict[int, list[Reading]] = {}
        past: dict[str, Timeline] = {}
        pasts = []
        for visit in visits:
            room, limit = rooms[visit.room_id], visit.want.limit
            if visit.since is None or visit.expand:
                last = recent(room, visit.want.entry, limit, upto, ignored)
                if last is not None:
                    past[visit.room_id] = last
                else:
                    pasts.append(Past(room.nid, room.room_id, limit))
            if visit.since is not None:
                asked = sync_request(request.user_id, request.device_id, limit)
                since_then = recent_timeline(room, asked, visit.since, upto, ignored)
                if since_then is not None:
                    news[visit.room_id] = since_then
                else:
                    reader = Reader(request.user_id, True, ignored)
                    reading = Reading(room.nid, room.room_id, visit.since, upto, reader, sees_all=True)
                    by_limit.setdefault(limit, []).append(reading)
        for limit, readings in by_limit.items():
            asked = sync_request(request.user_id, request.device_id, limit)
            read = await self._db.read(stored_timelines, readings, asked, self._rooms.events.peek)
            news.update(shared(read, self._rooms.events))
        if pasts:
            found = await self._db.read(last_timelines, request.user_id, pasts, upto, ignored)
            past.update(shared(found, self._rooms.events))
        works = []
        for visit in visits:
            room_id, room = visit.room_id, rooms[visit.room_id]
            told = past.get(room_id) or news[room_id]
            expanded = False
            if visit.expand:
                expanded = any((stored.position or 0) <= (visit.since or 0) for stored in told.events)
                told = told if expanded else news[room_id]
            works.append(
                _Work(visit, room, visit.want.required, news.get(room_id) or told, told, expanded)
            )
        return works

    def _choose(self, request: SlidingRequest, window: Window, device: str, work: _Work) -> None:
        """Which state events the part speaks of."""
        visit, entries = work.visit, work.room.head.state.entries
        if visit.since is None:
            keys = set(work.required.of(entries))
            changed: Collection[StateKey] = (NAME, AVATAR)
        else:
            changed = _changed(work.news)
            keys = {key for key in changed if work.required.matches(key)}
            if visit.known is not None:
                keys.update(work.required.of(entries, visit.known))
        if work.required.lazy:
            keys.update(self._lazy_members(request, window, device, work, changed, keys))
        work.keys = sorted(keys)
        shown = {key for key in (NAME, AVATAR) if key in changed or visit.since is None}
        if any(stored.event.type == REDACTION for stored in work.news.events):
            shown.update((NAME, AVATAR))
        met = any(key[0] == MEMBER for key in changed)
        if met and NAME in entries:
            shown.add(NAME)  # only a room without a name is named after its members
        work.event_ids = {
            key: entry.event_id if (entry := entries.get(key)) is not None else None for key in keys | shown
        }
        if NAME in shown or visit.since is None or met:
            work.heroes = heroes(work.room, request.user_id)
            for user_id in work.heroes:
                if (entry := entries.get((MEMBER, user_id))) is not None:
                    work.event_ids[MEMBER, user_id] = entry.event_id

    def _lazy_members(
        self,
        request: SlidingRequest,
        window: Window,
        device: str,
        work: _Work,
        changed: Collection[StateKey],
        keys: Collection[StateKey],
    ) -> list[StateKey]:
        """Whom the timeline speaks of, unless they were told; and without a gap, all that changed."""
        entries = work.room.head.state.entries
        needed = {stored.event.sender for stored in work.told.events}
        needed.update(
            stored.event.state_key
            for stored in work.told.events
            if stored.event.type == MEMBER and stored.event.state_key is not None
        )
        updated: set[str] = set()
        if work.visit.since is not None and not work.news.limited:
            updated = {key[1] for key in changed if key[0] == MEMBER}
        updated.update(key[1] for key in keys if key[0] == MEMBER)
        members = [
            (user_id, entry.event_id)
            for user_id in needed | updated
            if (entry := entries.get((MEMBER, user_id))) is not None
        ]
        since = window.since.position if window.since is not None else -1
        if work.visit.since is None or work.told.limited:  # where there is a gap, the client forgets members
            self._lazy.forget_room(request.user_id, device, work.room.room_id)
        unsent = self._lazy.unsent(request.user_id, device, work.room.room_id, members, since)
        return [(MEMBER, user_id) for user_id in {user_id for user_id, _ in unsent} | updated]

    async def _part(
        self,
        request: SlidingRequest,
        window: Window,
        work: _Work,
        found: Mapping[str, StoredEvent],
        counts: UnreadCounts | None,
    ) -> Part:
        visit, told, head = work.visit, work.told, work.room.head
        asked = sync_request(request.user_id, request.device_id, visit.want.limit)
        initial = visit.since is None
        part = _common(visit)
        state = {key: found.get(id) if id is not None else None for key, id in work.event_ids.items()}
        events = [stored for key in work.keys if (stored := state[key]) is not None]
        required: list[Any] = await self._format.events(asked, events, None)
        if request.form.stubs:
            required += [
                {"type": type, "state_key": state_key}
                for type, state_key in work.keys
                if state[type, state_key] is None
            ]
        if required:
            part["required_state"] = required
        if told.events:
            part["timeline"] = await self._format.timeline(asked, told)
        part["limited"] = told.limited
        if told.events or told.limited or initial:
            part["prev_batch"] = str(previous_batch(told) or window.upto)
        before = window.since.position if window.since is not None else window.upto.position
        part["num_live"] = sum((stored.position or 0) > before for stored in told.events)
        if work.expanded:
            part[request.form.expanded] = True
        if NAME in state:
            name = text(state[NAME], "name")
            if name is not None or not initial:
                part["name"] = name
            if name is not None:
                work.heroes = None
        if AVATAR in state:
            avatar = text(state[AVATAR], "url")
            if avatar is not None or not initial:
                part["avatar"] = avatar
        if work.heroes is not None:
            part["heroes"] = [_hero(user_id, state.get((MEMBER, user_id))) for user_id in work.heroes]
        if initial or any(key[0] == MEMBER for key in _changed(work.news)):
            part["joined_count"] = head.joined
            part["invited_count"] = head.invited
        if counts is not None:
            part["notification_count"] = counts.notification_count
            part["highlight_count"] = counts.highlight_count
        return part

    # rooms the user is out of

    async def _left(
        self, request: SlidingRequest, visit: Visit, ignored: frozenset[str], parts: Parts
    ) -> Part:
        """What happened up to the leave, which itself is always shown."""
        row = visit.want.entry.row
        part = _common(visit)
        parts.limits[visit.room_id] = visit.want.limit
        if visit.since is not None and row.position <= visit.since:
            return part  # the leave was told; something else of it changed
        asked = sync_request(request.user_id, request.device_id, visit.want.limit)
        departure = await self._rooms.events.get(row.event_id)
        if not visit.was_joined:
            events = [departure] if departure is not None else []
            part["stripped_state"] = [strip(stored.event) for stored in events]
            if not request.form.stubs:  # older clients find out from the event itself
                del part["stripped_state"]
                part["timeline"] = await self._format.events(asked, events, None)
                part["required_state"] = part["timeline"]
            return part
        left = await self._db.read(read_left, asked, row, visit.since or 0, ignored)
        timeline = left.timeline
        state = {**timeline.hidden_state, **state_of(timeline.events)}
        if left.state_ids:
            found = await self._rooms.events.many(left.state_ids)
            state = {**state_of(found.values()), **state}
        required = visit.want.required
        wanted = [stored for key, stored in state.items() if required.matches(key)]
        part["required_state"] = await self._format.events(asked, wanted, None)
        part["timeline"] = await self._format.timeline(asked, timeline, row.position)
        part["limited"] = timeline.limited
        part["prev_batch"] = str(previous_batch(timeline) or StreamToken(row.position))
        for field_name, key, where in (("name", NAME, "name"), ("avatar", AVATAR, "url")):
            if key in state and (value := text(state[key], where)) is not None:
                part[field_name] = value
        parts.shown[visit.room_id] = [stored.event_id for stored in timeline.events]
        return part


def _device(request: SlidingRequest, connection: int) -> str:
    """A connection has a memory of its own of the members it was told."""
    return f"{request.device_id}\0{connection}"


def _common(visit: Visit) -> Part:
    entry = visit.want.entry
    joined = entry.row.membership == "join"
    part: Part = {
        "bump_stamp": (entry.facts.bump or entry.row.position) if joined else entry.row.position,
        "membership": entry.row.membership,
    }
    if visit.want.lists:
        part["lists"] = visit.want.lists
    if visit.since is None:
        part["initial"] = True
    if entry.is_dm or (visit.sent is not None and visit.sent.is_dm):
        part["is_dm"] = entry.is_dm
    return part


def _outside(request: SlidingRequest, visit: Visit) -> Part:
    """An invite or a knock."""
    stripped = orjson.Fragment(visit.want.entry.row.invite_state or b"[]")
    return {**_common(visit), request.form.stripped: stripped}


def _limit(work: _Work) -> int:
    """How many of the last events the connection has without a gap once it has this."""
    wanted, sent = work.visit.want.limit, work.visit.sent
    if sent is None or work.visit.since is None or work.told.limited:
        return wanted
    return max(wanted, sent.limit)


def _changed(news: Timeline) -> set[StateKey]:
    return {*news.hidden_state, *state_of(news.events)}


def _hero(user_id: str, stored: StoredEvent | None) -> dict[str, str]:
    hero = {"user_id": user_id}
    for name in ("displayname", "avatar_url"):
        if (value := text(stored, name)) is not None:
            hero[name] = value
    return hero
