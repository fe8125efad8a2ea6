"""Putting one event from elsewhere in its place: in the timeline, beside it, or nowhere.

https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu
https://spec.matrix.org/v1.19/server-server-api/#soft-failure

All it stands on is known when it comes here (`gaps` sees to that), and one group of events of a room is
placed at a time. What happens here at the same time are local sends, which move the room's tip. Where an
event simply follows the tip nothing has to wait. Where it makes a fork, local sends are held and the events
that come with it are kept together: the room's new state is resolved once, for the last of them, and all are
written in one piece.

An event that the room's policy server does not recommend (`policy`) is soft-failed like one that the room's
present state forbids.

*Rejected* events are stored, so that what stands on them can be judged; *soft-failed* ones too, and count
for the state after them. Neither is shown to anybody, becomes an extremity or takes part in the room's
current state.
"""

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from homeserver.errors import Forbidden, RemoteError
from homeserver.protocol.auth_rules import AuthError
from homeserver.protocol.events import Event
from homeserver.protocol.redaction import redact_event
from homeserver.rooms import judgement
from homeserver.rooms.head import Head
from homeserver.rooms.placement import Known, Placement
from homeserver.rooms.registry import Registry
from homeserver.rooms.room import Batch, Room, RoomMovedOn
from homeserver.rooms.state import RoomState, StateEntry, StateKey
from homeserver.rooms.states import States
from storage import graph
from storage.database import Transaction
from storage.events import REJECTED, SOFT_FAILED, Aside, StoredEvent
from storage.memberships import Membership

log = Logger()
MOST_PASSED_OVER = 100
MANY_EXTREMITIES = 20
MOST_EXTREMITIES = 50


class MissingEvents(RemoteError):
    """It cannot be judged yet: `event_ids`, previous or authorisation events, are not known here."""

    def __init__(self, event_ids: Collection[str]) -> None:
        super().__init__(f"{len(event_ids)} events that it refers to are not known.")
        self.event_ids = event_ids


class Placing:
    def __init__(self, registry: Registry, states: States, server_name: str) -> None:
        self.registry = registry
        self.states = states
        self._server_name = server_name

    async def know(self, room: Room, events: Sequence[Event], *, past: bool = False) -> Known:
        """Has at hand, read at once, what these events refer to and what is known of them.

        With it what the room's policy server says to those that are new here; of the `past` it is not asked.
        """
        known = Known(self.registry, room, looked=(room, room.beside))
        ids = [event.event_id for event in events]
        await known.load(
            each for event in events for each in (event.event_id, *event.prev_events, *event.auth_events)
        )
        known.redactions, known.late = await self.registry.db.read(_expected, room.nid, ids)
        await known.load(each for redactions in known.redactions.values() for each in redactions)
        if not past:
            placed = {event_id for event_id in ids if known.is_placed(event_id)}
            unseen = [event for event in events if event.event_id not in placed]
            known.judged = await self.registry.policy.judge(room, unseen)
        return known

    @asynccontextmanager
    async def group(self, known: Known) -> AsyncIterator["Group"]:
        """Events of the room are placed together; what they make of it is settled when the group ends."""
        group = Group(self, known)
        try:
            yield group
            await group.settle()
        finally:
            group.release()

    async def state_before(self, known: Known, event: Event) -> RoomState:
        """The state of the room in which the event was sent. Raises MissingEvents."""
        after = []
        missing = []
        for event_id in event.prev_events:
            stored = known.stored(event_id)
            state = await self.states.after(known.room, stored) if stored is not None else None
            if stored is None or state is None or stored.event.room_id != event.room_id:
                missing.append(event_id)
            else:
                after.append(state)
        if missing or not after:
            raise MissingEvents(missing)
        return await self.states.merged(known.room, after, known.events)

    def auth_events(self, known: Known, event: Event) -> list[Event]:
        missing = [event_id for event_id in event.auth_events if known.stored(event_id) is None]
        if missing:
            raise MissingEvents(missing)
        return [each for event_id in event.auth_events if (each := known.event(event_id)) is not None]

    def number(self, stored: StoredEvent | None) -> int:
        return stored.nid if stored is not None else self.registry.db.ids.event()


