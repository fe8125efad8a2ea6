"""One event from elsewhere that the rules allow on the state it stands on; what the room makes of it.

`placing` says when; here is what: the event's state, the head of the room after it, and what is written.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

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
from homeserver.rooms.policy import Judged
from homeserver.rooms.registry import Registry
from homeserver.rooms.room import Room
from homeserver.rooms.state import Entries, RoomState, StateEntry, StateKey
from homeserver.rooms.stripped_state import STRIPPED_KEYS
from storage import graph
from storage.database import Transaction
from storage.events import ACCEPTED, StoredEvent
from storage.memberships import Membership
from storage.rooms import Append


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
    judged: Judged = field(default_factory=Judged)
    """What the room's policy server says."""
    looked: tuple[Room, int] | None = None
    """The room, and what stood beside its timeline, when all this was read."""
    states_asked: int = 0
    """For how many events another server was asked for the state."""

    def stored(self, event_id: str) -> StoredEvent | None:
        return (
            self.room.pending.get(event_id)
            or self.registry.events.cached(event_id)
            or self.events.get(event_id)
        )

    def event(self, event_id: str) -> Event | None:
        stored = self.stored(event_id)
        return stored.event if stored is not None else None

    def is_placed(self, event_id: str) -> bool:
        """Whether an event has its place in the room's graph.

        An outlier has none, nor one from a gap, nor an invite that came when this server was not in the room.
        """
        stored = self.stored(event_id)
        if stored is None or stored.state_after is None:
            return False
        return stored.position is not None or stored.status != ACCEPTED

    def is_news(self, event_id: str) -> bool:
        """Whether an event came by itself, or nobody is shown it: no gap is before what stands on it."""
        stored = self.stored(event_id)
        return event_id in self.room.pending or (
            stored is not None and (stored.status != ACCEPTED or (stored.position or 0) > 0)
        )

    def lacks_place(self, event_id: str) -> bool:
        """Whether an event is still to be fetched, or to be given its place."""
        return event_id not in self.room.pending and not self.is_placed(event_id)

    async def load(self, event_ids: Iterable[str]) -> None:
        missing = {event_id for event_id in event_ids if self.stored(event_id) is None}
        if missing:
            self.events.update(await self.registry.events.many(missing))

    async def load_state(self, keys: Iterable[StateKey], *states: Entries) -> None:
        wanted = {entry.event_id for key in keys for state in states if (entry := state.get(key)) is not None}
        await self.load(wanted)


    async def start_over(self, room: Room, events: Iterable[Event]) -> None:
        """The room was loaded afresh. What was on its way to the database then may never have got there."""
        self.room = room
        self.events.clear()
        await self.load(
            each for event in events for each in (event.event_id, *event.prev_events, *event.auth_events)
        )
        await self.load(each for redactions in self.redactions.values() for each in redactions)

    async def look_again(self, event_id: str) -> None:
        """Has at hand what was stored about the event since, while others were placed or fetched."""
        if self.looked != (self.room, self.room.beside):
            await self.load([event_id])
            self.late |= await self.registry.db.read(graph.which_missing, self.room.nid, [event_id])


class Numbers(Protocol):
    def number(self, stored: StoredEvent | None) -> int:
        """Of the event's row: the one it has as an outlier, or a new one."""
        ...


