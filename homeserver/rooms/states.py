"""The state of a room after any of its events, and one state out of several.

https://spec.matrix.org/v1.19/server-server-api/#room-state-resolution

The states after a room's last events are in memory (`Room.states`), older ones are read from their
snapshots. Two states are the same if they have the same snapshot, so most forks, in which nobody changed
the state, need no resolution. Where it is needed it runs on a reader's thread, and what came out is
remembered for the next event on the same fork.
"""

import time
from collections.abc import Collection, Mapping, Sequence

from twisted.logger import Logger

from homeserver.protocol import state_resolution
from homeserver.protocol.events import Event
from homeserver.protocol.room_versions import RoomVersion
from homeserver.rooms.room import Room
from homeserver.rooms.state import EMPTY, RoomState, StateEntry, StateKey
from storage import events as event_rows
from storage import snapshots
from storage.database import Database, Transaction
from storage.events import StoredEvent

log = Logger()

REMEMBERED_RESOLUTIONS = 16
NOTHING: Mapping[str, StoredEvent] = {}


class States:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def after(self, room: Room, stored: StoredEvent) -> RoomState | None:
        """The state after an event; None for an outlier."""
        known = room.states.get(stored.event_id)
        if known is not None or stored.state_after is None:
            return known
        state = await self.of_snapshot(room, stored.state_after)
        room.remember({stored.event_id: state})
        return state

    async def of_snapshot(self, room: Room, snapshot: int) -> RoomState:
        if room.tip.state.snapshot == snapshot:
            return room.tip.state
        for state in room.states.values():
            if state.snapshot == snapshot:
                return state
        layers = await self._db.read(snapshots.layers, snapshot)
        if not layers:
            raise RuntimeError(f"the state {snapshot} of {room.room_id} is not in the database")
        return RoomState.from_layers(layers)

    async def merged(
        self, room: Room, states: Sequence[RoomState], at_hand: Mapping[str, StoredEvent] = NOTHING
    ) -> RoomState:
        """The one state that these resolve to. A new one goes into `room.unsaved`, for the next write.

        `at_hand`: events by ID, some of which may be written nowhere yet.
        """
        distinct = {state.snapshot: state for state in states}
        if len(distinct) == 1:
            return next(iter(distinct.values()))
        if not distinct:
            return EMPTY
        key = frozenset(distinct)
        known = room.resolved.get(key)
        if known is not None:
            return known
        pending = {**at_hand, **room.pending}
        state_sets = [state.entries for state in distinct.values()]
        base = distinct.get(room.tip.state.snapshot) or next(iter(distinct.values()))
        started = time.perf_counter()
        delta = await self._db.read(_resolve, room.version, state_sets, base.entries, pending)
        merged, new = base.changed_by(delta, self._db.ids.snapshot())
        if new is not None:
            room.unsaved.append(new)
        log.info(
            "{room}: {count} states of up to {size} entries resolved in {ms} ms: of {given} came {result}",
            room=room.room_id,
            count=len(distinct),
            size=max(map(len, state_sets)),
            ms=round((time.perf_counter() - started) * 1000),
            given=sorted(snapshot or 0 for snapshot in distinct),
            result=merged.snapshot,
        )
        if len(room.resolved) >= REMEMBERED_RESOLUTIONS:
            del room.resolved[next(iter(room.resolved))]
        room.resolved[key] = merged
        return merged


def _resolve(
    tx: Transaction,
    version: RoomVersion,
    state_sets: Sequence[Mapping[StateKey, StateEntry]],
    base: Mapping[StateKey, StateEntry],
    pending: Mapping[str, StoredEvent],
) -> dict[StateKey, StateEntry | None]:
    """What the resolved state has else than `base`; None for what it lacks."""
    entries = {entry.event_id: entry for state in state_sets for entry in state.values()}

    def fetch(event_ids: Collection[str]) -> Mapping[str, Event]:
        found = {event_id: pending[event_id] for event_id in event_ids if event_id in pending}
        missing = [event_id for event_id in event_ids if event_id not in found]
        if missing:
            found.update(event_rows.by_id(tx, missing))
        for event_id, stored in found.items():
            if event_id not in entries:
                entries[event_id] = StateEntry(stored.nid, event_id, stored.event.membership)
        return {event_id: stored.event for event_id, stored in found.items()}

    ids = [{key: entry.event_id for key, entry in state.items()} for state in state_sets]
    resolved = state_resolution.resolve(version, ids, fetch)
    delta: dict[StateKey, StateEntry | None] = {}
    for key, event_id in resolved.items():
        known = base.get(key)
        if event_id in entries and (known is None or known.event_id != event_id):
            delta[key] = entries[event_id]
    delta.update((key, None) for key in base if key not in resolved)
    return delta
