"""What one reader may see of one room's history, judged inside a database transaction.

https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility

The rules want the history visibility and the reader's membership at each event. Most rooms have never had
a visibility other than `shared` or `world_readable`; there somebody who is joined now sees everything, and
no state is looked at. Elsewhere two keys of the state are searched for, never the whole of it.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from homeserver.protocol import visibility
from homeserver.protocol.visibility import SHARED, VISIBILITY_KEY
from storage import state_at
from storage.events import StoredEvent, by_id, select
from storage.relations import Seen, Stand
from storage.state_at import MEMBER, MemberEvent
from storage.transaction import Transaction

_JOINED = 2**62
MOST_REMEMBERED, MOST_REMEMBERED_EVENTS = 10_000, 50

Stamp = tuple[object, int]
"""A room's: another one once anything happened in it but a message that follows known ones."""


class Reader(NamedTuple):
    """Who reads: are they joined now, and whose messages do they not want to see?

    `forgot`: they forgot the room, and see what a stranger would.
    """

    user_id: str
    joined: bool
    ignored: frozenset[str] = frozenset()
    forgot: bool = False


class Departure(NamedTuple):
    """Where somebody who is no longer joined stopped being it."""

    position: int
    snapshot: int


def departure(tx: Transaction, room: int, user_id: str) -> Departure | None:
    """Where the user's last time in the room ended; None for those who never were in it."""
    return departure_of(state_at.member_events(tx, room, user_id))


def departure_of(own: Sequence[MemberEvent]) -> Departure | None:
    """The same, of whom these membership events are."""
    found = None
    was_joined = False
    for event in own:
        if event.position is None or event.state_after is None or not event.accepted:
            continue
        if was_joined and event.membership != "join":
            found = Departure(event.position, event.state_after)
        was_joined = event.membership == "join"
    return found


class Facts(NamedTuple):
    """What does not depend on the page: the reader's membership events, every setting of the visibility.

    `gapless`: it is known that nothing of the room's history is missing.
    """

    own: Sequence[MemberEvent]
    settings: Mapping[int, str]
    gapless: bool = False


def read_facts(tx: Transaction, room: int, user_id: str) -> Facts:
    return facts_of_rooms(tx, [room], user_id)[room]


def facts_of_rooms(tx: Transaction, rooms: Collection[int], user_id: str) -> dict[int, Facts]:
    settings: dict[int, dict[int, str]] = {room: {} for room in rooms}
    where = f"WHERE {tx.any('e.room')} AND e.type = 'm.room.history_visibility' AND e.state_key = ''"
    for stored in select(tx, where, [tx.array(rooms)]):
        settings[stored.room][stored.nid] = visibility.history_visibility(stored.event.content)
    own = state_at.member_events_in(tx, rooms, user_id)
    return {room: Facts(own[room], settings[room]) for room in rooms}


class RememberedFacts:
    """Facts of who pages through rooms; good as long as the room's stamp stays the same."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[int, str], tuple[Stamp, Facts]] = OrderedDict()

    def get(self, room: int, user_id: str, stamp: Stamp) -> Facts | None:
        known = self._known.get((room, user_id))
        return known[1] if known is not None and known[0] == stamp else None

    def put(self, room: int, user_id: str, stamp: Stamp, facts: Facts) -> None:
        """`stamp`: of before the facts were read."""
        if len(facts.own) + len(facts.settings) > MOST_REMEMBERED_EVENTS:
            return
        self._known[room, user_id] = (stamp, facts)
        self._known.move_to_end((room, user_id))
        if len(self._known) > MOST_REMEMBERED:
            self._known.popitem(last=False)


class Standing:
    """What the facts alone tell: mostly whether a reader sees everything, and what they were when."""

    def __init__(self, reader: Reader, facts: Facts) -> None:
        self._reader = reader
        self._settings = facts.settings
        self._own = {event.nid: event for event in facts.own}
        self._arrived = [event for event in facts.own if event.position is not None and event.accepted]
        self._arrivals = [event.position or 0 for event in self._arrived]
        joins = [event.position or 0 for event in self._arrived if event.membership == "join"]
        self._last_join = joins[-1] if joins and not reader.forgot else None
        self._everything = reader.joined and visibility.sees_all_while_joined(self._settings.values())

    @property
    def reader(self) -> Reader:
        return self._reader

    @property
    def sees_everything(self) -> bool:
        """Whether only ignored senders are hidden."""
        return self._everything

    @property
    def last_join(self) -> int | None:
        """Where the last join is that makes a difference; none does to somebody who is joined."""
        return _JOINED if self._reader.joined else self._last_join

    def sees_replaced(self, stored: StoredEvent) -> bool:
        """Whether the reader may see the state event that this one replaced."""
        return self._everything

    def membership_of(self, stored: StoredEvent) -> str:
        """The reader's membership when the event had arrived: that after it, but for forks."""
        known = bisect_right(self._arrivals, stored.position or 0)
        return self._arrived[known - 1].membership if known else "leave"


