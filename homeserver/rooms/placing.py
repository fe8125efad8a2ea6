"""Putting one event from elsewhere in its place: in the timeline, beside it, or nowhere.

https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu
https://spec.matrix.org/v1.19/server-server-api/#soft-failure

All it stands on is known when it comes here (`gaps` sees to that), and one event of a room is placed at a
time. What happens here at the same time are local sends, which move the room's tip. Where an event simply
follows the tip nothing has to wait; where it makes a fork, local sends are held until the room's new state
is settled.

*Rejected* events are stored, so that what stands on them can be judged; *soft-failed* ones too, and count
for the state after them. Neither is shown to anybody, becomes an extremity or takes part in the room's
current state.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from homeserver.errors import Forbidden, RemoteError
from homeserver.protocol.auth_rules import AuthError
from homeserver.protocol.events import Event
from homeserver.protocol.power_levels import PowerLevels
from homeserver.protocol.redaction import redact_event
from homeserver.rooms import judgement
from homeserver.rooms.head import (
    CREATE,
    MEMBER,
    POWER_LEVELS,
    Committed,
    Head,
    is_shared,
    local_users,
    membership_row,
    servers_changed,
)
from homeserver.rooms.registry import Batch, Registry, Room
from homeserver.rooms.state import Entries, RoomState, StateEntry, StateKey
from homeserver.rooms.states import States
from homeserver.rooms.stripped_state import STRIPPED_KEYS
from storage import graph
from storage.database import Transaction
from storage.events import ACCEPTED, REJECTED, SOFT_FAILED, Aside, StoredEvent
from storage.memberships import Membership
from storage.rooms import Append

log = Logger()
MOST_PASSED_OVER = 100


class MissingEvents(RemoteError):
    """It cannot be judged yet: `event_ids`, previous or authorisation events, are not known here."""

    def __init__(self, event_ids: Collection[str]) -> None:
        super().__init__(f"{len(event_ids)} events that it refers to are not known.")
        self.event_ids = event_ids


@dataclass(slots=True)
class Known:
    """The events at hand while some are placed, by ID; those on their way to the database are in `room`."""

    registry: Registry
    room: Room
    events: dict[str, StoredEvent] = field(default_factory=dict)
    redactions: dict[str, list[str]] = field(default_factory=dict)
    """Event → the redactions of it that came first."""
    late: set[str] = field(default_factory=set)
    """Those that known events stand on: their part in the state is played."""

    def stored(self, event_id: str) -> StoredEvent | None:
        return (
            self.room.pending.get(event_id)
            or self.registry.events.cached(event_id)
            or self.events.get(event_id)
        )

    def event(self, event_id: str) -> Event | None:
        stored = self.stored(event_id)
        return stored.event if stored is not None else None

    async def load(self, event_ids: Iterable[str]) -> None:
        missing = {event_id for event_id in event_ids if self.stored(event_id) is None}
        if missing:
            self.events.update(await self.registry.events.many(missing))

    async def load_state(self, keys: Iterable[StateKey], *states: Entries) -> None:
        wanted = {entry.event_id for key in keys for state in states if (entry := state.get(key)) is not None}
        await self.load(wanted)


class Placing:
    def __init__(self, registry: Registry, states: States, server_name: str) -> None:
        self._registry = registry
        self._states = states
        self._server_name = server_name

    async def know(self, room: Room, events: Sequence[Event]) -> Known:
        """Has at hand, read at once, what these events refer to and what is known of them."""
        known = Known(self._registry, room)
        ids = [event.event_id for event in events]
        await known.load(
            each for event in events for each in (event.event_id, *event.prev_events, *event.auth_events)
        )
        known.redactions, known.late = await self._registry.db.read(_expected, room.nid, ids)
        await known.load(each for redactions in known.redactions.values() for each in redactions)
        return known

    async def place(
        self,
        known: Known,
        event: Event,
        *,
        before: RoomState | None = None,
        strict: bool = False,
        missing: Collection[str] = (),
    ) -> "Deferred[Any] | None":
        """Judges the event and writes it; what is returned fires after the commit. None: it was known.

        `before`: the state it stands on, where that is not the states after its previous events. `missing`:
        those of its previous events that stay unknown. `strict`: an event that enters the room through us, to
        be told to others; Forbidden unless all rules allow it. Raises MissingEvents.
        """
        room = known.room
        stored = known.stored(event.event_id)
        if stored is not None and not _may_be_placed(stored):
            return None
        auth_events = self._auth_events(known, event)
        if before is None:
            before = await self.state_before(known, event)
        create = room.tip.create
        if create is None:
            raise RemoteError("The room has no create event.")
        await known.load_state(judgement.keys_of(event), before.entries, room.tip.state.entries)
        unknown_members = auth_events if room.partial else ()
        try:
            judgement.by_auth_events(event, auth_events, create)
            judgement.by_state(event, before.entries, known.event, create, unknown_members)
        except AuthError as error:
            if strict:
                raise Forbidden(str(error)) from None
            log.info("{event} rejected: {reason}", event=event, reason=error)
            return self._aside(room, event, stored, before, REJECTED)
        placement = Placement(self, known, event, stored, before, strict, tuple(missing))
        return await placement.place()

    async def state_before(self, known: Known, event: Event) -> RoomState:
        """The state of the room in which the event was sent. Raises MissingEvents."""
        after = []
        missing = []
        for event_id in event.prev_events:
            stored = known.stored(event_id)
            state = await self._states.after(known.room, stored) if stored is not None else None
            if stored is None or state is None or stored.event.room_id != event.room_id:
                missing.append(event_id)
            else:
                after.append(state)
        if missing or not after:
            raise MissingEvents(missing)
        return await self._states.merged(known.room, after)

    def _auth_events(self, known: Known, event: Event) -> list[Event]:
        missing = [event_id for event_id in event.auth_events if known.stored(event_id) is None]
        if missing:
            raise MissingEvents(missing)
        return [each for event_id in event.auth_events if (each := known.event(event_id)) is not None]

    def _aside(
        self, room: Room, event: Event, stored: StoredEvent | None, before: RoomState, status: int
    ) -> "Deferred[Any]":
        """Stores an event that nobody is shown."""
        nid, after = self.number(stored), before
        if status == REJECTED:
            event = Event(event.version, event.event_id, event.pdu, event.json, rejected=True)
        elif event.key is not None:
            entry = StateEntry(nid, event.event_id, event.membership)
            after, new = before.with_event(event.key, entry, self._registry.db.ids.snapshot())
            room.unsaved.append(new)
        aside = StoredEvent(event, nid, room.nid, None, before.snapshot, after.snapshot, status)
        batch = Batch(
            room.tip,
            asides=[Aside(aside, known=stored is not None)],
            events={event.event_id: aside},
            states={event.event_id: after},
        )
        return self._registry.submit(room, batch)

    def number(self, stored: StoredEvent | None) -> int:
        return stored.nid if stored is not None else self._registry.db.ids.event()


class Placement:
    """One event that the rules allow on the state it stands on; what the room makes of it."""

    def __init__(
        self,
        placing: Placing,
        known: Known,
        event: Event,
        stored: StoredEvent | None,
        before: RoomState,
        strict: bool,
        missing: tuple[str, ...],
    ) -> None:
        self._placing = placing
        self._registry = placing._registry
        self._states = placing._states
        self._own = placing._server_name
        self._known = known
        self._room = known.room
        self._event = event
        self._stored = stored
        self._before = before
        self._strict = strict
        self._missing = missing

    async def place(self) -> "Deferred[Any]":
        event, before = self._event, self._before
        late = event.event_id in self._known.late
        nid = self._placing.number(self._stored)
        after, new_snapshot = before, None
        if event.key is not None:
            entry = StateEntry(nid, event.event_id, event.membership)
            after, new_snapshot = before.with_event(event.key, entry, self._registry.db.ids.snapshot())
        await self._prepare()
        redacted_by = self._redacted_by()
        if redacted_by is not None:
            event = self._event = redact_event(event)
        replaced = before.entries.get(event.key) if event.key is not None else None
        placed = StoredEvent(
            event,
            nid,
            self._room.nid,
            None,
            before.snapshot,
            after.snapshot,
            replaces=replaced.event_id if replaced is not None else None,
            redacted_by=redacted_by,
        )
        if not late and self._follows_the_tip():
            return self._append(placed, after, after, (event.event_id,), (), new_snapshot)
        async with self._held():
            await self._known.load_state(judgement.keys_of(event), self._room.tip.state.entries)
            if not self._allowed_now():
                if self._strict:
                    raise Forbidden("The room's present state does not allow it.")
                log.info("{event} soft-failed", event=event)
                return self._placing._aside(self._room, event, self._stored, before, SOFT_FAILED)
            tip = self._room.tip
            if late:
                return self._append(placed, after, tip.state, tip.extremities, (), new_snapshot)
            extremities = await self._extremities()
            states = [after]
            for event_id in extremities[:-1]:
                states.append(await self._state_after(event_id))
            current = await self._states.merged(self._room, states, placed)
            changed = await self._changed_members(current)
            return self._append(placed, after, current, extremities, changed, new_snapshot)

    async def _prepare(self) -> None:
        """Has at hand what the synchronous part looks at."""
        event, room = self._event, self._room
        keys: list[StateKey] = [POWER_LEVELS]
        if event.type == MEMBER and event.membership in ("invite", "knock"):
            keys += [*STRIPPED_KEYS, (MEMBER, event.sender)]
        await self._known.load_state(keys, self._before.entries, room.tip.state.entries)
        if event.redacts is not None:
            await self._known.load([event.redacts])

    def _follows_the_tip(self) -> bool:
        return set(self._room.tip.extremities) <= set(self._event.prev_events)

    def _allowed_now(self) -> bool:
        """By the room's current state: if not, it is soft-failed."""
        tip = self._room.tip
        if tip.create is None or self._before.snapshot == tip.state.snapshot:
            return True
        unknown: Sequence[Event] = ()
        if self._room.partial:
            found = map(self._known.event, self._event.auth_events)
            unknown = [each for each in found if each is not None]
        try:
            judgement.by_state(self._event, tip.state.entries, self._known.event, tip.create, unknown)
        except AuthError:
            return False
        return True

    async def _extremities(self) -> tuple[str, ...]:
        """The room's extremities with this event, which comes last.

        Where it stands on events outside the timeline (rejected, soft-failed, from a gap), what those stood
        on is no extremity any more either.
        """
        covered: set[str] = set()
        queue = list(self._event.prev_events)
        while queue and len(covered) < MOST_PASSED_OVER:
            event_id = queue.pop()
            if event_id in covered:
                continue
            covered.add(event_id)
            await self._known.load([event_id])
            stored = self._known.stored(event_id)
            if stored is not None and stored.position is None:
                queue.extend(stored.event.prev_events)
        kept = [each for each in self._room.tip.extremities if each not in covered]
        return (*kept, self._event.event_id)

    async def _state_after(self, event_id: str) -> RoomState:
        await self._known.load([event_id])
        stored = self._known.stored(event_id)
        state = await self._states.after(self._room, stored) if stored is not None else None
        if state is None:
            raise RuntimeError(f"the state after the extremity {event_id} is not known")
        return state

    async def _changed_members(self, current: RoomState) -> list[Membership]:
        """The memberships that became others, besides the event's own."""
        was = self._room.tip.state.entries
        if current.snapshot == self._room.tip.state.snapshot:
            return []
        delta = difference(was, current.entries)
        await self._known.load(entry.event_id for entry in delta.values() if entry is not None)
        changed = []
        for (type, user_id), entry in delta.items():
            if type != MEMBER or (entry is not None and entry.event_id == self._event.event_id):
                continue
            before = was.get((type, user_id))
            previous = before.membership if before is not None else None
            member = self._known.event(entry.event_id) if entry is not None else None
            if member is not None:
                changed.append(membership_row(member, previous, self._state_event(current.entries)))
            elif before is not None:  # it never was a member after all
                changed.append(
                    Membership(user_id, self._room.room_id, "leave", previous, before.event_id, user_id, 0)
                )
        return changed

    def _append(
        self,
        placed: StoredEvent,
        after: RoomState,
        current: RoomState,
        extremities: tuple[str, ...],
        changed: Sequence[Membership],
        new_snapshot: Any,
    ) -> "Deferred[Any]":
        """The synchronous part: from the tip as it is to the next, and off to the writer."""
        event, room, tip = placed.event, self._room, self._room.tip
        head = self._head(current, extremities)
        if current.snapshot != after.snapshot or self._before.snapshot != tip.state.snapshot:
            placed.room_state = current.snapshot
        membership = self._membership(current)
        redacted = self._redacts()
        if redacted is not None:
            head = self._without(head, redacted)
        placed.notify, placed.thread, push = self._registry.outcomes(event, head)
        if placed.redacted_by is not None:
            placed.notify, push = 0, ()
        come, gone = servers_changed(tip.servers, head.servers, self._own)
        outgoing = self._strict and (is_shared(tip.servers, self._own) or is_shared(head.servers, self._own))
        redacts = (redacted.event_id, redact_event(redacted).json) if redacted is not None else None
        rows = [membership, *changed] if membership is not None else list(changed)
        append = Append(
            stored=placed,
            room_id=room.room_id,
            version=room.version.id,
            snapshot=head.state.snapshot,
            depth=head.depth,
            extremities=head.extremities,
            new_snapshots=(new_snapshot,) if new_snapshot is not None else (),
            memberships=rows,
            users=local_users(rows, self._own),
            redacts=redacts,
            push=push,
            announced=Committed(
                placed,
                head,
                membership,
                push,
                redacts[0] if redacts is not None else None,
                changed,
                tip.servers,
                outgoing,
            ),
            outgoing=outgoing,
            servers_in=come,
            servers_out=gone,
            known=self._stored is not None,
            missing=self._missing,
        )
        batch = Batch(
            head, [append], events={event.event_id: placed}, states={event.event_id: after}
        )
        return self._registry.submit(room, batch, self._afterwards(placed))

    def _afterwards(self, placed: StoredEvent) -> Any:
        """What redactions leave to be remembered, or to be forgotten."""
        event = placed.event
        waits = event.redacts if event.redacts and self._known.stored(event.redacts) is None else None
        came = event.event_id in self._known.redactions
        found = event.event_id in self._known.late
        if waits is not None:
            self._known.redactions.setdefault(waits, []).append(event.event_id)
        if waits is None and not (came or found):
            return None

        def write(tx: Transaction, room_id: str) -> None:
            if waits is not None:
                graph.add_pending_redaction(tx, waits, event.event_id)
            if came:
                graph.forget_pending_redactions(tx, event.event_id)
            if found:
                graph.forget_missing(tx, placed.room, [event.event_id])

        return write

    def _head(self, current: RoomState, extremities: tuple[str, ...]) -> Head:
        tip = self._room.tip
        head = replace(tip, state=current, extremities=extremities, depth=max(tip.depth, self._event.depth))
        if current.snapshot == tip.state.snapshot:
            return head
        key, was = self._event.key, tip.state.entries
        if key is not None and self._before.snapshot == tip.state.snapshot and len(extremities) == 1:
            delta: Mapping[StateKey, StateEntry | None] = {key: current.entries[key]}
        else:
            delta = difference(was, current.entries)
        for each, entry in delta.items():
            if each[0] == MEMBER:
                before = was.get(each)
                head = head.with_member(
                    each[1],
                    before.membership if before is not None else None,
                    entry.membership if entry is not None else None,
                )
        if CREATE in delta or POWER_LEVELS in delta:
            head = replace(head, power=self._power(head))
        return head

    def _power(self, head: Head) -> PowerLevels | None:
        if head.create is None:
            return None
        power_levels = self._state_event(head.state.entries)(POWER_LEVELS)
        return PowerLevels.of(self._room.version, head.create, power_levels)

    def _membership(self, current: RoomState) -> Membership | None:
        event = self._event
        if event.type != MEMBER or event.key is None:
            return None
        entry = current.entries.get(event.key)
        if entry is None or entry.event_id != event.event_id:
            return None
        before = self._room.tip.state.entries.get(event.key)
        if before is not None and before.event_id == event.event_id:
            return None
        previous = before.membership if before is not None else None
        return membership_row(event, previous, self._state_event(current.entries))

    def _state_event(self, entries: Entries) -> Any:
        def find(key: StateKey) -> Event | None:
            entry = entries.get(key)
            if entry is None:
                return None
            if entry.event_id == self._event.event_id:
                return self._event
            return self._known.event(entry.event_id)

        return find

    def _redacts(self) -> Event | None:
        """The event that this one redacts, if it takes effect now."""
        event, create = self._event, self._room.tip.create
        target = self._known.stored(event.redacts) if event.redacts is not None else None
        if target is None or create is None or target.redacted_by is not None:
            return None
        if not judgement.may_redact(event, target.event, self._before.entries, self._known.event, create):
            return None
        return target.event

    def _redacted_by(self) -> str | None:
        """The redaction of this event that came before it and may take effect."""
        create = self._room.tip.create
        for redaction_id in self._known.redactions.get(self._event.event_id, ()):
            redaction = self._known.event(redaction_id)
            if redaction is None or create is None:
                continue
            entries = self._room.tip.state.entries
            if judgement.may_redact(redaction, self._event, entries, self._known.event, create):
                return redaction_id
        return None

    def _without(self, head: Head, redacted: Event) -> Head:
        """The head when the create event or the power levels say no more than their redacted form."""
        power_id, create = head.event_id(*POWER_LEVELS), head.create
        if create is None or redacted.event_id not in (power_id, create.event_id):
            return head
        power = self._state_event(head.state.entries)(POWER_LEVELS)
        if redacted.event_id == power_id:
            power = redact_event(redacted)
        else:
            create = redact_event(redacted)
        return replace(head, create=create, power=PowerLevels.of(self._room.version, create, power))

    @asynccontextmanager
    async def _held(self) -> AsyncIterator[None]:
        """Meanwhile local sends wait."""
        self._room.held = []
        try:
            yield
        finally:
            waiting, self._room.held = self._room.held or [], None
            for waiter in waiting:
                waiter.callback(None)


def difference(was: Entries, now: Entries) -> dict[StateKey, StateEntry | None]:
    """What changed from one state to the other; None for what is gone."""
    delta: dict[StateKey, StateEntry | None] = {
        key: entry for key, entry in now.items() if was.get(key) != entry
    }
    delta.update((key, None) for key in was if key not in now)
    return delta


def _expected(tx: Transaction, room: int, event_ids: list[str]) -> tuple[dict[str, list[str]], set[str]]:
    """What is known about events before they come: redactions of them, and whether others stand on them."""
    return graph.pending_redactions(tx, event_ids), graph.which_missing(tx, room, event_ids)


def _may_be_placed(stored: StoredEvent) -> bool:
    """Whether an event that is known is still to be given its place: an outlier, or one from a gap."""
    return stored.position is None and (stored.status == ACCEPTED or stored.state_before is None)
