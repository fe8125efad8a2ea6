"""A room's part of a sync: which events, which state, and what goes with them.

https://spec.matrix.org/v1.19/client-server-api/#syncing

Two questions decide everything. Was the reader joined at `since`? Then the part is a difference; else it
starts afresh with the whole state. And does the timeline go back to `since` without a gap? Then there is
no other state to tell; else `state` is what changed between `since` and the start of the timeline.
State that the timeline's filter hides is told in `state`, so that a client never misses any. And because a
client applies the timeline after it, a timeline begins after the last event that would undo what resolving a
fork has made of the state; whoever pages back from it finds that event.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from typing import Any

from homeserver.rooms.event_store import EventStore
from homeserver.rooms.paging import related
from homeserver.rooms.room import Room
from homeserver.rooms.sight import Facts, Reader, Sight, facts_of_rooms
from homeserver.sync.filters import RoomEventFilter
from homeserver.sync.request import SyncRequest
from homeserver.sync.tokens import StreamToken
from storage import graph, snapshots
from storage import sync as reads
from storage.database import Database
from storage.events import Known, StoredEvent
from storage.snapshots import StateEntry
from storage.transaction import Transaction

StateKey = tuple[str, str]
CREATE = "m.room.create"
NAMING = ("m.room.name", "m.room.canonical_alias")
MOST_SCANNED = 2_000


@dataclass(slots=True)
class Timeline:
    """`events` are shown; `hidden_state` lies before them, after `since`, or among them and is not shown.

    `tail` are all the room's events from the first shown one on, up to the position `upto`. `forked`: where
    forks were resolved after `since`, all state that is another now.
    """

    events: list[StoredEvent]
    limited: bool
    hidden_state: dict[StateKey, StoredEvent]
    memberships: dict[int, str]
    tail: Sequence[StoredEvent]
    upto: int
    forked: Mapping[StateKey, StoredEvent] | None = None
    replaced_unseen: frozenset[int] = frozenset()

    def membership_of(self, stored: StoredEvent) -> str:
        """The reader's membership at an event; "join" unless history said otherwise."""
        return self.memberships.get(stored.nid, "join")

    def sees_replaced(self, stored: StoredEvent) -> bool:
        """Whether they may see the state event that it replaced; yes unless history said otherwise."""
        return stored.nid not in self.replaced_unseen


def text(stored: StoredEvent | None, name: str) -> str | None:
    """A text in the content of an event; None where it is missing or empty."""
    value = stored.event.content.get(name) if stored is not None else None
    return value if isinstance(value, str) and value else None


def has_url(stored: StoredEvent) -> bool:
    return isinstance(stored.event.content.get("url"), str)


def shown(
    events: Iterable[StoredEvent], room_filter: RoomEventFilter, ignored: frozenset[str], room_id: str
) -> list[StoredEvent]:
    """Those the reader's filter and ignore list let through."""
    if room_filter.is_trivial and not ignored:
        return list(events)
    return [
        stored
        for stored in events
        if (stored.event.is_state or stored.event.sender not in ignored)
        and room_filter.matches(stored.event.type, stored.event.sender, has_url(stored), room_id)
    ]


def recent_timeline(
    room: Room, request: SyncRequest, since: int, upto: int, ignored: frozenset[str]
) -> Timeline | None:
    """The news of a room the reader was joined to all along, from memory; None if it is not there."""
    if request.filter.room.timeline.asks_for_relations:
        return None
    events = room.since(since, upto)
    if events is None or since < room.gap or any(stored.room_state is not None for stored in events):
        return None
    return _cut(events, request, ignored, room.room_id, upto)


def _cut(
    events: Sequence[StoredEvent], request: SyncRequest, ignored: frozenset[str], room_id: str, upto: int
) -> Timeline:
    """All the events since a moment, cut to the request's limit."""
    visible = shown(events, request.filter.room.timeline, ignored, room_id)
    limit = request.timeline_limit
    limited = len(visible) > limit
    kept = visible[len(visible) - limit :] if limited else visible
    return Timeline(list(kept), limited, _untold(events, kept), {}, _from_first(events, kept), upto)


def _untold(changed: Iterable[StoredEvent], kept: Sequence[StoredEvent]) -> dict[StateKey, StoredEvent]:
    """What the state became before the timeline, and within it where that says nothing of it."""
    start = (kept[0].position or 0) if kept else None
    told = {stored.nid for stored in kept}
    keys = {stored.event.key for stored in kept}
    untold: dict[StateKey, StoredEvent] = {}
    for stored in changed:
        key = stored.event.key
        if key is None or stored.nid in told:
            continue
        if start is None or (stored.position or 0) < start or key not in keys:
            untold[key] = stored
    return untold


def _from_first(events: Sequence[StoredEvent], kept: Sequence[StoredEvent]) -> Sequence[StoredEvent]:
    """The events from the first of those kept on."""
    if not kept:
        return []
    return [stored for stored in events if (stored.position or 0) >= (kept[0].position or 0)]


