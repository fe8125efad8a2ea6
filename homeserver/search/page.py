"""One page of what a search found: judged, put in order, and cut, inside one read transaction.

https://spec.matrix.org/v1.19/client-server-api/#server-side-search

Matches come in windows, the newest first; each window is put in the order asked for and handed out page by
page, then comes the next. Who may see a text is judged by where it stands, without looking at the events,
so that even the count tells nothing of what is hidden. Which text of an edited message counts is for each
reader the last edit that they may see: a match of any other is dropped when its page comes up.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from homeserver.rooms.aggregations import Bundle, aggregate
from homeserver.rooms.paging import related
from homeserver.rooms.sight import Reader, Sight, departure_of, facts_of_rooms
from homeserver.search.words import Ranking, Term
from homeserver.sync.filter_rules import RoomEventFilter
from storage import events as event_rows
from storage import search as store
from storage.events import StoredEvent
from storage.relations import Stand, which_have_children
from storage.search import MESSAGE, Match, Wanted
from storage.state_at import member_events_in
from storage.transaction import Transaction

WINDOW = 1000
MOST_WINDOWS = 3
_SPARE = 5
"""So many more than a page wants are loaded at once: some may be hidden, or edited."""
_NEVER = -(2**62)


class Key(NamedTuple):
    """A place in the order of a window, the best first."""

    rank: float
    ts: int
    position: int


class Cursor(NamedTuple):
    """Where the next page begins: in the window of matches up to `upto`, after `after` if there is one.

    `counted`: how many the windows before had.
    """

    upto: int
    after: Key | None = None
    counted: int = 0


@dataclass(frozen=True, slots=True)
class Query:
    terms: Sequence[Term]
    types: Collection[str]
    by_rank: bool
    wanted: RoomEventFilter
    limit: int
    sender: str | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """The rooms that are searched, by number: is the reader joined?"""

    user_id: str
    ignored: frozenset[str]
    rooms: Mapping[int, bool]


@dataclass(slots=True)
class Found:
    stored: StoredEvent
    rank: float
    words: Sequence[str]


@dataclass(slots=True)
class Page:
    """`more_of_rooms` and `more_of_senders`: who has further results. `next` is None at the end."""

    found: list[Found] = field(default_factory=list)
    count: int = 0
    next: Cursor | None = None
    more_of_rooms: set[int] = field(default_factory=set)
    more_of_senders: set[str] = field(default_factory=set)
    more_windows: bool = False
    bundles: dict[str, Bundle] = field(default_factory=dict)


class Eyes:
    """What the reader sees of each room; made when first asked for."""

    def __init__(self, tx: Transaction, scope: Scope) -> None:
        self._tx = tx
        self.scope = scope
        self._sights: dict[int, Sight] = {}
        self._bounds: dict[int, int] | None = None

    def sight(self, room: int) -> Sight:
        if room not in self._sights:
            self.look_at([room])
        return self._sights[room]

    def look_at(self, rooms: Collection[int]) -> None:
        """Makes what is seen of each, with a few statements for all of them."""
        new = [room for room in rooms if room not in self._sights]
        user_id, ignored = self.scope.user_id, self.scope.ignored
        for room, facts in facts_of_rooms(self._tx, new, user_id).items() if new else ():
            reader = Reader(user_id, self.scope.rooms[room], ignored)
            self._sights[room] = Sight(self._tx, room, reader, facts)

    def bounds(self) -> dict[int, int]:
        """Up to where they read the rooms that they left; before everything where they never were."""
        if self._bounds is None:
            left = [room for room, joined in self.scope.rooms.items() if not joined]
            own = member_events_in(self._tx, left, self.scope.user_id) if left else {}
            ends = {room: departure_of(events) for room, events in own.items()}
            self._bounds = {room: _NEVER if end is None else end.position for room, end in ends.items()}
        return self._bounds

    def arrived_upto(self, room: int) -> int | None:
        return self.bounds().get(room)

    def visible(self, matches: Sequence[Match]) -> list[Match]:
        by_room: dict[int, list[Match]] = {}
        for match in matches:
            by_room.setdefault(match.room, []).append(match)
        self.look_at(by_room)
        seen: set[int] = set()
        for room, some in by_room.items():
            sight = self.sight(room)
            last_join = sight.last_join if sight.last_join is not None else _NEVER
            stands = {match.nid: Stand(match.snapshot, match.position < last_join) for match in some}
            allowed = sight.seen(stands.values())
            seen.update(number for number, stand in stands.items() if stand in allowed)
        ignored = self.scope.ignored
        return [
            match
            for match in matches
            if match.nid in seen and not (match.type == MESSAGE and match.sender in ignored)
        ]


def read_page(tx: Transaction, eyes: Eyes, query: Query, cursor: Cursor) -> Page:
    senders = query.wanted.senders
    if query.sender is not None:
        senders = frozenset({query.sender} if senders is None else senders & {query.sender})
    wanted = Wanted(
        [(term.words, term.prefix) for term in query.terms],
        list(eyes.scope.rooms),
        eyes.bounds(),
        query.types,
        senders,
    )
    page = Page(count=cursor.counted)
    if not wanted.rooms or not wanted.terms:
        return page
    for _ in range(MOST_WINDOWS):
        matches = store.window(tx, wanted, cursor.upto, WINDOW)
        page.more_windows = len(matches) == WINDOW
        ordered = _ordered(query, eyes.visible(matches))
        page.count += len(ordered)
        further = [each for each in ordered if cursor.after is None or each[0] > cursor.after]
        taken = _take(tx, eyes, query, further, page)
        rest = further[taken:]
        page.more_of_rooms = {match.room for _, match in rest}
        page.more_of_senders = {match.sender for _, match in rest}
        if rest:
            page.next = Cursor(cursor.upto, further[taken - 1][0] if taken else cursor.after, cursor.counted)
            return page
        if not page.more_windows:
            page.next = None
            return page
        cursor = page.next = Cursor(matches[-1].position - 1, None, page.count)
        if len(page.found) >= query.limit:
            return page
    return page


_Ordered = tuple[Key, Match]


def _ordered(query: Query, matches: Sequence[Match]) -> list[_Ordered]:
    """The matches that the filter lets through by their outsides, the best or the newest first."""
    ranking = Ranking(query.terms)
    found = [
        (Key(-ranking.of(match.words) if query.by_rank else 0, -match.ts, -match.position), match)
        for match in matches
        if query.wanted.matches(match.type, match.sender)
    ]
    found.sort()
    return found


def _take(
    tx: Transaction, eyes: Eyes, query: Query, further: Sequence[_Ordered], page: Page
) -> int:
    """Fills the page; how many matches that took."""
    taken = 0
    ranking = Ranking(query.terms)
    shown = {each.stored.event_id for each in page.found}
    while taken < len(further) and len(page.found) < query.limit:
        batch = further[taken : taken + query.limit - len(page.found) + _SPARE]
        events = _events_of(tx, [match for _, match in batch])
        allowed, bundles = _allowed(tx, eyes, query, list(events.values()))
        for _, match in batch:
            if len(page.found) == query.limit:
                break
            taken += 1
            stored = events.get(match.original or match.event_id)
            if stored is None or stored.event_id not in allowed or stored.event_id in shown:
                continue
            bundle = bundles.get(stored.event_id)
            current = bundle.edit.nid if bundle is not None and bundle.edit is not None else stored.nid
            if current != match.nid:
                continue
            shown.add(stored.event_id)
            page.found.append(Found(stored, ranking.of(match.words), match.words.split(" ")))
            if bundle is not None:
                page.bundles[stored.event_id] = bundle
    return taken


def _events_of(tx: Transaction, matches: Sequence[Match]) -> dict[str, StoredEvent]:
    """What the matches are texts of, by ID. An edit is a text of the event that it edits."""
    known = event_rows.by_id(tx, list({match.original or match.event_id for match in matches}))
    rooms = {match.original or match.event_id: match.room for match in matches}
    return {
        event_id: stored
        for event_id, stored in known.items()
        if stored.room == rooms[event_id]
        and stored.status == event_rows.ACCEPTED
        and stored.position is not None
        and stored.redacted_by is None
    }


def _allowed(
    tx: Transaction, eyes: Eyes, query: Query, events: Sequence[StoredEvent]
) -> tuple[set[str], dict[str, Bundle]]:
    """Those that the reader may see and the filter lets through, and what relates to them."""
    by_room: dict[int, list[StoredEvent]] = {}
    for stored in events:
        by_room.setdefault(stored.room, []).append(stored)
    passed: set[str] = set()
    bundles: dict[str, Bundle] = {}
    parents: list[StoredEvent] = []
    for room, some in by_room.items():
        sight, upto = eyes.sight(room), eyes.arrived_upto(room)
        visible = [
            stored
            for stored in sight.visible(some)
            if (upto is None or (stored.position or 0) <= upto) and _matches(query.wanted, stored)
        ]
        visible = related(tx, query.wanted, visible, eyes.scope.ignored)
        passed.update(stored.event_id for stored in visible)
        parents += visible
    having = which_have_children(tx, list(by_room), [stored.event_id for stored in parents])
    for room in {stored.room for stored in parents if stored.event_id in having}:
        some = [stored for stored in parents if stored.room == room and stored.event_id in having]
        bundles.update(aggregate(tx, eyes.sight(room), room, some, eyes.arrived_upto(room)))
    return passed, bundles


def _matches(wanted: RoomEventFilter, stored: StoredEvent) -> bool:
    event = stored.event
    return wanted.matches(event.type, event.sender, "url" in event.content, event.room_id)
