"""Reading a room's past: pages of its timeline, one event and its surroundings, its state, its members.

https://spec.matrix.org/v1.19/client-server-api/#syncing (messages, context)
https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility

Everybody first passes one door, `access`: who is joined reads on, who left reads up to the leave, and a
world-readable room is open to all. Then each event is judged by itself (`sight`, `paging`).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from homeserver.errors import Forbidden, NotFound
from homeserver.protocol.visibility import VISIBILITY_KEY, WORLD_READABLE, history_visibility
from homeserver.rooms.aggregations import NO_BUNDLES, Bundles, aggregate
from homeserver.rooms.pages import Asked, FetchPast, Page, Pages
from homeserver.rooms.paging import Scan, between, scan, state_around, token, upto
from homeserver.rooms.registry import Registry
from homeserver.rooms.room import Room
from homeserver.rooms.serialize import View
from homeserver.rooms.sight import (
    Departure,
    Reader,
    Sight,
    departure,
)
from homeserver.rooms.state import Entries
from homeserver.sync.filter_rules import RoomEventFilter
from storage import events as event_rows
from storage import relations, snapshots, timeline
from storage.events import StoredEvent
from storage.state_at import MEMBER
from storage.timeline import Window
from storage.transaction import Transaction

MOST_EVENTS = 1000

EVERYTHING = RoomEventFilter()

WholeState = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Access:
    """How somebody may read a room. `departed`: where their time in it ended.

    `arrived_upto` bounds what they see of the timeline, None without a bound.
    """

    room: Room
    joined: bool
    departed: Departure | None = None
    arrived_upto: int | None = None
    forgot: bool = False


@dataclass(slots=True)
class Context:
    event: StoredEvent
    before: list[StoredEvent]
    after: list[StoredEvent]
    start: str
    end: str
    state: list[StoredEvent]
    view: View
    bundles: Bundles = field(default_factory=dict)


class History:
    def __init__(
        self,
        registry: Registry,
        ignored_users: Callable[[str], Awaitable[frozenset[str]]],
        fetch_past: FetchPast | None = None,
        whole_state: WholeState | None = None,
    ) -> None:
        """`whole_state` waits for the members of a room that was just joined elsewhere."""
        self._whole_state = whole_state
        self._registry = registry
        self._db = registry.db
        self.events = registry.events
        self._ignored_users = ignored_users
        self._pages = Pages(self._db, self.events, fetch_past)

    async def access(self, room_id: str, user_id: str) -> Access:
        """Raises Forbidden for those who may not read the room at all, or where there is none."""
        access = await self._standing(room_id, user_id)
        if access.joined or await self.is_world_readable(access.room):
            return access
        if access.departed is None:
            raise Forbidden("You are not a member of this room.")
        return replace(access, arrived_upto=access.departed.position)

    async def _standing(self, room_id: str, user_id: str) -> Access:
        """What the reader is to the room, whatever they may read of it."""
        try:
            room = await self._registry.get(room_id)
        except NotFound:
            raise Forbidden("You are not a member of this room.") from None
        if room.membership(user_id) == "join":
            return Access(room, True)
        row = (await self._registry.memberships.of(user_id)).get(room_id)
        if row is not None and row.forgotten:
            return Access(room, False, forgot=True)
        departed = await self._db.read(departure, room.nid, user_id) if row is not None else None
        return Access(room, False, departed)

    async def is_world_readable(self, room: Room) -> bool:
        """Whether everybody may read what is sent now."""
        entry = room.head.state.entries.get(VISIBILITY_KEY)
        stored = await self.events.get(entry.event_id) if entry is not None else None
        return stored is not None and history_visibility(stored.event.content) == WORLD_READABLE

    async def messages(
        self,
        room_id: str,
        user_id: str,
        *,
        backwards: bool,
        start: str | None,
        stop: str | None,
        limit: int,
        wanted: RoomEventFilter = EVERYTHING,
    ) -> Page:
        """A page of the timeline; raises InvalidParam for tokens that are none."""
        access = await self.access(room_id, user_id)
        readable = Window(access.room.nid, arrived_upto=access.arrived_upto)
        asked = Asked(
            access.room,
            await self.reader(access, user_id),
            between(readable, start, stop, backwards),
            backwards,
            min(limit, MOST_EVENTS),
            wanted,
            access.arrived_upto,
        )
        return await self._pages.page(asked, start)

    async def event(
        self, room_id: str, user_id: str, event_id: str
    ) -> tuple[StoredEvent, View | None, Bundles]:
        """The event, how the reader sees it, and what relates to it.

        NotFound also where it may not be seen.
        """
        access, stored, view = await self.seen_event(room_id, user_id, event_id)
        if stored.childless or stored.position is None:
            return stored, view, NO_BUNDLES
        reader = await self.reader(access, user_id)

        def read(tx: Transaction) -> Bundles:
            room = access.room.nid
            if not relations.which_have_children(tx, [room], [event_id]):
                return NO_BUNDLES
            return aggregate(tx, Sight(tx, room, reader), room, [stored], access.arrived_upto)

        return stored, view, await self._db.read(read)

    async def seen_event(
        self, room_id: str, user_id: str, event_id: str
    ) -> tuple[Access, StoredEvent, View | None]:
        """How the reader may read the room, the event, and how they see it; else NotFound.

        What was sent to the world stays open to the world, by its ID: the rules are about the event's
        own time, and do not ask whether the room is open now.
        """
        try:
            access = await self._standing(room_id, user_id)
        except Forbidden:
            raise NotFound("Event not found.") from None
        found = await self._one(access, user_id, event_id)
        if found is None:
            raise NotFound("Event not found.")
        if access.departed is not None and not await self.is_world_readable(access.room):
            access = replace(access, arrived_upto=access.departed.position)
        return access, *found

    async def context(
        self, room_id: str, user_id: str, event_id: str, limit: int, wanted: RoomEventFilter = EVERYTHING
    ) -> Context:
        """Forbidden for those who may not read the room at all, NotFound for others who may not see this."""
        try:
            access, target, _ = await self.seen_event(room_id, user_id, event_id)
        except NotFound:
            await self.access(room_id, user_id)
            raise
        if target.position is None:
            raise NotFound("Event not found.")
        reader = await self.reader(access, user_id)
        half = min(limit, MOST_EVENTS) // 2
        room = access.room.nid

        def read(tx: Transaction) -> tuple[Scan, Scan, Sight, list[StoredEvent], Bundles]:
            sight = Sight(tx, room, reader)
            sight.visible([target])
            older = Window(room, upto=timeline.before(target), arrived_upto=access.arrived_upto)
            newer = Window(room, above=timeline.place_of(target), arrived_upto=access.arrived_upto)
            before = scan(tx, sight, older, room_id, wanted, backwards=True, limit=half)
            rest = min(limit, MOST_EVENTS) - half
            after = scan(tx, sight, newer, room_id, wanted, backwards=False, limit=rest)
            last = after.events[-1] if after.events else target
            around = [*before.events, target, *after.events]
            senders = {stored.event.sender for stored in around}
            state = state_around(tx, last.state_after, senders, wanted)
            return before, after, sight, state, aggregate(tx, sight, room, around, access.arrived_upto)

        before, after, sight, state, bundles = await self._db.read(read)
        return Context(
            event=target,
            before=self.events.known(before.events),
            after=self.events.known(after.events),
            start=token(timeline.before(before.last or target)),
            end=token(timeline.place_of(after.last or target)),
            state=self.events.known(state),
            view=sight,
            bundles=bundles,
        )

    async def state(self, room_id: str, user_id: str) -> Entries:
        """The state now, or as it was when the user left."""
        if self._whole_state is not None:
            await self._whole_state(room_id)
        access = await self.access(room_id, user_id)
        if access.departed is None:
            return access.room.head.state.entries
        return await self._db.read(snapshots.read, access.departed.snapshot)

    async def members(
        self,
        room_id: str,
        user_id: str,
        *,
        at: str | None = None,
        membership: str | None = None,
        not_membership: str | None = None,
    ) -> list[StoredEvent]:
        """Member events of the state now, when the user left, or at the token. Raises InvalidParam."""
        if self._whole_state is not None:
            await self._whole_state(room_id)
        access = await self.access(room_id, user_id)
        entries = await self._state_at(access, at)
        everyone = membership is None and not_membership is None
        event_ids = [
            entry.event_id
            for (type, _), entry in entries.items()
            if type == MEMBER
            and (
                everyone
                or (membership is not None and entry.membership == membership)
                or (not_membership is not None and entry.membership != not_membership)
            )
        ]
        found = await self.events.many(event_ids)
        return [found[event_id] for event_id in event_ids if event_id in found]

    async def _state_at(self, access: Access, at: str | None) -> Entries:
        head = access.room.head.state
        snapshot = head.snapshot
        if access.departed is not None:
            snapshot = access.departed.snapshot
        if at is not None:
            window = upto(Window(access.room.nid, arrived_upto=access.arrived_upto), at)
            found = await self._db.read(timeline.last_snapshot, window)
            if found is None:
                return {}
            snapshot = found
        if snapshot is None or snapshot == head.snapshot:
            return head.entries
        return await self._db.read(snapshots.read, snapshot)

    async def _one(
        self, access: Access, user_id: str, event_id: str
    ) -> tuple[StoredEvent, View | None] | None:
        stored = await self.events.get(event_id)
        if stored is None or stored.room != access.room.nid or stored.status != event_rows.ACCEPTED:
            return None
        if stored.position is None:
            # From before we took part in the room: what still is state of it may be looked at.
            entry = access.room.head.state.entries.get(stored.event.key) if stored.event.key else None
            return (stored, None) if access.joined and entry and entry.event_id == event_id else None
        reader = await self.reader(access, user_id)

        def read(tx: Transaction) -> Sight | None:
            sight = Sight(tx, access.room.nid, reader)
            return sight if sight.visible([stored]) else None

        sight = await self._db.read(read)
        return (stored, sight) if sight is not None else None

    async def reader(self, access: Access, user_id: str) -> Reader:
        return Reader(user_id, access.joined, await self._ignored_users(user_id), access.forgot)
