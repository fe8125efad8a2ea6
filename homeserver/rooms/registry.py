"""The rooms in memory, one writer each, and the way an event gets into one.

What is built on a room's tip is written in the order it was built in. If a commit fails, the room is dropped
from memory and everything built on the failure fails with it (see `Database.write_after`); the next request
loads the room afresh.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from immutables import Map
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from homeserver.clock import Clock
from homeserver.errors import NotFound
from homeserver.protocol.events import Event
from homeserver.protocol.power_levels import PowerLevels
from homeserver.protocol.relations import relation_of
from homeserver.protocol.room_versions import ROOM_VERSIONS, RoomVersion
from homeserver.rooms.drafting import Drafting, is_policed
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.head import (
    BEFORE_CREATION,
    CREATE,
    MEMBER,
    POWER_LEVELS,
    Committed,
    Draft,
    Head,
    Identity,
    MemberCounts,
    Outcomes,
    OutOfBand,
    Proposal,
    count_members,
)
from homeserver.rooms.memberships import Memberships
from homeserver.rooms.policy import NoPolicyServers, Policy, PolicyServers
from homeserver.rooms.room import Also, Batch, Room, RoomMovedOn, write
from homeserver.rooms.state import RoomState
from homeserver.rooms.stripped_state import STRIPPED_KEYS
from homeserver.rooms.turns import Turns
from storage import rooms as store
from storage.database import Change, Database, Transaction
from storage.events import StoredEvent
from storage.rooms import RoomRow
from storage.writer import Abandoned


class Registry:
    """Loads rooms, keeps the recently used, appends events. It follows the stream before anyone else."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        identity: Identity,
        events: EventStore,
        memberships: Memberships,
        outcomes: Outcomes,
        most_rooms: int = 5_000,
        policy_servers: PolicyServers | None = None,
    ) -> None:
        self.db = db
        self.clock = clock
        self.identity = identity
        self.events = events
        self.memberships = memberships
        self.outcomes = outcomes
        self.policy = Policy(events, clock, policy_servers or NoPolicyServers())
        self.turns = Turns()
        """Of what keeps a room's tip where it is while it waits for others."""
        self._most_rooms = most_rooms
        self._rooms: OrderedDict[str, Room] = OrderedDict()
        self._loading: dict[str, list[Deferred[None]]] = {}
        self.drafting = Drafting(self)
        self.completed: dict[str, int] = {}
        """Rooms whose state became whole after the join, and at which position."""
        self.partial: set[str] = set()
        """Rooms whose state is not whole yet."""

    def cached(self, room_id: str) -> Room | None:
        return self._rooms.get(room_id)

    async def get(self, room_id: str) -> Room:
        """The room, loaded if need be. NotFound if this server does not know it."""
        room = self._rooms.get(room_id)
        if room is not None:
            self._rooms.move_to_end(room_id)
            return room
        while room_id in self._loading:
            waiter: Deferred[None] = Deferred()
            self._loading[room_id].append(waiter)
            await waiter
            room = self._rooms.get(room_id)
            if room is not None:
                return room
        self._loading[room_id] = []
        try:
            loaded = await self.db.read(_load, room_id)
            if loaded is None:
                raise NotFound("This server does not know the room.")
            row, state, counted, joined = loaded
            # Nothing can be committed to a room meanwhile: it is written to only while it is in memory.
            room = await self._assemble(row, state, counted)
            adopted = self._rooms.get(room_id)  # joined anew, while it was read as it had been left
            if adopted is not None:
                return adopted
            self._keep(room, joined)
            return room
        finally:
            for waiter in self._loading.pop(room_id):
                waiter.callback(None)

    async def append(
        self,
        room_id: str,
        proposals: Sequence[Proposal],
        *,
        redacted: Event | None = None,
        guard: Callable[[Head], None] | None = None,
        created: Draft | None = None,
        also: Also | None = None,
    ) -> list[StoredEvent]:
        """Adds the events, all or none, and returns when they are committed.

        `guard(tip)` may refuse, judging by the very state the events will stand on. The same transaction
        creates the room of the draft `created` and runs `also(tx, room_id)`; what fails undoes all. Raises
        Forbidden, BadJson, TooLarge, NotFound.
        """
        while True:
            async with AsyncExitStack() as turn:
                room, draft = await self.drafting.made(room_id, proposals, redacted, guard)
                if is_policed(room, draft):
                    await turn.enter_async_context(self.turns.of(room_id))
                    room, draft = await self.drafting.endorsed(room_id, proposals, redacted, guard)
                try:
                    if created is not None:
                        return await self._submit_with(room, draft, created, also)
                    return await self.submit(room, Batch.of(draft), also)
                except RoomMovedOn:
                    # It stood on somebody else's failure; that one is out of the way now. With a
                    # transaction ID it may be a failure itself, so whoever gave us that ID looks before
                    # trying again.
                    if any(proposal.txn_id is not None for proposal in proposals):
                        raise

    async def propose(
        self, room_id: str, proposal: Proposal, guard: Callable[[Head], None] | None = None
    ) -> tuple[Event, list[Event]]:
        """An invite, built and signed but not added, as another server must agree first.

        With it the state that is shown to its user. Raises as `append` does.
        """
        _, draft = await self.drafting.made(room_id, [proposal], None, guard)
        [stored] = draft.built.values()
        shown = [draft.state_event(key) for key in (*STRIPPED_KEYS, (MEMBER, proposal.sender))]
        return stored.event, [each for each in shown if each is not None]

    async def create(self, version: RoomVersion, build: Callable[[Draft], None], also: Also) -> str:
        """A new room from what `build` adds to an empty draft; its ID.

        `also(tx, room_id)` runs in the transaction that writes the events; what it raises undoes all.
        """
        draft = self.drafting.new_room(version)
        build(draft)
        if draft.room_id is None:
            raise ValueError("a room starts with its create event")
        room = Room(draft.room_nid, draft.room_id, version, BEFORE_CREATION, 0)
        self._keep(room, ())
        await self.submit(room, Batch.of(draft), also)
        return room.room_id

    def adopt(self, room: Room, joined: Sequence[str]) -> None:
        """Takes in a room that was put together elsewhere, instead of the one of this ID that it knows."""
        if room.room_id in self._rooms:
            self._drop(self._rooms[room.room_id])
        self._keep(room, joined)

    def forget(self, room_id: str) -> None:
        """Has the room loaded afresh when it is next asked for; nothing may be under way in it."""
        room = self._rooms.get(room_id)
        if room is not None:
            self._drop(room)

    async def settled(self, room: Room) -> None:
        """Returns when all that is under way in the room has been committed or has failed."""
        if room.pending:
            await self.db.write(_nothing)  # the writer takes one after another

    async def state_content(self, room: Room, type: str, state_key: str = "") -> dict[str, Any] | None:
        """The content of a state event of the room's tip."""
        event_id = room.tip.event_id(type, state_key)
        if event_id is None:
            return None
        stored = room.pending.get(event_id) or await self.events.get(event_id)
        return stored.event.content if stored is not None else None

    def follow(self, changes: Sequence[Change]) -> None:
        for change in changes:
            committed = change.data
            if isinstance(committed, OutOfBand):
                self.events.add(committed.stored)
            elif isinstance(committed, Committed):
                stored = committed.stored
                self.events.add(stored)
                if committed.redacts is not None:
                    self.events.redact(committed.redacts, stored.event_id)
                room = self._rooms.get(stored.event.room_id)
                if "m.relates_to" in stored.event.content:
                    self.no_longer_childless(stored.event)
                if room is not None:
                    room.committed(committed)

    # how it is done

    def no_longer_childless(self, child: Event) -> None:
        """What this event relates to is known now to have something related to it."""
        relation = relation_of(child.content)
        if relation is None:
            return
        room = self._rooms.get(child.room_id)
        parent = self.events.cached(relation.parent)
        if parent is not None:
            parent.childless = False
        for stored in room.timeline if room is not None else ():  # may be another object than the cached one
            if stored.event_id == relation.parent:
                stored.childless = False

    def submit(self, room: Room, batch: "Batch", also: Also | None = None) -> "Deferred[list[StoredEvent]]":
        """Moves the room's tip and writes; fires after the commit. `batch` is built on the present tip."""
        if self._rooms.get(room.room_id) is not room:
            return fail(RoomMovedOn())
        asides, unsaved = batch.asides, room.unsaved
        room.unsaved = []
        room.tip = batch.head
        room.pending.update(batch.events)
        room.remember(batch.states)
        room.last_job, done = self.db.write_after(
            room.last_job, write, (room.nid, room.room_id), unsaved, asides, batch.appends, also
        )
        # Whoever asked may go away; the room must hear of a failure all the same.
        written: Deferred[list[StoredEvent]] = Deferred()
        done.addCallbacks(
            self._written, self._not_written, callbackArgs=(written, room, batch), errbackArgs=(written, room)
        )
        return written

    async def _submit_with(
        self, room: Room, draft: Draft, created: Draft, also: Also | None
    ) -> list[StoredEvent]:
        """Writes to a room and creates another in one transaction."""
        if created.room_id is None:
            raise ValueError("a room starts with its create event")

        def both(tx: Transaction, room_id: str) -> None:
            store.append(tx, created.appends)
            if also is not None:
                also(tx, room_id)

        written = self.submit(room, Batch.of(draft), both)
        new = Room(created.room_nid, created.room_id, created.version, BEFORE_CREATION, 0)
        self._keep(new, ())
        new.last_job, new.tip = room.last_job, created.head
        new.pending.update(created.built)
        new.remember(created.states)
        try:
            return await written
        except BaseException:
            if self._rooms.get(new.room_id) is new:
                self._drop(new)
            raise

    def _written(
        self, result: None, written: "Deferred[list[StoredEvent]]", room: Room, batch: "Batch"
    ) -> None:
        if batch.asides or any(each.missing for each in batch.appends):
            room.epoch = object()
        for aside in batch.asides:  # the stream says nothing of these
            room.pending.pop(aside.stored.event_id, None)
            self.events.add(aside.stored)
        if not written.called:
            written.callback(list(batch.events.values()))

    def _not_written(self, failure: Failure, written: "Deferred[list[StoredEvent]]", room: Room) -> None:
        if self._rooms.get(room.room_id) is room:
            self._drop(room)
        if not written.called:
            moved_on = isinstance(failure.value, Abandoned)
            written.errback(RoomMovedOn() if moved_on else failure)

    async def _assemble(self, row: RoomRow, state: RoomState, counted: MemberCounts) -> Room:
        version = ROOM_VERSIONS[row.version]
        wanted = {key: entry.event_id for key in (CREATE, POWER_LEVELS) if (entry := state.entries.get(key))}
        found = await self.events.many(list(wanted.values()))
        create = found[wanted[CREATE]].event
        power_event = found[wanted[POWER_LEVELS]].event if POWER_LEVELS in wanted else None
        power = PowerLevels.of(version, create, power_event)
        head = Head(state, row.extremities, row.depth, create, power, *counted)
        room = Room(row.nid, row.room_id, version, head, row.position)
        if row.partial:
            room.partial = True
            servers = Map({**dict.fromkeys(row.servers, 1), **head.servers})
            room.head = room.tip = replace(head, servers=servers)
        return room

    def _keep(self, room: Room, joined: Sequence[str]) -> None:
        self._rooms[room.room_id] = room
        self.memberships.room_loaded(room.room_id, joined)
        if len(self._rooms) > self._most_rooms:
            for idle in list(self._rooms.values())[: self._most_rooms // 10]:
                if not idle.pending and idle is not room:
                    self._drop(idle)

    def _drop(self, room: Room) -> None:
        self._rooms.pop(room.room_id, None)
        self.memberships.room_dropped(room.room_id)


def _load(tx: Transaction, room_id: str) -> tuple[RoomRow, RoomState, MemberCounts, list[str]] | None:
    """With all that takes time where there are many members, for this runs on a thread."""
    loaded = store.load(tx, room_id)
    if loaded is None:
        return None
    row, layers, joined = loaded
    state = RoomState.from_layers(layers)
    return row, state, count_members(state), joined


def _nothing(tx: Transaction) -> None:
    """Writes nothing."""
