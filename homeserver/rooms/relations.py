"""What relates to an event, in pages; a room's threads; the event nearest to a moment.

https://spec.matrix.org/v1.19/client-server-api/#relationships-api
https://spec.matrix.org/v1.19/client-server-api/#querying-threads-in-a-room
https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event

All three go through the same door as the rest of a room's history, and are judged by the same `Sight`.
"""

from collections.abc import Awaitable
from dataclasses import dataclass, replace
from typing import Protocol

from homeserver.errors import NotFound
from homeserver.protocol.redaction import redact_event
from homeserver.protocol.relations import has_rel_type
from homeserver.rooms.aggregations import Bundles, aggregate
from homeserver.rooms.history import Access, History
from homeserver.rooms.paging import between, token
from homeserver.rooms.room import Room
from homeserver.rooms.serialize import View
from homeserver.rooms.sight import Sight
from homeserver.sync.tokens import RoomToken
from storage import events as event_rows
from storage import graph, timeline
from storage import relations as store
from storage.database import Database
from storage.events import StoredEvent
from storage.relations import Child, Children, Thread
from storage.timeline import Place, Window
from storage.transaction import Transaction

MOST = 100
_BATCH = 20
_MOST_SCANNED = 2000


@dataclass(slots=True)
class RelationPage:
    """`start` and `end` are tokens; None where the page is the first, or the last."""

    events: list[StoredEvent]
    start: str | None
    end: str | None
    view: View
    bundles: Bundles


class FetchNearest(Protocol):
    def __call__(
        self, room: Room, ts: int, nearer_than: int | None, *, backwards: bool
    ) -> Awaitable[bool]: ...


class Relations:
    def __init__(self, db: Database, history: History, fetch_nearest: FetchNearest | None = None) -> None:
        self._db = db
        self._history = history
        self._fetch_nearest = fetch_nearest

    async def children(
        self,
        room_id: str,
        user_id: str,
        event_id: str,
        rel_type: str | None,
        type: str | None,
        *,
        backwards: bool,
        start: str | None,
        stop: str | None,
        limit: int,
        recurse: bool = False,
    ) -> RelationPage:
        """NotFound where the parent may not be seen; InvalidParam for tokens that are none."""
        access, _, _ = await self._history.seen_event(room_id, user_id, event_id)
        window = between(Window(access.room.nid, arrived_upto=access.arrived_upto), start, stop, backwards)
        reader = await self._history.reader(access, user_id)
        children = Children(access.room.nid, event_id, rel_type, type, recurse)
        most = min(limit, MOST)

        def read(tx: Transaction) -> tuple[list[Child], list[StoredEvent], Sight, Bundles]:
            sight = Sight(tx, children.room, reader)
            stands = store.stands_of(tx, children, sight.last_join) if not sight.sees_everything else ()
            seen = sight.seen(stands, access.arrived_upto)
            found = store.page(tx, children, window, seen, backwards=backwards, limit=most + 1)
            loaded = _by_number(tx, [each.child for each in found[:most]])
            return found, loaded, sight, aggregate(tx, sight, children.room, loaded, access.arrived_upto)

        found, events, sight, bundles = await self._db.read(read)
        end = None
        if len(found) > most:
            last = found[most - 1]
            end = token(Place(last.depth, last.position - 1) if backwards else last.place)
        return RelationPage(self._history.events.known(events), start, end, sight, bundles)

    async def threads(
        self, room_id: str, user_id: str, *, participated: bool, start: str | None, limit: int
    ) -> RelationPage:
        """The roots of the room's threads, that with the last message first.

        Forbidden for those who may not read the room; InvalidParam for a token that is none.
        """
        access = await self._history.access(room_id, user_id)
        upto = None
        if start is not None:
            parsed = RoomToken.parse(start)
            upto = Place(parsed.depth, parsed.position)
        reader = await self._history.reader(access, user_id)
        most = min(limit, MOST)

        def read(tx: Transaction) -> tuple[_Roots, Sight, Bundles]:
            sight = Sight(tx, access.room.nid, reader)
            roots = _roots(tx, sight, access, upto, most, user_id if participated else None)
            return roots, sight, aggregate(tx, sight, access.room.nid, roots.events, access.arrived_upto)

        roots, sight, bundles = await self._db.read(read)
        events = [
            _as_redacted(stored) if stored.event.sender in reader.ignored else stored
            for stored in self._history.events.known(roots.events)
        ]
        return RelationPage(events, start, roots.end, sight, bundles)

    async def event_at(self, room_id: str, user_id: str, ts: int, *, backwards: bool) -> StoredEvent:
        """The visible event nearest to the moment, not after it if `backwards`, else not before it.

        Where history is missing around the moment, other servers are asked for a nearer one. NotFound if
        there is none; Forbidden for those who may not read the room.
        """
        access = await self._history.access(room_id, user_id)
        reader = await self._history.reader(access, user_id)
        room = access.room

        def read(tx: Transaction) -> StoredEvent | None:
            sight = Sight(tx, access.room.nid, reader)
            scanned = 0
            while scanned < _MOST_SCANNED:
                rows = timeline.near(
                    tx,
                    access.room.nid,
                    ts,
                    access.arrived_upto,
                    backwards=backwards,
                    skip=scanned,
                    limit=_BATCH if scanned else 1,
                )
                if visible := sight.visible(rows):
                    return visible[0]
                if not rows:
                    return None
                scanned += len(rows)
            return None

        def read_with_gap(tx: Transaction) -> tuple[StoredEvent | None, bool]:
            found = read(tx)
            return found, _is_gap_at(tx, room.nid, ts, found, backwards=backwards)

        stored, gap = await self._db.read(read_with_gap)
        if gap and access.joined and self._fetch_nearest is not None:
            known = stored.event.origin_server_ts if stored is not None else None
            if await self._fetch_nearest(room, ts, known, backwards=backwards):
                stored = await self._db.read(read)
        if stored is None:
            direction = "backward" if backwards else "forward"
            raise NotFound(f"Unable to find event from {ts} in {direction} direction")
        return stored