class Placement:
    """`late`: something known stands on the event, so its part in the room's state is played."""

    def __init__(
        self,
        registry: Registry,
        numbers: Numbers,
        known: Known,
        event: Event,
        stored: StoredEvent | None,
        before: RoomState,
        strict: bool,
    ) -> None:
        self._registry = registry
        self._own = registry.identity.server_name
        self._known = known
        self._room = known.room
        self._number = numbers.number(stored)
        self.event = event
        self.stored = stored
        self.before = before
        self.strict = strict
        self.late = event.event_id in known.late
        self.head: Head = known.room.tip
        """After `append`: the room's."""

    async def prepare(self, tip: Head) -> None:
        """Has at hand what the rest looks at, which waits for nothing; makes `placed` and `after`."""
        event = self.event
        keys: list[StateKey] = [POWER_LEVELS]
        if event.type == MEMBER and event.membership in ("invite", "knock"):
            keys += [*STRIPPED_KEYS, (MEMBER, event.sender)]
        await self._known.load_state(keys, self.before.entries, tip.state.entries)
        if event.redacts is not None:
            await self._known.load([event.redacts])
        await self._known.load(self._redactions())
        redacted_by = self._redacted_by(tip)
        if redacted_by is not None:
            event = self.event = redact_event(event)
        self.after, self._new_snapshot = self.before, None
        replaced = None
        if event.key is not None:
            replaced = self.before.entries.get(event.key)
            entry = StateEntry(self._number, event.event_id, event.membership)
            snapshot = self._registry.db.ids.snapshot()
            self.after, self._new_snapshot = self.before.with_event(event.key, entry, snapshot)
        self.placed = StoredEvent(
            event,
            self._number,
            self._room.nid,
            self.stored.position if self.stored is not None else None,
            self.before.snapshot,
            self.after.snapshot,
            replaces=replaced.event_id if replaced is not None else None,
            redacted_by=redacted_by,
        )

    def simply_follows(self, tip: Head) -> bool:
        """Whether the room is then in the state after this event, with no other fork left."""
        return (
            not self.late
            and self.before.snapshot == tip.state.snapshot
            and set(tip.extremities) <= set(self.event.prev_events)
        )

    def is_allowed_now(self, tip: Head) -> bool:
        """By the room's current state: if not, it is soft-failed. The state's events must be at hand."""
        if tip.create is None or self.before.snapshot == tip.state.snapshot:
            return True
        unknown: Sequence[Event] = ()
        if self._room.partial:
            found = map(self._known.event, self.event.auth_events)
            unknown = [each for each in found if each is not None]
        try:
            judgement.by_state(self.event, tip.state.entries, self._known.event, tip.create, unknown)
        except AuthError:
            return False
        return True

    async def changed_members(self, tip: Head, current: RoomState) -> list[Membership]:
        """The memberships that become others, besides the event's own."""
        was = tip.state.entries
        if current.snapshot == tip.state.snapshot:
            return []
        delta = current.changes_since(tip.state)
        await self._known.load(entry.event_id for entry in delta.values() if entry is not None)
        changed = []
        for (type, user_id), entry in delta.items():
            if type != MEMBER or (entry is not None and entry.event_id == self.event.event_id):
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

    def append(
        self, tip: Head, current: RoomState, extremities: tuple[str, ...], changed: Sequence[Membership]
    ) -> Append:
        """What is written: the event on top of `tip`, with which the room comes into the state `current`."""
        placed, room = self.placed, self._room
        head = self._head_after(tip, current, extremities)
        if current.snapshot != self.after.snapshot or self.before.snapshot != tip.state.snapshot:
            placed.room_state = current.snapshot
        membership = self._membership(tip, current)
        redacted = self._redacts(tip)
        if redacted is not None:
            head = self._without(head, redacted)
        self.head = head
        placed.notify, placed.thread, push = self._registry.outcomes(self.event, head)
        if placed.redacted_by is not None:
            placed.notify, push = 0, ()
        come, gone = servers_changed(tip.servers, head.servers, self._own)
        outgoing = self.strict and (is_shared(tip.servers, self._own) or is_shared(head.servers, self._own))
        redacts = (redacted.event_id, redact_event(redacted).json) if redacted is not None else None
        rows = [membership, *changed] if membership is not None else list(changed)
        return Append(
            stored=placed,
            room_id=room.room_id,
            version=room.version.id,
            snapshot=head.state.snapshot,
            depth=head.depth,
            extremities=head.extremities,
            new_snapshots=(self._new_snapshot,) if self._new_snapshot is not None else (),
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
                after_gap=not all(map(self._known.is_news, self.event.prev_events)),
            ),
            outgoing=outgoing,
            servers_in=come,
            servers_out=gone,
            known=self.stored is not None,
        )

    def afterwards(self) -> Callable[[Transaction], None] | None:
        """What redactions leave to be remembered, or to be forgotten."""
        event, room = self.event, self._room.nid
        waits = event.redacts if event.redacts and self._known.stored(event.redacts) is None else None
        came = bool(self._redactions())
        if event.redacts is not None:
            self._registry.events.expect_redaction(event.redacts, event.event_id)
        if waits is None and not (came or self.late):
            return None

        def write(tx: Transaction) -> None:
            if waits is not None:
                graph.add_pending_redaction(tx, waits, event.event_id)
            if came:
                graph.forget_pending_redactions(tx, event.event_id)
            if self.late:
                graph.forget_missing(tx, room, [event.event_id])

        return write

    # how it is done

    def _head_after(self, tip: Head, current: RoomState, extremities: tuple[str, ...]) -> Head:
        head = replace(tip, state=current, extremities=extremities, depth=max(tip.depth, self.event.depth))
        if current.snapshot == tip.state.snapshot:
            return head
        key, was = self.event.key, tip.state.entries
        if key is not None and self.simply_follows(tip):
            delta: Mapping[StateKey, StateEntry | None] = {key: current.entries[key]}
        else:
            delta = current.changes_since(tip.state)
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

    def _membership(self, tip: Head, current: RoomState) -> Membership | None:
        """The row of this member event, if it comes to stand in the room's state."""
        event = self.event
        if event.type != MEMBER or event.key is None:
            return None
        entry, before = current.entries.get(event.key), tip.state.entries.get(event.key)
        if entry is None or entry.event_id != event.event_id:
            return None
        if before is not None and before.event_id == event.event_id:
            return None
        previous = before.membership if before is not None else None
        return membership_row(event, previous, self._state_event(current.entries))

    def _state_event(self, entries: Entries) -> Callable[[StateKey], Event | None]:
        def find(key: StateKey) -> Event | None:
            entry = entries.get(key)
            if entry is None:
                return None
            if entry.event_id == self.event.event_id:
                return self.event
            return self._known.event(entry.event_id)

        return find

    def _redacts(self, tip: Head) -> Event | None:
        """The event that this one redacts, if it takes effect now."""
        event = self.event
        target = self._known.stored(event.redacts) if event.redacts is not None else None
        if target is None or tip.create is None or target.redacted_by is not None:
            return None
        if judgement.may_redact(event, target.event, self.before.entries, self._known.event, tip.create):
            return target.event
        return None

    def redacts_in_vain(self, tip: Head) -> bool:
        """Whether it redacts what its sender may not. Clients that were told would hide the other event.

        https://spec.matrix.org/v1.19/rooms/v3/#handling-redactions
        """
        target = self._known.stored(self.event.redacts) if self.event.redacts is not None else None
        if target is None or tip.create is None:
            return False
        entries, lookup = self.before.entries, self._known.event
        return not judgement.may_redact(self.event, target.event, entries, lookup, tip.create)

    def _redacted_by(self, tip: Head) -> str | None:
        """The redaction of this event that came before it and may take effect."""
        if self.stored is not None and self.stored.redacted_by is not None:
            return self.stored.redacted_by
        for redaction_id in self._redactions():
            redaction = self._known.event(redaction_id)
            if redaction is None or tip.create is None:
                continue
            if judgement.may_redact(
                redaction, self.event, tip.state.entries, self._known.event, tip.create
            ):
                return redaction_id
        return None

    def _redactions(self) -> list[str]:
        """Those that wait for this event, also where their commit is under way still."""
        event_id = self.event.event_id
        waiting = self._known.redactions.get(event_id, ())
        return list(dict.fromkeys([*waiting, *self._registry.events.expected_redactions(event_id)]))

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