class Group:
    """Events of one room, placed in turn. `written`: event ID → what fires after the commit."""

    def __init__(self, placing: Placing, known: Known) -> None:
        self._placing = placing
        self._registry = placing.registry
        self.known = known
        self.written: dict[str, Deferred[Any]] = {}
        self._head: Head | None = None
        self._batch: Batch | None = None
        self._afterwards: list[Callable[[Transaction], None]] = []
        self._last: Placement | None = None
        self._holding = False
        # What kept events set since the room's state was resolved.
        self._unresolved: set[StateKey] = set()

    @property
    def tip(self) -> Head:
        """What the next event follows: that of the room, or of the events that are kept here."""
        return self._head or self.known.room.tip

    async def place(self, event: Event, *, strict: bool = False) -> None:
        """Judges the event; it is written when the group ends at the latest, unless it was known.

        `strict`: an event that enters the room through us, to be told to others; Forbidden unless all rules
        allow it. Raises MissingEvents.
        """
        known, room = self.known, self.known.room
        event = known.judged.signed.get(event.event_id, event)
        if event.event_id in room.pending:
            self.written[event.event_id] = Deferred.fromCoroutine(self._arrival(event.event_id))
            return
        await known.look_again(event.event_id)
        stored = known.stored(event.event_id)
        if stored is not None and not judgement.is_same(event, stored.event):
            refusal = "Another event is known under its ID."
            raise Forbidden(refusal) if strict else RemoteError(refusal)
        if known.is_placed(event.event_id):
            return
        auth_events = self._placing.auth_events(known, event)
        before = await self._placing.state_before(known, event)
        create = self.tip.create
        if create is None:
            raise RemoteError("The room has no create event.")
        await known.load_state(judgement.keys_of(event), before.entries, self.tip.state.entries)
        unknown_members = auth_events if room.partial else ()
        try:
            judgement.by_auth_events(event, auth_events, create)
            judgement.by_state(event, before.entries, known.event, create, unknown_members)
        except AuthError as error:
            if strict:
                raise Forbidden(str(error)) from None
            log.info("{event} rejected: {reason}", event=event, reason=error)
            self._put_aside(event, stored, before, REJECTED)
            return
        await self._place(Placement(self._registry, self._placing, known, event, stored, before, strict))

    async def settle(self) -> None:
        """Resolves what the kept events make of the room, and writes them."""
        if self._last is not None:
            await self._keep(self._last, last=True)
            self._last = None
        if self._batch is not None:
            batch, afterwards, self._batch = self._batch, self._afterwards, None

            def also(tx: Transaction, room_id: str) -> None:
                for write in afterwards:
                    write(tx)

            done = self._registry.submit(self.known.room, batch, also)
            # Each has a Deferred of its own, for each is waited for by itself.
            for event_id in batch.events:
                self.written[event_id] = _copy(done)

    def release(self) -> None:
        """Local sends go on."""
        if self._holding:
            self._holding = False
            waiting, self.known.room.held = self.known.room.held or [], None
            for waiter in waiting:
                waiter.callback(None)

    async def _place(self, placement: "Placement") -> None:
        await placement.prepare(self.tip)
        if self._last is not None:
            if self._last.event.key is not None:
                self._unresolved.add(self._last.event.key)
            if not self._unresolved.isdisjoint(judgement.keys_of(placement.event)):
                # Its own sender may have joined, or been sent away, by one of those that are kept.
                await self._keep(self._last, last=True)
                self._last = None
        refusal = self.known.judged.refused.get(placement.event.event_id)
        if refusal is not None and placement.strict:
            raise refusal
        hidden = refusal is not None or placement.redacts_in_vain(self.tip)
        if not hidden and not self._holding and placement.simply_follows(self.known.room.tip):
            self._follow(placement)
            return
        self._hold()
        await self.known.load_state(judgement.keys_of(placement.event), self.tip.state.entries)
        if hidden or not placement.is_allowed_now(self.tip):
            if placement.strict:
                raise Forbidden("The room's present state does not allow it.")
            log.info("{event} soft-failed", event=placement.event)
            self._put_aside(placement.event, placement.stored, placement.before, SOFT_FAILED)
            return
        if self._last is not None:
            await self._keep(self._last, last=False)
        # Those that come next may stand on it, though it is not written yet.
        self.known.events[placement.event.event_id] = placement.placed
        self.known.room.remember({placement.event.event_id: placement.after})
        self._last = placement

    def _follow(self, placement: "Placement") -> None:
        """The common case: at once, without waiting for anything."""
        tip, event_id = self.known.room.tip, placement.event.event_id
        append = placement.append(tip, placement.after, (event_id,), ())
        batch = Batch(
            placement.head, [append], events={event_id: placement.placed}, states={event_id: placement.after}
        )
        afterwards = placement.afterwards()
        also = None if afterwards is None else lambda tx, room_id: afterwards(tx)
        self.written[event_id] = self._registry.submit(self.known.room, batch, also)

    async def _keep(self, placement: "Placement", *, last: bool) -> None:
        """Adds it to the events that are written together; only the last one moves the room's state."""
        tip, event_id = self.tip, placement.event.event_id
        extremities, current = tip.extremities, tip.state
        changed: Sequence[Membership] = ()
        if not placement.late:
            extremities = await self._extremities(placement)
        if last:
            states = [await self._state_after(each) for each in extremities]
            current = await self._placing.states.merged(self.known.room, states, self.known.events)
            changed = await placement.changed_members(tip, current)
            self._unresolved.clear()
        append = placement.append(tip, current, extremities, changed)
        if self._batch is None:
            self._batch = Batch(placement.head)
        self._head = self._batch.head = placement.head
        self._batch.appends.append(append)
        self._batch.events[event_id] = placement.placed
        self._batch.states[event_id] = placement.after
        if (afterwards := placement.afterwards()) is not None:
            self._afterwards.append(afterwards)

    async def _extremities(self, placement: "Placement") -> tuple[str, ...]:
        """The room's extremities with this event, which comes last, unless there are too many.

        Where it stands on events outside the timeline (rejected, soft-failed, from a gap), what those stood
        on is no extremity any more either.
        """
        covered: set[str] = set()
        queue = list(placement.event.prev_events)
        while queue and len(covered) < MOST_PASSED_OVER:
            event_id = queue.pop()
            if event_id in covered:
                continue
            covered.add(event_id)
            await self.known.load([event_id])
            stored = self.known.stored(event_id)
            if stored is not None and stored.position is None:
                queue.extend(stored.event.prev_events)
        kept = [each for each in self.tip.extremities if each not in covered]
        extremities = (*kept, placement.event.event_id)
        if len(extremities) > MANY_EXTREMITIES:
            extremities = _thinned(extremities, [await self._state_after(each) for each in extremities])
        if len(extremities) > max(MOST_EXTREMITIES, len(self.tip.extremities)):
            # One branch more, each with a state of its own: nobody could go on resolving them. What this one
            # says counts as soon as an extremity stands on it.
            return self.tip.extremities
        return extremities

    async def _state_after(self, event_id: str) -> RoomState:
        await self.known.load([event_id])
        stored = self.known.stored(event_id)
        state = await self._placing.states.after(self.known.room, stored) if stored is not None else None
        if state is None:
            raise RuntimeError(f"the state after the extremity {event_id} is not known")
        return state

    def _put_aside(self, event: Event, stored: StoredEvent | None, before: RoomState, status: int) -> None:
        """Stores an event that nobody is shown."""
        room = self.known.room
        nid, after = self._placing.number(stored), before
        if status == REJECTED:
            event = Event(event.version, event.event_id, event.pdu, event.json, rejected=True)
        elif event.key is not None:
            entry = StateEntry(nid, event.event_id, event.membership)
            after, new = before.with_event(event.key, entry, self._registry.db.ids.snapshot())
            room.unsaved.append(new)
        redacted_by = stored.redacted_by if stored is not None else None
        if redacted_by is not None:
            event = redact_event(event)
        aside = StoredEvent(
            event, nid, room.nid, None, before.snapshot, after.snapshot, status, redacted_by=redacted_by
        )
        batch = Batch(
            room.tip,
            asides=[Aside(aside, known=stored is not None)],
            events={event.event_id: aside},
            states={event.event_id: after},
        )
        self.written[event.event_id] = self._registry.submit(room, batch)

    async def _arrival(self, event_id: str) -> None:
        """Returns when an event that is on its way to the database has been committed."""
        await self._registry.settled(self.known.room)
        if await self._registry.events.get(event_id) is None:
            raise RoomMovedOn

    def _hold(self) -> None:
        """Meanwhile local sends wait."""
        if not self._holding:
            self._holding = True
            self.known.room.held = []


