"""The rooms in memory, one writer each, and the way an event gets into one.

A `Room` has two heads. `tip` is what the next event is built on; it runs ahead of the database, so many
events of one room may share a commit. `head` is the last committed one: what readers see. If a commit
fails, the room is dropped from memory and everything built on the failure fails with it (see
`Database.write_after`); the next request loads the room afresh.
"""

import secrets
import string
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from immutables import Map
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from homeserver.clock import Clock
from homeserver.errors import Forbidden, NotFound
from homeserver.protocol.events import Event
from homeserver.protocol.power_levels import PowerLevels
from homeserver.protocol.relations import relation_of
from homeserver.protocol.room_versions import ROOM_VERSIONS, RoomVersion
from homeserver.rooms.event_store import EventStore, apply_redaction
from homeserver.rooms.head import (
    BEFORE_CREATION,
    CREATE,
    MEMBER,
    POWER_LEVELS,
    Committed,
    Draft,
    Head,
    Identity,
    Outcomes,
    OutOfBand,
    Proposal,
    count_members,
    needed_keys,
)
from homeserver.rooms.memberships import Memberships
from homeserver.rooms.policy import POLICY, NoPolicyServers, Policy, PolicyServers
from homeserver.rooms.state import NewSnapshot, RoomState, StateKey
from homeserver.rooms.stripped_state import STRIPPED_KEYS
from homeserver.rooms.turns import Turns
from storage import events, snapshots
from storage import rooms as store
from storage.database import Change, Database, Transaction
from storage.events import StoredEvent
from storage.rooms import RoomRow
from storage.snapshots import Layer
from storage.writer import Abandoned, Job

TIMELINE_KEPT = 64
STATES_KEPT = 500
Also = Callable[[Transaction, str], None]


