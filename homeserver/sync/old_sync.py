"""What /sync replaced: everything at once, then a stream of events; and looking into a room one is not in.

https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3events
https://spec.matrix.org/v1.19/client-server-api/#room-previews

It is /sync in another dress: the same parts say what is new in the same windows. This API knows no gaps,
though: where more has happened than fits in an answer, the window ends sooner and the next answer goes on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from homeserver.clock import Clock
from homeserver.errors import Forbidden, InvalidParam, NotFound
from homeserver.rooms.history import Access, History
from homeserver.rooms.rooms import Rooms
from homeserver.sync.event_format import EventFormat
from homeserver.sync.filter_rules import EventFilter, Filter, RoomEventFilter, RoomFilter
from homeserver.sync.notifier import Notifier
from homeserver.sync.request import SyncRequest, Window
from homeserver.sync.room_parts import Reading, stored_timeline
from homeserver.sync.service import Sync
from homeserver.sync.tokens import StreamToken
from storage import account_data, directory
from storage import sync as reads
from storage.database import Database
from storage.events import StoredEvent
from storage.memberships import Membership

DEFAULT_LIMIT = 10
MOST_EVENTS = 100
MEMBERSHIPS = ("invite", "join", "leave", "ban")


@dataclass(frozen=True, slots=True)
class Stretch:
    """The events after `start`, up to `end`."""

    start: StreamToken
    end: StreamToken
    chunk: list[Any]


class OldSync:
    def __init__(
        self,
        db: Database,
        clock: Clock,
        notifier: Notifier,
        sync: Sync,
        rooms: Rooms,
        history: History,
        event_format: EventFormat,
    ) -> None:
        self._db = db
        self._clock = clock
        self._notifier = notifier
        self._sync = sync
        self._rooms = rooms
        self._history = history
        self._format = event_format

    async def initial(
        self, user_id: str, device_id: str, limit: int | None, archived: bool
    ) -> dict[str, Any]:
        timeline = RoomEventFilter(limit=_limit(limit))
        shape = Filter(room=RoomFilter(include_leave=archived, timeline=timeline))
        request = SyncRequest(user_id, device_id, None, shape, use_state_after=True, room_ids=True)
        answer, reached = await self._sync.snapshot(request)
        rows = await self._rooms.memberships.of(user_id)
        parts = {**answer.join, **answer.leave}
        public = await self._db.read(directory.published_among, list(parts))
        rooms = []
        for room_id, part in parts.items():
            is_left = room_id in answer.leave and room_id in rows
            end = StreamToken(rows[room_id].position) if is_left else reached
            rooms.append(
                {
                    "room_id": room_id,
                    "membership": rows[room_id].membership if is_left else "join",
                    "messages": {
                        "start": part["timeline"]["prev_batch"],
                        "chunk": part["timeline"]["events"],
                        "end": str(end),
                    },
                    "state": part["state_after"]["events"],
                    "account_data": part["account_data"]["events"],
                    "visibility": "public" if room_id in public else "private",
                }
            )
        invites = await self._invites(request, rows, answer.invite)
        rooms += [
            {"room_id": room_id, "membership": "invite", "invite": event}
            for room_id, event in invites.items()
        ]
        return {
            "end": str(reached),
            "rooms": rooms,
            "presence": answer.presence,
            "account_data": answer.account_data,
        }

    async def room(self, user_id: str, device_id: str, room_id: str, limit: int | None) -> dict[str, Any]:
        """A room as it is, or as it was when the user left. Raises Forbidden, InvalidParam."""
        count = _limit(limit)
        now = self._notifier.now()
        access = await self._history.access(room_id, user_id)
        end = now if access.departed is None else StreamToken(access.departed.position)
        page = await self._history.messages(
            room_id, user_id, backwards=True, start=str(end), stop=None, limit=count
        )
        entries = await self._history.state(room_id, user_id)
        state = await self._rooms.events.many([entry.event_id for entry in entries.values()])
        row = (await self._rooms.memberships.of(user_id)).get(room_id)
        public = await self._db.read(directory.published_among, [room_id])
        shape = SyncRequest(user_id, device_id, None, Filter(), room_ids=True)
        messages = {
            "chunk": await self._format.events(shape, page.events[::-1], page.view, page.bundles),
            "end": str(end),
        }
        if page.end is not None:
            messages["start"] = page.end
        info: dict[str, Any] = {
            "room_id": room_id,
            "messages": messages,
            "state": await self._format.events(shape, list(state.values()), None),
            "visibility": "public" if public else "private",
            "account_data": [
                {"type": type, "content": orjson.Fragment(content)}
                for type, content in await self._db.read(account_data.room_account_data, user_id, room_id)
            ],
        }
        if row is not None and not row.forgotten and row.membership in MEMBERSHIPS:
            info["membership"] = row.membership
        return info

    async def event(self, user_id: str, device_id: str, event_id: str) -> Any:
        """One event of whatever room. NotFound also where it may not be seen."""
        known = await self._rooms.events.get(event_id)
        if known is None:
            raise NotFound("Event not found.")
        stored, view, bundles = await self._history.event(known.event.room_id, user_id, event_id)
        shape = SyncRequest(user_id, device_id, None, Filter(), room_ids=True)
        [event] = await self._format.events(shape, [stored], view, bundles)
        return event

    async def events(
        self,
        user_id: str,
        device_id: str,
        since: StreamToken | None,
        timeout_ms: int,
        room_id: str | None = None,
    ) -> Stretch:
        """What happens from `since` (None: from now) on; waits up to `timeout_ms` for something to happen.

        With a `room_id` only there, also for those who may just look in. Raises Forbidden.
        """
        now = self._notifier.now()
        start = since if since is not None and since.position <= now.position else now
        peeking = await self._peeking(user_id, room_id) if room_id is not None else None
        rooms = frozenset([room_id]) if room_id is not None else None
        timeline = RoomEventFilter(limit=MOST_EVENTS)
        nothing = RoomEventFilter(limit=0, is_trivial=False, is_empty=True)
        shape = Filter(
            presence=EventFilter(is_trivial=False, is_empty=True),
            room=RoomFilter(rooms=rooms, timeline=timeline, ephemeral=nothing),
        )
        request = SyncRequest(user_id, device_id, start, shape, room_ids=True, only_new=True)
        if peeking is not None:
            feed = self._notifier.peek(user_id, peeking.room.room_id)
        else:
            feed = await self._notifier.feed(user_id)
        deadline = self._clock.now_ms() + timeout_ms
        seen = start
        try:
            while True:
                window = await self._window(request, seen)
                if peeking is not None:
                    chunk = await self._peeked(request, window, peeking)
                else:
                    chunk = await self._chunk(request, window)
                left_ms = deadline - self._clock.now_ms()
                seen = window.upto
                if chunk or (left_ms <= 0 and not feed.has_news_since(seen)):
                    return Stretch(start, seen, chunk)
                if not feed.has_news_since(seen):
                    await self._notifier.wait(feed, left_ms / 1000)
        finally:
            if peeking is not None:
                self._notifier.end_peek(feed)

    async def _peeking(self, user_id: str, room_id: str) -> Access | None:
        """None for members, who need no peeking."""
        access = await self._history.access(room_id, user_id)
        if access.joined:
            return None
        if access.arrived_upto is not None:
            raise Forbidden("You left this room.")
        return access

    async def _window(self, request: SyncRequest, seen: StreamToken) -> Window:
        """As much as fits in one answer."""
        now = self._notifier.now()
        wanted = request.filter.room
        rows = await self._rooms.memberships.of(request.user_id)
        rooms = wanted.rooms if wanted.rooms is not None else list(rows)
        full_at = await self._db.read(reads.position_of_event, rooms, seen.position, MOST_EVENTS)
        if full_at is not None and full_at < now.position:
            now = StreamToken(full_at, seen.ephemeral)
        return Window(seen, now, self._notifier.started_at)

    async def _chunk(self, request: SyncRequest, window: Window) -> list[Any]:
        answer = await self._sync.rooms(request, window)
        chunk = []
        for part in (*answer.join.values(), *answer.leave.values()):
            chunk += [*part["state"]["events"], *part["timeline"]["events"]]
        rows = await self._rooms.memberships.of(request.user_id)
        return [*chunk, *(await self._invites(request, rows, answer.invite)).values()]

    async def _peeked(self, request: SyncRequest, window: Window, access: Access) -> list[Any]:
        room = access.room
        reader = await self._history.reader(access, request.user_id)
        reading = Reading(room.nid, room.room_id, window.after, window.upto.position, reader, sees_all=False)
        timeline = await self._db.read(stored_timeline, reading, request)
        return await self._format.timeline(request, timeline)

    async def _invites(
        self, request: SyncRequest, rows: Mapping[str, Membership], room_ids: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The events that invited, by room; of invites that are no more, none."""
        invites: dict[str, StoredEvent] = {}
        for room_id in room_ids:
            row = rows.get(room_id)
            stored = None
            if row is not None and row.membership == "invite":
                stored = await self._rooms.events.get(row.event_id)
            if stored is not None:
                invites[room_id] = stored
        events = await self._format.events(request, list(invites.values()), None)
        return dict(zip(invites, events, strict=True))


def _limit(limit: int | None) -> int:
    if limit is None:
        return DEFAULT_LIMIT
    if limit < 0:
        raise InvalidParam("The limit is negative.")
    return min(limit, MOST_EVENTS)