@dataclass(frozen=True, slots=True)
class Reading:
    """What to read of one room: after `since` (0: from the beginning), as this reader.

    `last`: its last events, where they are in memory.
    """

    room: int
    room_id: str
    since: int
    upto: int
    reader: Reader
    sees_all: bool
    last: reads.Stretch | None = None


def stored_timelines(
    tx: Transaction, readings: Sequence[Reading], request: SyncRequest, known: Known
) -> dict[str, Timeline]:
    """The timelines of several rooms, by room ID. Those told from their beginning are read together."""
    whole = [reading.room for reading in readings if reading.since == 0 and not reading.sees_all]
    facts, first = {}, {}
    if whole:
        facts = facts_of_rooms(tx, whole, request.user_id)
        elsewhere = [reading.room for reading in readings if reading.room in facts and reading.last is None]
        first = reads.last_stretches(tx, elsewhere, readings[0].upto, at_once(request), known)
    gapped = graph.which_have_gaps(tx, [reading.room for reading in readings])
    return {
        reading.room_id: stored_timeline(
            tx,
            reading,
            request,
            facts.get(reading.room),
            reading.last or first.get(reading.room),
            gapless=reading.room not in gapped,
        )
        for reading in readings
    }


def last_in_memory(room: Room, upto: int, limit: int) -> reads.Stretch | None:
    """The last events of a room up to a position; None where memory does not go back so far."""
    events = [stored for stored in room.timeline if (stored.position or 0) <= upto]
    if len(events) <= limit and not (events and events[0].event.type == CREATE):
        return None
    return reads.Stretch(events[-limit:], len(events) <= limit)


def at_once(request: SyncRequest) -> int:
    return max(request.timeline_limit + 1, 20)


def stored_timeline(
    tx: Transaction,
    reading: Reading,
    request: SyncRequest,
    facts: Facts | None = None,
    first: reads.Stretch | None = None,
    *,
    gapless: bool = False,
) -> Timeline:
    """The same from the database, with history visibility applied. `first`: the last events, read before.

    It begins after the last gap, if there is any, so that whoever pages back from it closes the gap, or reads
    what has closed it. `gapless`: there is none.
    """
    limit = request.timeline_limit
    timeline_filter = request.filter.room.timeline
    sight = None if reading.sees_all else Sight(tx, reading.room, reading.reader, facts)
    events: list[StoredEvent] = []
    scanned: list[StoredEvent] = []
    upto, complete = reading.upto, False
    while len(events) <= limit and not complete and len(scanned) < MOST_SCANNED:
        part, complete = first or reads.stretch(tx, reading.room, reading.since, upto, at_once(request))
        first = None
        if not part:
            break
        upto = (part[0].position or 0) - 1
        visible = sight.visible(part) if sight is not None else part
        matching = shown(visible, timeline_filter, reading.reader.ignored, reading.room_id)
        events[:0] = related(tx, timeline_filter, matching, reading.reader.ignored)
        scanned[:0] = part
    limited = len(events) > limit or not complete
    kept = events[len(events) - limit :] if len(events) > limit else events
    gap = None if gapless else graph.after_gap(tx, reading.room, scanned)
    if gap is not None:
        limited = True
        kept = [stored for stored in kept if (stored.position or 0) >= (scanned[gap].position or 0)]
    if any(stored.room_state is not None for stored in scanned):
        undone = _last_undone(tx, reading, kept)
        limited = limited or undone is not None
        kept = kept[undone + 1 :] if undone is not None else kept
    forked = None
    if reading.since and reads.forked(tx, reading.room, reading.since, reading.upto):
        changed = reads.changed_state(tx, reading.room, reading.since, reading.upto)
        forked = {stored.event.key: stored for stored in changed if stored.event.key is not None}
        told = {stored.event.key: stored.nid for stored in kept}
        hidden = {key: stored for key, stored in forked.items() if told.get(key) != stored.nid}
    else:
        hidden = _hidden_state(tx, reading, kept, scanned, complete)
    memberships, unseen = {}, frozenset[int]()
    if sight is not None:
        memberships = {stored.nid: sight.membership_of(stored) for stored in kept}
        unseen = frozenset(stored.nid for stored in kept if not sight.sees_replaced(stored))
    tail = _from_first(scanned, kept)
    return Timeline(list(kept), limited, hidden, memberships, tail, reading.upto, forked, unseen)


def _last_undone(tx: Transaction, reading: Reading, kept: Sequence[StoredEvent]) -> int | None:
    """The index of the last event of state in whose place resolving a fork has put another."""
    told = {stored.event.key: index for index, stored in enumerate(kept) if stored.event.key is not None}
    standing = reads.standing(tx, reading.room, reading.upto, told)
    return max((index for key, index in told.items() if standing.get(key) != kept[index].nid), default=None)


