"""The server's list of a user's rooms, the lists that a request cuts out of it, and its subscriptions.

https://github.com/matrix-org/matrix-spec-proposals/pull/4186 (Lists and subscriptions)

Rooms are sorted by the last event in them. Everything here is in memory for somebody who syncs: numbers of
rooms (`room_facts`), rows of memberships, labels; no room is loaded to be sorted or filtered.
"""

from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from homeserver.rooms.rooms import Rooms
from homeserver.sync.request import Window
from homeserver.sync.sliding.connections import State
from homeserver.sync.sliding.labels import UserLabels
from homeserver.sync.sliding.request import ListConfig, RoomConfig, RoomFilters, SlidingRequest
from homeserver.sync.sliding.required_state import Required, Wish
from homeserver.sync.sliding.room_facts import Facts, RoomFacts
from homeserver.sync.stays import PRESENT, pasts, rows_at
from storage.database import Database
from storage.memberships import Membership

SPACE_CHILD = "m.space.child"
_REMEMBERED = 10_000


@dataclass(slots=True)
class Entry:
    """A room in the list. `activity` is what it is sorted by."""

    row: Membership
    facts: Facts
    activity: int
    is_dm: bool


@dataclass(slots=True)
class Wanted:
    """A room the request asks for, by which lists and how."""

    entry: Entry
    lists: list[str] = field(default_factory=list)
    subscribed: bool = False
    limit: int = 0
    wishes: set[Wish] = field(default_factory=set)

    def add(self, config: RoomConfig) -> None:
        self.limit = max(self.limit, config.timeline_limit)
        self.wishes.add(config.required)

    @property
    def required(self) -> Required:
        return Required(frozenset(self.wishes))


@dataclass(frozen=True, slots=True)
class Selection:
    """`entries`: all rooms of the server's list, the most active first."""

    entries: list[Entry]
    wanted: dict[str, Wanted]
    counts: dict[str, int]


