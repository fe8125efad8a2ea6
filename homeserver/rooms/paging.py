"""Pages of a timeline as a client asks for them: between two tokens, filtered, as one reader sees it.

https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmessages
https://spec.matrix.org/v1.19/client-server-api/#lazy-loading-room-members

Everything here runs inside one read transaction. A page is scanned until it is full; what is invisible or
filtered out costs a bounded number of rows, and the next page goes on from the last row looked at.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from homeserver.rooms.sight import Sight
from homeserver.sync.filter_rules import RoomEventFilter
from homeserver.sync.tokens import RoomToken, StreamToken, parse_any
from storage import events as event_rows
from storage import relations, snapshots, state_at, timeline
from storage.events import Known, StoredEvent
from storage.state_at import MEMBER
from storage.timeline import Place, Window
from storage.transaction import Transaction

_MOST_SCANNED = 2000
_LEAST_BATCH = 100


@dataclass(slots=True)
class Scan:
    """What a window gave: `first` and `last` are the outermost rows that were looked at."""

    events: list[StoredEvent] = field(default_factory=list)
    first: StoredEvent | None = None
    last: StoredEvent | None = None
    more: bool = False


def between(window: Window, start: str | None, stop: str | None, backwards: bool) -> Window:
    """The part of a window that lies between two tokens."""
    newest, oldest = (start, stop) if backwards else (stop, start)
    if newest is not None:
        window = upto(window, newest)
    if oldest is not None:
        match parse_any(oldest):
            case StreamToken(position=position):
                window = replace(window, arrived_after=position)
            case RoomToken(depth=depth, position=position):
                window = replace(window, above=Place(depth, position))
    return window


def upto(window: Window, token: str) -> Window:
    match parse_any(token):
        case StreamToken(position=position):
            bound = window.arrived_upto
            return replace(window, arrived_upto=position if bound is None else min(bound, position))
        case RoomToken(depth=depth, position=position):
            return replace(window, upto=Place(depth, position))


def scan(
    tx: Transaction,
    sight: Sight,
    window: Window,
    room_id: str,
    wanted: RoomEventFilter,
    *,
    backwards: bool,
    limit: int,
    known: Known | None = None,
) -> Scan:
    """Reads on until `limit` events have passed, the window is exhausted, or enough was looked at."""
    found = Scan()
    if wanted.is_empty or not wanted.matches_room(room_id):
        return found
    scanned = 0
    least = 1 if wanted.is_trivial else _LEAST_BATCH
    while True:
        missing = limit - len(found.events)
        batch = max(missing, least)
        rows = timeline.page(tx, window, backwards=backwards, limit=batch + 1, known=known)
        found.first = found.first or (rows[0] if rows else None)
        found.more = len(rows) > batch or (limit == 0 and bool(rows))
        rows = rows[:batch]
        if limit == 0 or not rows:
            return found
        passed = _matching(tx, wanted, sight.visible(rows), sight.reader.ignored)
        if len(passed) > missing:
            found.events += passed[:missing]
            found.last, found.more = found.events[-1], True
            return found
        found.events += passed
        found.last = rows[-1]
        scanned += len(rows)
        if not found.more or len(found.events) == limit or scanned >= _MOST_SCANNED:
            return found
        least = _LEAST_BATCH
        if backwards:
            window = replace(window, upto=timeline.before(rows[-1]))
        else:
            window = replace(window, above=timeline.place_of(rows[-1]))


def _matching(
    tx: Transaction, wanted: RoomEventFilter, events: list[StoredEvent], ignored: Collection[str] = ()
) -> list[StoredEvent]:
    if wanted.is_trivial:
        return events
    passed = [
        stored
        for stored in events
        if wanted.matches(stored.event.type, stored.event.sender, "url" in stored.event.content)
    ]
    return related(tx, wanted, passed, ignored)


def related(
    tx: Transaction, wanted: RoomEventFilter, events: list[StoredEvent], ignored: Collection[str] = ()
) -> list[StoredEvent]:
    """Those of a room's events that something relates to, in the way the filter asks for."""
    types, senders = wanted.related_by_rel_types, wanted.related_by_senders
    if (types is None and senders is None) or not events:
        return events
    found = relations.related_by(tx, events[0].room, [stored.event_id for stored in events], ignored)
    return [
        stored
        for stored in events
        if any(
            (types is None or rel_type in types) and (senders is None or sender in senders)
            for rel_type, sender in found.get(stored.event_id, ())
        )
    ]


def _by_number(tx: Transaction, numbers: Collection[int]) -> list[StoredEvent]:
    return event_rows.select(tx, f"WHERE {tx.any('e.nid')} ORDER BY e.nid", [tx.array(numbers)])


def members_at(tx: Transaction, room: int, snapshot: int | None, users: Collection[str]) -> list[StoredEvent]:
    """The member events of these users in a state."""
    if snapshot is None:
        return []
    numbers = state_at.numbers(tx, room, [(MEMBER, user_id) for user_id in users])
    return _by_number(tx, state_at.at(tx, [snapshot], numbers)[snapshot].values())


def state_around(
    tx: Transaction, snapshot: int | None, senders: Collection[str], wanted: RoomEventFilter
) -> list[StoredEvent]:
    """The state to show events with; with lazy loading, only those members who sent them."""
    if snapshot is None:
        return []
    numbers = [
        entry.nid
        for (type, state_key), entry in snapshots.read(tx, snapshot).items()
        if wanted.matches_type(type)
        and (type != MEMBER or not wanted.lazy_load_members or state_key in senders)
    ]
    return _matching(tx, replace(wanted, contains_url=None), _by_number(tx, numbers))


def token(place: Place) -> str:
    return str(RoomToken(*place))
