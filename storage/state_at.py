"""A few keys of the state at many events, without reading whole states.

A snapshot's chain holds nothing but event numbers. Knowing the numbers of all events that ever stood under
a key, the chain is searched for them from the tip, and no other event is looked at: asking a room of ten
thousand members for one member costs the packed numbers, not ten thousand rows.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from storage.snapshots import unpack
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
    rows = tx.all(
        "SELECT nid, event_id, position, membership, state_after, status FROM event"
        " WHERE room = ? AND type = 'm.room.member' AND state_key = ?",
        [room, user_id],
    )
    events = [
        MemberEvent(nid, event_id, position, membership or "leave", after, status == 0)
        for nid, event_id, position, membership, after, status in rows
    ]
    return sorted(events, key=lambda event: (event.position is not None, event.position or 0))


def numbers(tx: Transaction, room: int, keys: Iterable[StateKey]) -> dict[int, StateKey]:
    """The numbers of all events that ever stood under these keys."""
    by_type: dict[str, list[str]] = {}
    for type, state_key in keys:
        by_type.setdefault(type, []).append(state_key)
    found: dict[int, StateKey] = {}
    for type, state_keys in by_type.items():
        # Spelled out for members, since only then does the index of member events apply.
        condition, params = ("type = 'm.room.member'", []) if type == MEMBER else ("type = ?", [type])
        rows = tx.all(
            f"SELECT nid, state_key FROM event WHERE room = ? AND {condition}"
            f" AND state_key IS NOT NULL AND {tx.any('state_key')}",
            [room, *params, tx.array(state_keys)],
        )
        found.update((nid, (type, state_key)) for nid, state_key in rows)
    return found


def at(
    tx: Transaction, snapshots: Collection[int], candidates: Mapping[int, StateKey]
) -> dict[int, dict[StateKey, int]]:
    """For each snapshot, the event number under each of the candidates' keys (absent: no such state)."""
    wanted = frozenset(candidates) | frozenset(-number for number in candidates)
    keys = set(candidates.values())
    layers: dict[int, tuple[int | None, dict[StateKey, int | None]]] = {}

    def layer(snapshot: int) -> tuple[int | None, dict[StateKey, int | None]]:
        known = layers.get(snapshot)
        if known is None:
            row = tx.one("SELECT parent, delta FROM snapshot WHERE nid = ?", [snapshot])
            parent, delta = row if row is not None else (None, b"")
            found = wanted.intersection(unpack(bytes(delta)))
            known = layers[snapshot] = (
                parent,
                {candidates[abs(number)]: number if number > 0 else None for number in found},
            )
        return known

    result = {}
    for snapshot in snapshots:
        state: dict[StateKey, int | None] = {}
        current: int | None = snapshot
        while current is not None and len(state) < len(keys):
            current, entries = layer(current)
            for key, number in entries.items():
                state.setdefault(key, number)
        result[snapshot] = {key: number for key, number in state.items() if number is not None}
    return result