def _hidden_state(
    tx: Transaction,
    reading: Reading,
    kept: Sequence[StoredEvent],
    scanned: Sequence[StoredEvent],
    complete: bool,
) -> dict[StateKey, StoredEvent]:
    if reading.since == 0:
        return {}  # the whole state is told anyway
    if complete:
        return _untold(scanned, kept)
    start = (kept[0].position or 0) if kept else reading.upto + 1
    before = reads.state_events(tx, reading.room, reading.since, start)
    return _untold([*before, *_from_first(scanned, kept)], kept)


async def whole_state(db: Database, room: Room, timeline: Timeline) -> dict[StateKey, StateEntry]:
    """The state to tell with a timeline, so that together they give the state at its end.

    That is the state just before the timeline's first event, and what the timeline leaves out after it.
    """
    entries = await _state_at_start(db, room, timeline)
    if any(stored.room_state is not None for stored in timeline.tail):
        told = {stored.event.key for stored in timeline.events}
        return {**entries, **{key: each for key, each in room.head.state.entries.items() if key not in told}}
    return {**entries, **hidden_in(timeline)}


def hidden_in(timeline: Timeline) -> dict[StateKey, StateEntry]:
    """The state that changed within the timeline and is not shown there."""
    ids = {stored.nid for stored in timeline.events}
    return {
        key: StateEntry(stored.nid, stored.event_id, stored.event.membership)
        for key, stored in state_of(each for each in timeline.tail if each.nid not in ids).items()
    }


def state_of(events: Iterable[StoredEvent]) -> dict[StateKey, StoredEvent]:
    """What these events make of the state."""
    return {stored.event.key: stored for stored in events if stored.event.key is not None}


async def _state_at_start(db: Database, room: Room, timeline: Timeline) -> dict[StateKey, StateEntry]:
    """The whole state just before the timeline's first event (the current one without a timeline).

    Usually that is the current state with the last events taken back; a fork is read from its snapshot.
    """
    entries = dict(room.head.state.entries)
    if not timeline.events:
        return entries
    start = snapshot_at_start(timeline)
    if start is None:
        return {} if timeline.events[0].event.type == CREATE else entries
    since_then = room.since(timeline.upto, room.position)
    later = [*timeline.tail, *since_then] if since_then is not None else []
    if not later or not _linear(later, room):
        before = await db.read(snapshots.read, start)
        told = {stored.event.key for stored in timeline.events}
        # What resolving forks has changed since is in no event of the timeline.
        return {**before, **{key: entry for key, entry in entries.items() if key not in told}}
    for stored in reversed(later):
        key = stored.event.key
        if key is None:
            continue
        if stored.replaces is None:
            entries.pop(key, None)
        else:
            entries[key] = StateEntry(0, stored.replaces, None)
    return entries


def snapshot_at_start(timeline: Timeline) -> int | None:
    """Of the state before the first event that has one.

    An invite or knock that our user had from elsewhere has none: the server knew nothing else of the room.
    """
    if timeline.events[0].event.type == CREATE:
        return None
    return next((each.state_before for each in timeline.events if each.state_before is not None), None)


def _linear(events: Sequence[StoredEvent], room: Room) -> bool:
    """Each event stands on the one before it, and the last is the room's state."""
    following = room.head.state.snapshot
    for stored in reversed(events):
        if stored.state_after != following:
            return False
        following = stored.state_before
    return True


def previous_batch(timeline: Timeline) -> StreamToken | None:
    """From where `/messages` goes on backwards: with all that arrived before the first event shown.

    That is no place in the topological order: events of another server that come late have a low depth, and
    what was said here meanwhile lies above them.
    """
    return StreamToken((timeline.events[0].position or 0) - 1) if timeline.events else None


async def summary(room: Room, reader: str, events: EventStore) -> dict[str, Any]:
    """Counts, and the members a client names a room without a name after.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync_response-200_roomsummary
    """
    head = room.head
    counts: dict[str, Any] = {
        "m.joined_member_count": head.joined,
        "m.invited_member_count": head.invited,
    }
    naming = await events.many(naming_events(room))
    # A name or an alias may have been set to nothing.
    if not any(text(stored, "name") or text(stored, "alias") for stored in naming.values()):
        counts["m.heroes"] = heroes(room, reader)
    return counts


def naming_events(room: Room) -> list[str]:
    """The IDs of those that may name the room."""
    entries = room.head.state.entries
    return [entries[type, ""].event_id for type in NAMING if (type, "") in entries]


def heroes(room: Room, reader: str) -> list[str]:
    """Up to five others: the first members, or if there are none left, the first of those who were."""
    present: list[tuple[int, str]] = []
    gone: list[tuple[int, str]] = []
    for (type, user_id), entry in room.head.state.entries.items():
        if type == "m.room.member" and user_id != reader:
            (present if entry.membership in ("join", "invite") else gone).append((entry.nid, user_id))
    return [user_id for _, user_id in nsmallest(5, present or gone)]