class Room:
    """A room in memory. `timeline` holds the last events of it, all those after `timeline_from`.

    `states` holds the states after the last events, and after each that is not committed yet; `unsaved` are
    snapshots that the next write brings along; `resolved` are states by the snapshots they were made of.
    While `held`, nothing new is built on the tip. `partial`: the members of the state are still to come.
    `beside` grows when events are stored outside the timeline.
    """

    def __init__(self, nid: int, room_id: str, version: RoomVersion, head: Head, position: int) -> None:
        self.nid = nid
        self.room_id = room_id
        self.version = version
        self.head = head
        self.tip = head
        self.last_job: Job | None = None
        self.pending: dict[str, StoredEvent] = {}
        self.position = position
        self.timeline: deque[StoredEvent] = deque()
        self.timeline_from = position
        self.states: dict[str, RoomState] = {}
        self.unsaved: list[NewSnapshot] = []
        self.resolved: dict[frozenset[int | None], RoomState] = {}
        self.held: list[Deferred[None]] | None = None
        self.partial = False
        self.beside = 0

    def is_resident(self, server_name: str) -> bool:
        """Whether the server has members here; if not, it does not hear what happens in the room."""
        return server_name in self.tip.servers

    def remember(self, states: Mapping[str, RoomState]) -> None:
        self.states.update(states)
        if len(self.states) > 2 * STATES_KEPT:
            for event_id in list(self.states)[:STATES_KEPT]:
                if event_id not in self.pending:
                    del self.states[event_id]

    def membership(self, user_id: str) -> str | None:
        return self.head.membership(user_id)

    def committed(self, committed: Committed) -> None:
        stored = committed.stored
        self.head = committed.head
        self.position = stored.position or self.position
        self.pending.pop(stored.event_id, None)
        self.timeline.append(stored)
        if len(self.timeline) > TIMELINE_KEPT:
            self.timeline_from = self.timeline.popleft().position or self.timeline_from
        if committed.redacts is not None:
            for each in self.timeline:
                if each.event_id == committed.redacts:
                    apply_redaction(each, stored.event_id)

    def since(self, position: int, upto: int) -> list[StoredEvent] | None:
        """The events with position < p <= upto, or None where memory does not go back so far."""
        if position < self.timeline_from:
            return None
        return [stored for stored in self.timeline if position < (stored.position or 0) <= upto]


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
        self._last_creation = 0
        self.completed: dict[str, int] = {}
        """Rooms whose state became whole after the join, and at which position."""
        self.partial: dict[str, Callable[[], None]] = {}
        """Rooms whose state is not whole yet, and what has the rest of it fetched at once."""

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
            loaded = await self.db.read(store.load, room_id)
            if loaded is None:
                raise NotFound("This server does not know the room.")
            row, layers, joined = loaded
            # Nothing can be committed to a room meanwhile: it is written to only while it is in memory.
            room = await self._assemble(row, layers)
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
                room, draft = await self._draft_of(room_id, proposals, redacted, guard)
                if _is_policed(room, draft):
                    await turn.enter_async_context(self.turns.of(room_id))
                    room, draft = await self._endorsed(room_id, proposals, redacted, guard)
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
        _, draft = await self._draft_of(room_id, [proposal], None, guard)
        [stored] = draft.built.values()
        shown = [draft.state_event(key) for key in (*STRIPPED_KEYS, (MEMBER, proposal.sender))]
        return stored.event, [each for each in shown if each is not None]

    async def create(self, version: RoomVersion, build: Callable[[Draft], None], also: Also) -> str:
        """A new room from what `build` adds to an empty draft; its ID.

        `also(tx, room_id)` runs in the transaction that writes the events; what it raises undoes all.
        """
        draft = self.new_room(version)
        build(draft)
        if draft.room_id is None:
            raise ValueError("a room starts with its create event")
        room = Room(draft.room_nid, draft.room_id, version, BEFORE_CREATION, 0)
        self._keep(room, ())
        await self.submit(room, Batch.of(draft), also)
        return room.room_id

    def new_room(self, version: RoomVersion) -> Draft:
        """The empty draft of a room that is to be created."""
        room_id = None if version.room_id_is_create_id else self._new_room_id()
        draft = self._draft(BEFORE_CREATION, self.db.ids.room(), room_id, version, {})
        # Where the room ID is a hash, two rooms made alike in one millisecond would be the same room.
        draft.now_ms = self._last_creation = max(draft.now_ms, self._last_creation + 1)
        return draft

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

    def hurry(self, room_id: str) -> bool:
        """Whether the room's state is not whole yet; whoever asks waits for it, so it is fetched at once."""
        begin = self.partial.get(room_id)
        if begin is not None:
            begin()
        return begin is not None

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

    async def _draft_of(
        self,
        room_id: str,
        proposals: Sequence[Proposal],
        redacted: Event | None,
        guard: Callable[[Head], None] | None,
    ) -> "tuple[Room, Draft]":
        """The proposals on the room's tip; to be submitted before anything else happens."""
        while True:
            room, held = await self._with_events_at_hand(room_id, proposals)
            if room.held is None:
                break
            released: Deferred[None] = Deferred()
            room.held.append(released)
            await released
        if guard is not None:
            guard(room.tip)
        draft = self._draft(room.tip, room.nid, room_id, room.version, held)
        for proposal in proposals:
            draft.add(proposal, redacted)
        return room, draft

    async def _endorsed(
        self,
        room_id: str,
        proposals: Sequence[Proposal],
        redacted: Event | None,
        guard: Callable[[Head], None] | None,
    ) -> "tuple[Room, Draft]":
        """The same, with the signatures of the room's policy server.

        It is the room's turn, so the tip stays where it is unless the room changes its policy server: then
        all is made once more.
        """
        while True:
            room, draft = await self._draft_of(room_id, proposals, redacted, guard)
            tip = room.tip
            for stored in draft.built.values():
                stored.event = await self.policy.endorsed(room, stored.event)
            if self._rooms.get(room_id) is room and room.tip is tip and room.held is None:
                return room, draft

    async def _with_events_at_hand(
        self, room_id: str, proposals: Sequence[Proposal]
    ) -> tuple[Room, dict[str, Event]]:
        """The room, and the events that adding the proposals will look at; both as of this moment."""
        held: dict[str, Event] = {}
        while True:
            room = self._rooms.get(room_id) or await self.get(room_id)
            missing = []
            for event_id in self._needed(room, proposals):
                if event_id not in held and event_id not in room.pending:
                    stored = self.events.cached(event_id)
                    if stored is None:
                        missing.append(event_id)
                    else:
                        held[event_id] = stored.event
            if not missing:
                return room, held
            found = await self.events.many(missing)
            if len(found) < len(missing):
                raise RuntimeError(f"state events of {room_id} are not in the database")
            held.update((event_id, stored.event) for event_id, stored in found.items())

    def _needed(self, room: Room, proposals: Sequence[Proposal]) -> list[str]:
        entries = room.tip.state.entries
        keys: list[StateKey] = []
        for proposal in proposals:
            keys.extend(needed_keys(room.version, proposal))
        needed = [entry.event_id for key in keys if (entry := entries.get(key)) is not None]
        if not room.version.hashed_event_ids:
            needed.extend(room.tip.extremities)
        return list(dict.fromkeys(needed))

    def _new_room_id(self) -> str:
        opaque = "".join(secrets.choice(string.ascii_letters) for _ in range(18))
        return f"!{opaque}:{self.identity.server_name}"

    def _draft(
        self, head: Head, nid: int, room_id: str | None, version: RoomVersion, held: dict[str, Event]
    ) -> Draft:
        room = self._rooms.get(room_id) if room_id is not None else None
        pending = room.pending if room is not None else {}

        def lookup(event_id: str) -> Event | None:
            event = held.get(event_id)
            if event is None and (stored := pending.get(event_id)) is not None:
                return stored.event
            return event

        return Draft(
            head,
            nid,
            room_id,
            version,
            self.identity,
            self.db.ids,
            self.clock.now_ms(),
            lookup,
            self.outcomes,
        )

    def submit(self, room: Room, batch: "Batch", also: Also | None = None) -> "Deferred[list[StoredEvent]]":
        """Moves the room's tip and writes; fires after the commit. `batch` is built on the present tip."""
        if self._rooms.get(room.room_id) is not room:
            return fail(RoomMovedOn())
        asides, unsaved = batch.asides, room.unsaved
        room.unsaved = []
        room.last_job, done = self.db.write_after(
            room.last_job, _write, (room.nid, room.room_id), unsaved, asides, batch.appends, also
        )
        room.tip = batch.head
        room.pending.update(batch.events)
        room.remember(batch.states)
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
        for aside in batch.asides:  # the stream says nothing of these
            room.pending.pop(aside.stored.event_id, None)
            self.events.add(aside.stored)
        if not written.called:
            written.callback(list(batch.events.values()))

    def _not_written(
        self, failure: Failure, written: "Deferred[list[StoredEvent]]", room: Room
    ) -> None:
        if self._rooms.get(room.room_id) is room:
            self._drop(room)
        if not written.called:
            moved_on = isinstance(failure.value, Abandoned)
            written.errback(RoomMovedOn() if moved_on else failure)

    async def _assemble(self, row: RoomRow, layers: list[Layer]) -> Room:
        state = RoomState.from_layers(layers)
        version = ROOM_VERSIONS[row.version]
        wanted = {key: entry.event_id for key in (CREATE, POWER_LEVELS) if (entry := state.entries.get(key))}
        found = await self.events.many(list(wanted.values()))
        create = found[wanted[CREATE]].event
        power_event = found[wanted[POWER_LEVELS]].event if POWER_LEVELS in wanted else None
        power = PowerLevels.of(version, create, power_event)
        head = Head(state, row.extremities, row.depth, create, power, *count_members(state))
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