def _copy(done: "Deferred[Any]") -> "Deferred[Any]":
    copy: Deferred[Any] = Deferred()

    def succeeded(result: Any) -> Any:
        copy.callback(None)
        return result

    def failed(failure: Failure) -> None:
        copy.errback(failure)

    done.addCallbacks(succeeded, failed)
    return copy


def _thinned(extremities: tuple[str, ...], states: Sequence[RoomState]) -> tuple[str, ...]:
    """Of many extremities those that the state rests on, and the latest.

    Whoever sends a thousand events that follow the same one would make each further event a thousand times
    dearer. An extremity after which the state is that after a later one says nothing that is not said.
    """
    surplus = len(extremities) - MANY_EXTREMITIES
    if surplus <= 0:
        return extremities
    last = {state.snapshot: event_id for event_id, state in zip(extremities, states, strict=True)}
    kept = set(last.values())
    passing = [each for each in extremities if each not in kept][:surplus]
    return tuple([each for each in extremities if each not in passing])


def _expected(tx: Transaction, room: int, event_ids: list[str]) -> tuple[dict[str, list[str]], set[str]]:
    """What is known about events before they come: redactions of them, and whether others stand on them."""
    return graph.pending_redactions(tx, event_ids), graph.which_missing(tx, room, event_ids)
