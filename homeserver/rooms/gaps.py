"""What an event from elsewhere refers to and this server lacks: fetched, judged, and the gap noted.

https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events

First the sender is asked for the events between what is known and what came. If that does not bridge the
gap, it is asked for the state before each event that stays missing: with that, the event can be judged, and
what lies further back is left to whoever scrolls there (`missing_event`).

Asking may take long, so it is done outside the room's turn: nobody else's events wait for it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from homeserver.errors import RemoteError
from homeserver.protocol.auth_rules import AuthError
from homeserver.protocol.events import Event
from homeserver.protocol.redaction import redact_event
from homeserver.rooms import judgement
from homeserver.rooms.head import CREATE
from homeserver.rooms.outliers import Outliers
from homeserver.rooms.placement import Known
from homeserver.rooms.registry import Registry
from homeserver.rooms.remote import RemoteRooms
from homeserver.rooms.room import Batch, Room
from homeserver.rooms.state import StateEntry, StateKey
from homeserver.rooms.turns import Turns
from storage import events as event_rows
from storage import graph
from storage.database import Transaction
from storage.events import ACCEPTED, REJECTED, Aside, StoredEvent

MOST_FETCHED = 20
MOST_QUESTIONS = 5
# With more state missing than this, all of it is asked for at once instead of one by one.
FEW_EVENTS = 40
MOST_STATE = 200_000
# For all that came at once: who sends twenty events, each on twenty that nobody knows, has us ask no more.
MOST_MISSING = 20


class Gaps:
    def __init__(self, registry: Registry, remote: RemoteRooms, outliers: Outliers, turns: Turns) -> None:
        self._registry = registry
        self._remote = remote
        self._outliers = outliers
        self._turns = turns

    async def earlier_events(self, origin: str, room: Room, event: Event) -> list[Event]:
        """The unknown events that this one stands on, causes first. Raises RemoteError.

        Other servers go on beyond what we know, and into history that nobody here has asked for yet. One that
        could not reach us for a while tells its last event only: the rest is worth some more questions.
        """
        unknown: dict[str, Event] = {}
        needed: dict[str, Event] = {}
        latest = [event.event_id]
        for _ in range(MOST_QUESTIONS):
            found = await self._remote.missing_events(
                origin,
                room.room_id,
                room.version,
                earliest=room.tip.extremities,
                latest=latest,
                limit=MOST_FETCHED,
                min_depth=0,
            )
            new = {each.event_id: each for each in found if each.event_id not in unknown}
            for event_id in await self._with_state(new):
                del new[event_id]
            unknown |= new
            needed = _needed(event, unknown)
            beyond = {prev for each in needed.values() for prev in each.prev_events} - needed.keys()
            beyond -= await self._with_state(beyond)
            latest = [each.event_id for each in needed.values() if not beyond.isdisjoint(each.prev_events)]
            if not new or not latest or len(found) < MOST_FETCHED:
                break
        return causes_first(needed)

    async def _with_state(self, event_ids: Collection[str]) -> set[str]:
        """Those of these events that are known with their state."""
        known = await self._registry.events.many(list(event_ids))
        return {event_id for event_id, stored in known.items() if stored.state_after is not None}

    async def auth_events(self, origin: str, room: Room, event: Event) -> None:
        """Has the event's authorisation events, and theirs, stored as outliers. Raises RemoteError."""
        missing = await self._unknown(event.auth_events)
        if not missing:
            return
        chain = await self._remote.event_auth(origin, room.room_id, room.version, event.event_id)
        async with self._turns.of(room.room_id):
            await self._outliers.add(room.nid, room.room_id, chain)
            room.beside += 1
        missing = await self._unknown(event.auth_events)
        if missing:
            raise RemoteError(f"{origin} does not know what authorises its own event.")

    async def state_at(self, origin: str, known: Known, missing: Sequence[str]) -> None:
        """Stores these events, from beyond a gap, with the state they stand on. Raises RemoteError."""
        room = known.room
        known.states_asked += len(missing)
        if known.states_asked > MOST_MISSING:
            raise RemoteError("Too many previous events are missing.")
        found = await self._remote.events(origin, room.room_id, room.version, missing)
        for event_id in missing:
            event = found.get(event_id)
            if event is None:
                raise RemoteError(f"{origin} does not know the event {event_id}.")
            await self.auth_events(origin, room, event)
            entries = await self.state_before(origin, room, event)
            async with self._turns.of(room.room_id):
                await self._store(known, event, entries)

    async def state_before(
        self, origin: str, room: Room, event: Event
    ) -> Mapping[StateKey, StateEntry]:
        """The state before an event as the server tells, with all of it stored. Raises RemoteError."""
        state_ids, chain_ids = await self._remote.state_ids(origin, room.room_id, event.event_id)
        if len(state_ids) > MOST_STATE or len(chain_ids) > MOST_STATE:
            raise RemoteError(f"{origin} names too much state.")
        # Maybe tens of thousands of events; nobody here has to know more of them than where they stand.
        db = self._registry.db
        there = await db.read(event_rows.which_known, [*state_ids, *chain_ids])
        if not there.issuperset(state_ids):
            wanted = {*state_ids, *chain_ids} - there
            if len(wanted) > FEW_EVENTS:
                state, chain = await self._remote.state(
                    origin, room.room_id, room.version, event.event_id
                )
                fetched = [*state, *chain]
            else:
                few = await self._remote.events(origin, room.room_id, room.version, wanted)
                fetched = list(few.values())
            async with self._turns.of(room.room_id):
                await self._outliers.add(room.nid, room.room_id, fetched)
                room.beside += 1
        entries = await db.read(_entries, origin, room.nid, state_ids)
        if room.tip.create is None or entries[CREATE].event_id != room.tip.create.event_id:
            raise RemoteError(f"{origin} names a state that another event created.")
        return entries

    async def _store(self, known: Known, event: Event, entries: Mapping[StateKey, StateEntry]) -> None:
        """Beside the timeline, with its state, so that what stands on it has one."""
        room = known.room
        ids = self._registry.db.ids
        before, new = room.tip.state.changed_to(entries, ids.snapshot())
        if new is not None:
            room.unsaved.append(new)
        await known.load([event.event_id, *event.auth_events])
        await known.load_state(judgement.keys_of(event), entries)
        await known.look_again(event.event_id)
        stored = known.stored(event.event_id)
        if stored is not None and not judgement.is_same(event, stored.event):
            raise RemoteError(f"Another event is known as {event.event_id}.")
        if stored is not None and stored.state_before is not None:
            return
        nid = stored.nid if stored is not None else ids.event()
        status, after = ACCEPTED, before
        auth_events = [each for auth_id in event.auth_events if (each := known.event(auth_id)) is not None]
        create = room.tip.create
        if create is None:
            raise RemoteError("The room has no create event.")
        try:
            judgement.by_auth_events(event, auth_events, create)
            judgement.by_state(event, entries, known.event, create)
        except AuthError:
            status = REJECTED
            event = Event(event.version, event.event_id, event.pdu, event.json, rejected=True)
        if status == ACCEPTED and event.key is not None:
            entry = StateEntry(nid, event.event_id, event.membership)
            after, snapshot = before.with_event(event.key, entry, ids.snapshot())
            room.unsaved.append(snapshot)
        position = stored.position if stored is not None else None
        redacted_by = stored.redacted_by if stored is not None else None
        if redacted_by is not None:
            event = redact_event(event)
        aside = StoredEvent(
            event, nid, room.nid, position, before.snapshot, after.snapshot, status, redacted_by=redacted_by
        )
        known.late.add(event.event_id)
        batch = Batch(
            room.tip,
            asides=[Aside(aside, known=stored is not None)],
            events={event.event_id: aside},
            states={event.event_id: after},
        )
        written = self._registry.submit(room, batch)
        await known.load(event.prev_events)
        before_it = [each for each in event.prev_events if known.lacks_place(each)]
        await self._registry.db.write(_note_gap, room.nid, event, before_it)
        room.beside += 1
        await written

    async def _unknown(self, event_ids: Collection[str]) -> list[str]:
        found = await self._registry.events.many(event_ids)
        return [event_id for event_id in event_ids if event_id not in found]