@dataclass(slots=True)
class Batch:
    """What one write adds to a room: events of its timeline, others beside it, and the head after them."""

    head: Head
    appends: list[store.Append] = field(default_factory=list)
    asides: list[events.Aside] = field(default_factory=list)
    events: dict[str, StoredEvent] = field(default_factory=dict)
    states: dict[str, RoomState] = field(default_factory=dict)

    @classmethod
    def of(cls, draft: Draft) -> "Batch":
        return cls(draft.head, draft.appends, [], draft.built, draft.states)


def _is_policed(room: Room, draft: Draft) -> bool:
    """Whether a policy server may have to be asked for something in the draft."""
    if room.tip.event_id(*POLICY) is None:
        return False
    return any(stored.event.key != POLICY for stored in draft.built.values())


def _write(
    tx: Transaction,
    room: tuple[int, str],
    unsaved: Sequence[NewSnapshot],
    asides: Sequence[events.Aside],
    appends: Sequence[store.Append],
    also: Also | None,
) -> None:
    nid, room_id = room
    for number, parent, delta in unsaved:
        snapshots.add(tx, number, nid, parent, delta)
    events.add_asides(tx, asides)
    if appends:
        store.append(tx, appends)
    if also is not None:
        also(tx, room_id)


def _nothing(tx: Transaction) -> None:
    """Writes nothing."""


class RoomMovedOn(Forbidden):
    """An event before this one in the same room could not be written; it may be tried again."""

    status, errcode = 503, "M_UNKNOWN"

    def __init__(self) -> None:
        super().__init__("The room could not be written to just now; please try again.")
