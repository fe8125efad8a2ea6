"""A few keys of the state at many events, without reading whole states.

A snapshot's chain holds nothing but event numbers. Knowing the numbers of all events that ever stood under
a key, the chain is searched for them from the tip, and no other event is looked at: asking a room of ten
thousand members for one member costs the packed numbers, not ten thousand rows.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from storage.snapshots import StateEntry, unpack
from storage.transaction import Transaction

StateKey = tuple[str, str]
MEMBER = "m.room.member"


class MemberEvent(NamedTuple):
    """One of a user's membership events in a room; outliers have no position."""

    nid: int
    event_id: str
    position: int | None
    membership: str
    state_after: int | None
    accepted: bool


def member_events(tx: Transaction, room: int, user_id: str) -> list[MemberEvent]:
    """Every membership event of a user in a room, in the order of arrival, outliers first."""
    return member_events_in(tx, [room], user_id)[room]


def member_events_in(tx: Transaction, rooms: Collection[int], user_id: str) -> dict[int, list[MemberEvent]]:
    """The same for many rooms."""
    rows = tx.all(
        "SELECT room, nid, event_id, position, membership, state_after, status FROM event"
        f" WHERE {tx.any('room')} AND type = 'm.room.member' AND state_key = ?",
        [tx.array(rooms), user_id],
    )
    found: dict[int, list[MemberEvent]] = {room: [] for room in rooms}
    for room, nid, event_id, position, membership, after, status in rows:
        event = MemberEvent(nid, event_id, position, membership or "leave", after, status == 0)
        found[room].append(event)
    for events in found.values():
        events.sort(key=lambda event: (event.position is not None, event.position or 0))
    return found


def numbers(tx: Transaction, room: int, keys: Iterable[StateKey]) -> dict[int, StateKey]:
    """The numbers of all events that ever stood under these keys."""
    by_type: dict[str, list[str]] = {}
    for type, state_key in keys:
        by_type.setdefault(type, []).append(state_key)
    found: dict[int, StateKey] = {}
    for type, state_keys in by_type.items():
        # In the words of the index of member events, and of the index of state: only so do they apply.
        condition, params = "type = ? AND state_key IS NOT NULL", [type]
        if type == MEMBER:
            condition, params = "type = 'm.room.member'", []
        rows = tx.all(
            f"SELECT nid, state_key FROM event WHERE room = ? AND {condition} AND {tx.any('state_key')}",
            [room, *params, tx.array(state_keys)],
        )
        found.update((nid, (type, state_key)) for nid, state_key in rows)
    return found


def numbers_in(tx: Transaction, rooms: Collection[int], types: Collection[str]) -> dict[int, StateKey]:
    """The numbers of all events that ever stood under (type, "") in any of these rooms."""
    rows = tx.all(
        f"SELECT nid, type FROM event WHERE {tx.any('room')} AND {tx.any('type')} AND state_key = ''",
        [tx.array(rooms), tx.array(types)],
    )
    return {nid: (type, "") for nid, type in rows}


def at(
    tx: Transaction, snapshots: Collection[int], candidates: Mapping[int, StateKey]
) -> dict[int, dict[StateKey, int]]:
    """For each snapshot, the event number under each of the candidates' keys (absent: no such state)."""
    wanted = frozenset(candidates) | frozenset(-number for number in candidates)
    key_count = len(set(candidates.values()))
    layers: dict[int, tuple[int | None, dict[StateKey, int | None]]] = {}
    states: dict[int, dict[StateKey, int | None]] = {snapshot: {} for snapshot in snapshots}
    # All chains are walked at once, one layer a round; most share their lower layers.
    walking = {snapshot: snapshot for snapshot in states}
    while walking:
        missing = set(walking.values()) - layers.keys()
        if missing:
            sql = f"SELECT nid, parent, delta FROM snapshot WHERE {tx.any('nid')}"
            for nid, parent, delta in tx.all(sql, [tx.array(missing)]):
                found = wanted.intersection(unpack(bytes(delta)))
                layers[nid] = (
                    parent,
                    {candidates[abs(number)]: number if number > 0 else None for number in found},
                )
        further = {}
        for snapshot, current in walking.items():
            parent, entries = layers.get(current, (None, {}))
            state = states[snapshot]
            for key, number in entries.items():
                state.setdefault(key, number)
            if parent is not None and len(state) < key_count:
                further[snapshot] = parent
        walking = further
    return {
        snapshot: {key: number for key, number in state.items() if number is not None}
        for snapshot, state in states.items()
    }


def entries(
    tx: Transaction, room: int, snapshot: int, keys: Collection[StateKey]
) -> dict[StateKey, StateEntry]:
    """The same for one state, with what a state map holds."""
    found = at(tx, [snapshot], numbers(tx, room, keys))[snapshot]
    rows = tx.all(
        f"SELECT nid, event_id, membership FROM event WHERE {tx.any('nid')}", [tx.array(found.values())]
    )
    known = {nid: StateEntry(nid, event_id, membership) for nid, event_id, membership in rows}
    return {key: known[number] for key, number in found.items()}
