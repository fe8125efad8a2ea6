"""A page of a room's messages: from memory if it is a recent one, else from the database, else from others.

https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmessages
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from homeserver.rooms.aggregations import NO_BUNDLES, Bundles, aggregate
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.paging import Scan, members_at, scan, token
from homeserver.rooms.recent_past import RecentPast
from homeserver.rooms.room import Room
from homeserver.rooms.serialize import View
from homeserver.rooms.sight import Facts, Reader, RememberedFacts, Sight, Standing, read_facts
from homeserver.sync.filter_rules import RoomEventFilter
from storage import graph, relations, timeline
from storage.database import Database
from storage.events import StoredEvent
from storage.state_at import MEMBER
from storage.timeline import Place, Window
from storage.transaction import Transaction

FetchPast = Callable[[Room, int], Awaitable[bool]]
"""Fetches what is missing of a room's history from some depth on; whether anything came."""
MOST_FETCHES = 3
_EMPTY = Place(0, 0)


@dataclass(frozen=True, slots=True)
class Asked:
    """Which part of a room, by whom, and from which end of the window on.

    `arrived_upto` bounds what the reader sees of all that relates to its events.
    """

    room: Room
    reader: Reader
    window: Window
    backwards: bool
    limit: int
    wanted: RoomEventFilter
    arrived_upto: int | None


@dataclass(slots=True)
class Page:
    """Events in the order asked for. `end` is None where there is no more."""

    events: list[StoredEvent]
    start: str
    end: str | None
    state: list[StoredEvent]
    view: View
    bundles: Bundles = field(default_factory=dict)


class _Read(NamedTuple):
    """`gap`: more of this page's stretch of history may be had from other servers.

    `childless`: those of the events that nothing relates to, whoever reads.
    """

    found: Scan
    standing: Standing
    state: list[StoredEvent]
    bundles: Bundles = NO_BUNDLES
    gap: bool = False
    childless: Collection[StoredEvent] = ()