class RoomList:
    def __init__(self, db: Database, rooms: Rooms, facts: RoomFacts) -> None:
        self._db = db
        self._rooms = rooms
        self._facts = facts
        # Whether somebody who is out had ever been in, by the event that put them out.
        self._were_joined: OrderedDict[str, bool] = OrderedDict()
        self._children: OrderedDict[str, tuple[int | None, frozenset[str]]] = OrderedDict()

    async def select(
        self,
        request: SlidingRequest,
        state: State,
        labels: UserLabels,
        ignored: Collection[str],
        window: Window,
    ) -> Selection:
        upto = window.upto.position
        entries = await self._entries(request.user_id, state, labels, ignored, window)
        wanted: dict[str, Wanted] = {}
        counts = {}
        for name, config in request.lists.items():
            chosen = await self._filtered(entries, config.filters, labels)
            counts[name] = len(chosen)
            for entry in _window(chosen, config):
                want = wanted.setdefault(entry.row.room_id, Wanted(entry))
                want.lists.append(name)
                want.add(config.config)
        if request.subscriptions:
            by_id = {entry.row.room_id: entry for entry in entries}
            for room_id, subscription in request.subscriptions.items():
                found = by_id.get(room_id) or await self._left_behind(request.user_id, room_id, labels, upto)
                if found is not None:
                    want = wanted.setdefault(room_id, Wanted(found))
                    want.subscribed = True
                    want.add(subscription)
        return Selection(entries, wanted, counts)

    async def _entries(
        self,
        user_id: str,
        state: State,
        labels: UserLabels,
        ignored: Collection[str],
        window: Window,
    ) -> list[Entry]:
        upto = window.upto.position
        memberships = await self._rooms.memberships.of(user_id)
        rows = await rows_at(self._db, memberships.values(), upto)
        await self._facts.load([row.room_id for row in rows if row.membership not in ("invite", "knock")])
        await self._look_back(user_id, [row for row in rows if row.membership in ("leave", "ban")], upto)
        entries = []
        for row in rows:
            blocked = labels.blocks_invites and row.sender != self._rooms.notices_user
            if row.membership == "invite" and (row.sender in ignored or blocked):
                continue
            if row.membership not in PRESENT and not self._stays_listed(row, state, window.after):
                continue
            entries.append(self._entry(row, labels))
        entries.sort(key=_by_activity, reverse=True)
        return entries

    def _entry(self, row: Membership, labels: UserLabels) -> Entry:
        known = self._facts.cached(row.room_id) if row.membership not in ("invite", "knock") else None
        facts = known if known is not None else self._facts.shown(row)
        activity = facts.position if row.membership == "join" else row.position
        return Entry(row, facts, activity, row.room_id in labels.direct)

    def _stays_listed(self, row: Membership, state: State, after: int) -> bool:
        """A room one left oneself only while the connection knows it; others tell of a kick or a ban.

        A forgotten one is gone, once the connection knows that it was left.
        """
        sent = state.rooms.get(row.room_id)
        if row.forgotten:
            return sent is not None and row.position > (sent.upto if sent.upto is not None else after)
        return sent is not None or (row.sender != row.user_id and self._was_joined(row))

    def _was_joined(self, row: Membership) -> bool:
        return row.previous == "join" or self._were_joined.get(row.event_id, False)

    async def _look_back(self, user_id: str, rows: Collection[Membership], upto: int) -> None:
        """Has at hand whether the user had been in the rooms they are out of."""
        unknown = {
            row.room_id: row
            for row in rows
            if row.previous != "join" and row.sender != user_id and row.event_id not in self._were_joined
        }
        for room_id, past in (await pasts(self._db, user_id, dict.fromkeys(unknown, 0), upto)).items():
            self._were_joined[unknown[room_id].event_id] = past.was_joined
        while len(self._were_joined) > _REMEMBERED:
            self._were_joined.popitem(last=False)

    async def _left_behind(
        self, user_id: str, room_id: str, labels: UserLabels, upto: int
    ) -> Entry | None:
        """A subscribed room that the user left; None for what they may not see."""
        row = (await self._rooms.memberships.of(user_id)).get(room_id)
        if row is None or row.forgotten or row.position > upto or row.membership not in ("leave", "ban"):
            return None
        past = (await pasts(self._db, user_id, {room_id: 0}, upto)).get(room_id)
        if past is None or not past.was_joined:
            return None
        return self._entry(row, labels)

    async def _filtered(
        self, entries: list[Entry], filters: RoomFilters, labels: UserLabels
    ) -> list[Entry]:
        children: frozenset[str] | None = None
        if filters.spaces is not None:
            named = [await self._children_of(space, entries) for space in filters.spaces]
            children = frozenset(room_id for rooms in named for room_id in rooms)
        return [entry for entry in entries if _matches(entry, filters, labels, children)]

    async def _children_of(self, space: str, entries: list[Entry]) -> frozenset[str]:
        """The rooms that a space names, if the user is in it."""
        if not any(entry.row.room_id == space and entry.row.membership == "join" for entry in entries):
            return frozenset()
        room = await self._rooms.get(space)
        snapshot = room.head.state.snapshot
        known = self._children.get(space)
        if known is not None and known[0] == snapshot:
            return known[1]
        named = {
            entry.event_id: state_key
            for (type, state_key), entry in room.head.state.entries.items()
            if type == SPACE_CHILD
        }
        found = await self._rooms.events.many(list(named))
        children = frozenset(
            named[event_id] for event_id, stored in found.items() if _names(stored.event.content)
        )
        self._children[space] = (snapshot, children)
        if len(self._children) > _REMEMBERED:
            self._children.popitem(last=False)
        return children


def _by_activity(entry: Entry) -> int:
    return entry.activity


def _names(content: Mapping[str, object]) -> bool:
    """Without `via` a room is no child any more."""
    via = content.get("via")
    return isinstance(via, list) and bool(via)


def _matches(
    entry: Entry, filters: RoomFilters, labels: UserLabels, children: frozenset[str] | None
) -> bool:
    room_id, facts = entry.row.room_id, entry.facts
    if filters.is_dm is not None and entry.is_dm is not filters.is_dm:
        return False
    if filters.is_encrypted is not None and facts.encrypted is not filters.is_encrypted:
        return False
    if filters.is_invited is not None and (entry.row.membership == "invite") is not filters.is_invited:
        return False
    if filters.not_room_types and facts.room_type in filters.not_room_types:
        return False
    if filters.room_types is not None and facts.room_type not in filters.room_types:
        return False
    if children is not None and room_id not in children:
        return False
    if filters.tags is None and not filters.not_tags:
        return True
    tags = labels.tags.get(room_id, frozenset())
    return not tags & filters.not_tags and (filters.tags is None or bool(tags & filters.tags))


def _window(entries: list[Entry], config: ListConfig) -> list[Entry]:
    if config.ranges is None:
        return entries
    if len(config.ranges) == 1:
        [(first, last)] = config.ranges
        return entries[first : last + 1]
    places = {place for first, last in config.ranges for place in range(first, min(last + 1, len(entries)))}
    return [entries[place] for place in sorted(places)]