def _needed(event: Event, unknown: Mapping[str, Event]) -> dict[str, Event]:
    """Those of the unknown events that this one stands on."""
    needed: dict[str, Event] = {}
    queue = list(event.prev_events)
    while queue:
        each = unknown.get(queue.pop())
        if each is not None and each.event_id not in needed:
            needed[each.event_id] = each
            queue.extend(each.prev_events)
    return needed


def causes_first(events: Mapping[str, Event]) -> list[Event]:
    """Each event after those of its previous events that are among them. Depths may lie."""
    ordered: dict[str, Event] = {}
    visited: set[str] = set()
    stack = list(events)
    while stack:
        event_id = stack[-1]
        event = events.get(event_id)
        if event is None or event_id in ordered:
            stack.pop()
        elif event_id in visited:
            ordered[event_id] = event
            stack.pop()
        else:
            visited.add(event_id)
            stack.extend(each for each in event.prev_events if each not in visited)
    return list(ordered.values())


def _note_gap(tx: Transaction, room: int, event: Event, before_it: Collection[str]) -> None:
    graph.add_missing(tx, room, [event.event_id], min(event.depth + 1, event.version.max_depth))
    graph.add_missing(tx, room, before_it, event.depth)


def _entries(
    tx: Transaction, origin: str, room: int, event_ids: Sequence[str]
) -> dict[StateKey, StateEntry]:
    return _by_key(origin, event_rows.state_entries(tx, room, event_ids))


def entries_of(
    origin: str, room_id: str, stored: Iterable[StoredEvent]
) -> dict[StateKey, StateEntry]:
    """A room state out of its events; rejected ones are left out.

    Raises RemoteError where two events stand under one key, or nothing created the room.
    """
    return _by_key(
        origin,
        [
            (event.key, StateEntry(each.nid, event.event_id, event.membership))
            for each in stored
            if (event := each.event).key is not None
            and each.status != REJECTED
            and event.room_id == room_id
        ],
    )


def _by_key(origin: str, found: Iterable[tuple[StateKey, StateEntry]]) -> dict[StateKey, StateEntry]:
    entries: dict[StateKey, StateEntry] = {}
    for key, entry in found:
        if key in entries:
            raise RemoteError(f"{origin} names two events for {key}.")
        entries[key] = entry
    if CREATE not in entries:
        raise RemoteError(f"{origin} names a state without a create event.")
    return entries