class Sight(Standing):
    """`visible(events)` leaves out what the reader may not see; `membership_of` what they were then."""

    def __init__(self, tx: Transaction, room: int, reader: Reader, facts: Facts | None = None) -> None:
        super().__init__(reader, facts or read_facts(tx, room, reader.user_id))
        self._tx = tx
        self._memberships: dict[int, str] = {}
        self._visible: set[str] = set()
        self._in_room: set[int] = set()

    def seen(self, stands: Iterable[Stand], arrived_upto: int | None = None) -> Seen:
        """Which message events of these stands the reader sees, of those that arrived by then."""
        ignored = self._reader.ignored
        if self._everything:
            return Seen(ignored, arrived_upto=arrived_upto)
        stands = set(stands)
        before = self._before({stand.snapshot for stand in stands})
        visible = frozenset(
            stand
            for stand in stands
            if self._sees_stand(*before.get(stand.snapshot, (SHARED, None)), stand.joined_later)
        )
        return Seen(ignored, visible, self.last_join, arrived_upto)

    def _sees_stand(self, setting: str, membership: str | None, joined_later: bool) -> bool:
        was = None if self._reader.forgot else membership
        return visibility.may_see(setting, was, joined_later=joined_later)

    def visible(self, events: Iterable[StoredEvent], *, with_ignored: bool = False) -> list[StoredEvent]:
        reader = self._reader
        wanted = [
            stored
            for stored in events
            if with_ignored or stored.event.state_key is not None or stored.event.sender not in reader.ignored
        ]
        if self._everything:
            return wanted
        seen = self._visible_of(wanted)
        self._visible.update(stored.event_id for stored in seen)
        replaced = {each.replaces for each in seen if each.replaces and each.nid not in self._in_room}
        missing = replaced - {stored.event_id for stored in wanted}
        if missing:
            self._visible.update(
                stored.event_id for stored in self._visible_of(by_id(self._tx, missing).values())
            )
        return seen

    def _visible_of(self, events: Collection[StoredEvent]) -> list[StoredEvent]:
        before = self._before({each.state_before for each in events if each.state_before is not None})
        user_id, seen = self._reader.user_id, []
        for stored in events:
            setting, membership = before.get(stored.state_before or 0, (SHARED, None))
            _, after = visibility.state_after(stored.event, user_id, setting, membership)
            self._memberships[stored.nid] = after or "leave"
            as_user, was = ("", None) if self._reader.forgot else (user_id, membership)
            if was == "join":
                self._in_room.add(stored.nid)
            if visibility.may_see_event(
                stored.event, as_user, setting, was, joined_later=self._joined_after(stored)
            ):
                seen.append(stored)
        return seen

    def sees_replaced(self, stored: StoredEvent) -> bool:
        """Of an event that was found visible. Who was in the room then had it as state of the room."""
        return self._everything or stored.nid in self._in_room or stored.replaces in self._visible

    def membership_of(self, stored: StoredEvent) -> str:
        """The reader's membership after this event, exactly where the state was looked at."""
        return self._memberships.get(stored.nid) or super().membership_of(stored)

    def _joined_after(self, stored: StoredEvent) -> bool:
        if self._reader.joined:
            return True
        return self._last_join is not None and self._last_join > (stored.position or 0)

    def _before(self, snapshots: Collection[int]) -> dict[int, tuple[str, str | None]]:
        """(history visibility, the reader's membership) in each of these states."""
        member_key = (MEMBER, self._reader.user_id)
        candidates = dict.fromkeys(self._own, member_key) | dict.fromkeys(self._settings, VISIBILITY_KEY)
        result = {}
        for snapshot, state in state_at.at(self._tx, snapshots, candidates).items():
            setting = self._settings[state[VISIBILITY_KEY]] if VISIBILITY_KEY in state else SHARED
            own: MemberEvent | None = self._own[state[member_key]] if member_key in state else None
            result[snapshot] = (setting, own.membership if own is not None else None)
        return result