class Pages:
    def __init__(self, db: Database, events: EventStore, fetch_past: FetchPast | None) -> None:
        self._db = db
        self._events = events
        self._fetch_past = fetch_past
        self._facts = RememberedFacts()
        self._recent = RecentPast(events)

    async def page(self, asked: Asked, start: str | None) -> Page:
        """`start`: the token that the page begins at, if one was given."""
        got = await self._read(asked)
        nobody_has_more = False
        for _ in range(MOST_FETCHES):
            if not got.gap or self._fetch_past is None:
                break
            nobody_has_more = not await self._fetch_past(asked.room, _ends_at(got.found))
            if nobody_has_more:
                break
            got, _ = await self._db.read(self._stored, asked, None)
        found = got.found
        inner, outer = timeline.before, timeline.place_of
        if asked.backwards:
            inner, outer = outer, inner
        begin = start or token(inner(found.first) if found.first is not None else _EMPTY)
        end = token(outer(found.last)) if found.last is not None else begin
        # Where nothing passed the filter it goes on while more comes; where there is nothing it does not.
        goes_on = found.more or (
            got.gap and (found.events or (found.last is not None and not nobody_has_more))
        )
        return Page(
            events=found.events,
            start=begin,
            end=end if goes_on else None,
            state=self._events.known(got.state),
            view=got.standing,
            bundles=got.bundles,
        )

    async def _read(self, asked: Asked) -> _Read:
        """From memory or the database, and remembered for the next reader."""
        room, reader = asked.room, asked.reader
        read_at = stamp, _ = room.stamp, room.position
        known = self._facts.get(room.nid, reader.user_id, stamp) if reader.joined else None
        if known is not None and known.gapless:
            remembered = await self._remembered(asked, known)
            if remembered is not None:
                return remembered
        got, facts = await self._db.read(self._stored, asked, known)
        if reader.joined:
            self._facts.put(room.nid, reader.user_id, stamp, facts)
        if (room.stamp, room.position) == read_at:
            for stored in got.childless:
                stored.childless = True
            everything = got.standing.sees_everything and not reader.ignored and asked.wanted.is_trivial
            if asked.backwards and everything:
                self._recent.learn(room, read_at, asked.window, got.found.events, got.found.more)
        return got

    async def _remembered(self, asked: Asked, facts: Facts) -> _Read | None:
        """A page of the room's newest events; None where memory does not tell.

        What relates to them is read all the same, where anything may.
        """
        room, reader, wanted = asked.room, asked.reader, asked.wanted
        standing = Standing(reader, facts)
        if not (asked.backwards and standing.sees_everything and wanted.is_trivial):
            return None
        page = self._recent.page(room, asked.window, asked.limit, reader.ignored)
        if page is None:
            return None
        events, more = page
        found = Scan(events, events[0], events[-1], more) if events else Scan()
        state = self._members_now(room, events) if wanted.lazy_load_members and events else []
        if state is None:
            return None
        if not any(_may_have_children(stored) for stored in events):
            return _Read(found, standing, state)

        def read(tx: Transaction) -> tuple[Bundles, Collection[StoredEvent]]:
            return _bundles(tx, Sight(tx, room.nid, reader, facts), asked, events)

        bundles, _ = await self._db.read(read)
        return _Read(found, standing, state, bundles)

    def _members_now(self, room: Room, events: Sequence[StoredEvent]) -> list[StoredEvent] | None:
        """The member events of those who sent the events, if the state is the same as it is now."""
        head = room.head.state
        if events[0].state_after is None or events[0].state_after != head.snapshot:
            return None
        found = []
        for sender in {stored.event.sender for stored in events}:
            entry = head.entries.get((MEMBER, sender))
            if entry is None:
                continue
            stored = self._events.cached(entry.event_id)
            if stored is None:
                return None
            found.append(stored)
        return found

    def _stored(self, tx: Transaction, asked: Asked, facts: Facts | None) -> tuple[_Read, Facts]:
        room, reader, wanted = asked.room.nid, asked.reader, asked.wanted
        if facts is None:
            gapless = not graph.missing(tx, room, 0, 1)
            facts = read_facts(tx, room, reader.user_id)._replace(gapless=gapless)
        sight = Sight(tx, room, reader, facts)
        found = scan(
            tx,
            sight,
            asked.window,
            asked.room.room_id,
            wanted,
            backwards=asked.backwards,
            limit=asked.limit,
            known=self._events.peek,
        )
        gap = asked.backwards and not facts.gapless and bool(graph.missing(tx, room, _ends_at(found), 1))
        state: list[StoredEvent] = []
        if wanted.lazy_load_members and found.events:
            newest = found.events[0] if asked.backwards else found.events[-1]
            senders = {stored.event.sender for stored in found.events}
            state = members_at(tx, room, newest.state_after, senders)
        bundles, childless = _bundles(tx, sight, asked, found.events)
        return _Read(found, sight, state, bundles, gap, childless), facts


def _ends_at(found: Scan) -> int:
    return found.last.event.depth if found.more and found.last is not None else 0


def _may_have_children(stored: StoredEvent) -> bool:
    return not stored.childless and not stored.event.is_state


def _bundles(
    tx: Transaction, sight: Sight, asked: Asked, events: Collection[StoredEvent]
) -> tuple[Bundles, Collection[StoredEvent]]:
    """What relates to the events, and those of them to which nothing does."""
    candidates = [stored for stored in events if _may_have_children(stored)]
    if not candidates:
        return NO_BUNDLES, ()
    room = asked.room.nid
    having = relations.which_have_children(tx, [room], [stored.event_id for stored in candidates])
    parents = [stored for stored in candidates if stored.event_id in having]
    childless = [stored for stored in candidates if stored.event_id not in having]
    return aggregate(tx, sight, room, parents, asked.arrived_upto) if parents else NO_BUNDLES, childless