def _is_gap_at(tx: Transaction, room: int, ts: int, found: StoredEvent | None, *, backwards: bool) -> bool:
    """Whether something is missing between the event found on one side of the moment and its other side."""
    if found is not None and found.event.origin_server_ts == ts:
        return False
    across = timeline.near(tx, room, ts, None, backwards=not backwards, skip=0, limit=1)
    here = found.event.depth if found is not None else None
    there = across[0].event.depth if across else None
    older, newer = (here, there) if backwards else (there, here)
    return graph.is_missing_between(tx, room, older, newer)


@dataclass(slots=True)
class _Roots:
    events: list[StoredEvent]
    end: str | None = None


def _roots(
    tx: Transaction, sight: Sight, access: Access, upto: Place | None, most: int, participant: str | None
) -> _Roots:
    """Reads on until there are enough roots that exist, are roots, and may be seen."""
    room = access.room.nid
    stands = store.thread_stands(tx, room, sight.last_join) if not sight.sees_everything else ()
    seen = sight.seen(stands, access.arrived_upto)
    found: list[StoredEvent] = []
    scanned = 0
    while scanned < _MOST_SCANNED:
        threads = store.threads(tx, room, seen, upto, most + 1, participant)
        known = event_rows.by_id(tx, [thread.root for thread in threads])
        candidates = [stored for stored in known.values() if _is_root(stored, room, access.arrived_upto)]
        visible = {stored.event_id for stored in sight.visible(candidates, with_ignored=True)}
        for thread in threads:
            if thread.root not in visible:
                continue
            if len(found) == most:
                return _Roots(found, token(upto) if upto is not None else None)
            found.append(known[thread.root])
            upto = _before(thread)
        if len(threads) <= most:
            return _Roots(found)
        upto = _before(threads[-1])
        scanned += len(threads)
    return _Roots(found, token(upto) if upto is not None else None)


def _is_root(stored: StoredEvent, room: int, arrived_upto: int | None) -> bool:
    return (
        stored.room == room
        and stored.position is not None
        and stored.status == event_rows.ACCEPTED
        and (arrived_upto is None or stored.position <= arrived_upto)
        and not has_rel_type(stored.event.content)
    )


def _before(thread: Thread) -> Place:
    return Place(thread.depth, thread.position - 1)


def _as_redacted(stored: StoredEvent) -> StoredEvent:
    """What is left of an ignored user's message where it cannot be left out altogether."""
    return replace(stored, event=redact_event(stored.event), client_prefix=None)


def _by_number(tx: Transaction, numbers: list[int]) -> list[StoredEvent]:
    """In the order of the numbers."""
    found = {
        each.nid: each for each in event_rows.select(tx, f"WHERE {tx.any('e.nid')}", [tx.array(numbers)])
    }
    return [found[number] for number in numbers if number in found]
