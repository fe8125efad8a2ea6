"""What sync reads from the database beyond what the other tables offer: one user's part of a room.

All positions are in the stream; "since < position <= upto" throughout.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from storage import snapshots, state_at
from storage.events import Known, StoredEvent, select, those
from storage.state_at import MemberEvent, StateKey
from storage.transaction import Transaction


def own_memberships(
    tx: Transaction, user_id: str, room_ids: Collection[str], upto: int
) -> dict[str, list[MemberEvent]]:
    """The user's accepted membership events up to a position, by room ID, in the order of the stream."""
    if not room_ids:
        return {}
    rows = tx.all(f"SELECT nid, room_id FROM room WHERE {tx.any('room_id')}", [tx.array(room_ids)])
    return {
        room_id: [
            event
            for event in state_at.member_events(tx, nid, user_id)
            if event.accepted and event.position is not None and event.position <= upto
        ]
        for nid, room_id in rows
    }


class Stretch(NamedTuple):
    """Events of a room in the order of the stream; `complete` if none before them was left out."""

    events: list[StoredEvent]
    complete: bool


def stretch(tx: Transaction, room: int, since: int, upto: int, limit: int) -> Stretch:
    """The last `limit` accepted events of a room."""
    events = select(
        tx,
        "WHERE e.room = ? AND e.position > ? AND e.position <= ? AND e.status = 0"
        " ORDER BY e.position DESC LIMIT ?",
        [room, since, upto, limit + 1],
    )
    complete = len(events) <= limit
    events = events[:limit]
    events.reverse()
    return Stretch(events, complete)


def last_stretches(
    tx: Transaction, rooms: Collection[int], upto: int, limit: int, known: Known
) -> dict[int, Stretch]:
    """The same for many rooms, from their beginnings on, in one statement."""
    if not rooms:
        return {}
    one = (
        "SELECT * FROM (SELECT nid, event_id, position, room FROM event"
        " WHERE room = ? AND position > 0 AND position <= ? AND status = 0"
        " ORDER BY position DESC LIMIT ?) AS e"
    )
    params = [value for room in rooms for value in (room, upto, limit + 1)]
    rows = tx.all(" UNION ALL ".join([one] * len(rooms)), params)
    rows.sort(key=lambda row: row[2])
    found: dict[int, list[StoredEvent]] = {room: [] for room in rooms}
    for stored in those(tx, known, [row[:3] for row in rows]):
        found[stored.room].append(stored)
    return {room: Stretch(events[-limit:], len(events) <= limit) for room, events in found.items()}


def state_events(tx: Transaction, room: int, since: int, before: int) -> list[StoredEvent]:
    """The last event of each piece of state that changed in since < position < before."""
    events = select(
        tx,
        "WHERE e.room = ? AND e.position > ? AND e.position < ? AND e.status = 0"
        " AND e.state_key IS NOT NULL ORDER BY e.position",
        [room, since, before],
    )
    latest = {stored.event.key: stored for stored in events}
    return list(latest.values())


def forked(tx: Transaction, room: int, since: int, upto: int) -> bool:
    """Whether the room's state changed otherwise than by one event after another."""
    sql = (
        "SELECT 1 FROM event WHERE room = ? AND position > ? AND position <= ?"
        " AND room_state IS NOT NULL LIMIT 1"
    )
    return tx.one(sql, [room, since, upto]) is not None


def changed_state(tx: Transaction, room: int, since: int, upto: int) -> list[StoredEvent]:
    """What stands in the room's state at `upto` and did not at `since`, however it came to stand there."""
    before, after = _room_state(tx, room, since), _room_state(tx, room, upto)
    if after is None or before == after:
        return []
    keys = snapshots.keys_apart(tx, before, after)
    candidates = state_at.numbers(tx, room, keys)
    states = state_at.at(tx, [each for each in (before, after) if each is not None], candidates)
    was = states[before] if before is not None else {}
    changed = [number for key, number in states[after].items() if was.get(key) != number]
    return select(tx, f"WHERE {tx.any('e.nid')} ORDER BY e.nid", [tx.array(changed)])


def standing(tx: Transaction, room: int, position: int, keys: Collection[StateKey]) -> dict[StateKey, int]:
    """The numbers of the events that stand under these keys in the room's state at a position."""
    snapshot = _room_state(tx, room, position)
    if snapshot is None:
        return {}
    return state_at.at(tx, [snapshot], state_at.numbers(tx, room, keys))[snapshot]


def _room_state(tx: Transaction, room: int, position: int) -> int | None:
    snapshot: int | None = tx.value(
        "SELECT coalesce(room_state, state_after) FROM event WHERE room = ? AND position <= ?"
        " AND position > 0 AND status = 0 AND state_after IS NOT NULL ORDER BY position DESC LIMIT 1",
        [room, position],
    )
    return snapshot


def position_of_event(tx: Transaction, room_ids: Collection[str], since: int, count: int) -> int | None:
    """The position of the `count`th event after `since` in these rooms together; None if there are fewer."""
    if not room_ids:
        return None
    position: int | None = tx.value(
        f"SELECT position FROM event WHERE room IN (SELECT nid FROM room WHERE {tx.any('room_id')})"
        " AND position > ? AND status = 0 ORDER BY position LIMIT 1 OFFSET ?",
        [tx.array(room_ids), since, count - 1],
    )
    return position


def room_numbers(tx: Transaction, room_ids: Sequence[str]) -> dict[str, int]:
    return dict(tx.all(f"SELECT room_id, nid FROM room WHERE {tx.any('room_id')}", [tx.array(room_ids)]))
