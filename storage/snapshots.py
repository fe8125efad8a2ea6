"""Room states in the database: deltas on a parent, packed as event numbers.

`read` follows the chain of parents; the nearest delta wins. See `homeserver.rooms.state` for how chains are
kept short.
"""

import struct
from collections.abc import Collection, Iterable
from typing import NamedTuple

from storage.transaction import Transaction


class StateEntry(NamedTuple):
    """A state event as the state maps hold it. `membership` is None but for m.room.member."""

    nid: int
    event_id: str
    membership: str | None


class Layer(NamedTuple):
    """One snapshot's own part: what it sets, and what it takes away (None)."""

    snapshot: int
    entries: dict[tuple[str, str], StateEntry | None]


def pack(numbers: Collection[int]) -> bytes:
    return struct.pack(f">{len(numbers)}q", *numbers)


def unpack(delta: bytes) -> tuple[int, ...]:
    return struct.unpack(f">{len(delta) // 8}q", delta)


def add(tx: Transaction, snapshot: int, room: int, parent: int | None, delta: bytes) -> None:
    tx.buffer("snapshot", ("nid", "room", "parent", "delta"), (snapshot, room, parent, delta))


def layers(tx: Transaction, snapshot: int) -> list[Layer]:
    """The chain of a snapshot, oldest layer first."""
    deltas = _chain(tx, snapshot)
    keys = _keys(tx, {abs(number) for _, delta in deltas for number in delta})
    result = []
    for nid, delta in deltas:
        entries: dict[tuple[str, str], StateEntry | None] = {}
        for number in delta:
            key, entry = keys[abs(number)]
            entries[key] = entry if number > 0 else None
        result.append(Layer(nid, entries))
    return result


def add_to_roots(tx: Transaction, room: int, first: int, numbers: Collection[int]) -> None:
    """Adds state events to the bottom layers of a room's states from the snapshot `first` on.

    What a layer says itself of the same key stays.
    """
    keys = _keys(tx, numbers)
    rows = tx.all(
        "SELECT nid, delta FROM snapshot WHERE room = ? AND nid >= ? AND parent IS NULL", [room, first]
    )
    for nid, delta in rows:
        own = unpack(bytes(delta))
        taken = {key for key, _ in _keys(tx, {abs(number) for number in own}).values()}
        added = [number for number in numbers if number in keys and keys[number][0] not in taken]
        tx.execute("UPDATE snapshot SET delta = ? WHERE nid = ?", [pack([*own, *added]), nid])


def keys_apart(tx: Transaction, one: int | None, other: int | None) -> set[tuple[str, str]]:
    """The keys under which two states may differ: those that the layers they do not share speak of."""
    chains = [dict(_chain(tx, each)) if each is not None else {} for each in (one, other)]
    apart = chains[0].keys() ^ chains[1].keys()
    deltas = [chain[nid] for chain in chains for nid in chain if nid in apart]
    keys = _keys(tx, {abs(number) for delta in deltas for number in delta})
    return {key for key, _ in keys.values()}


def merged(parts: Iterable[Layer]) -> dict[tuple[str, str], StateEntry]:
    """What the layers together say, oldest first."""
    state: dict[tuple[str, str], StateEntry] = {}
    for layer in parts:
        for key, entry in layer.entries.items():
            if entry is None:
                state.pop(key, None)
            else:
                state[key] = entry
    return state


def read(tx: Transaction, snapshot: int) -> dict[tuple[str, str], StateEntry]:
    """The whole state of a snapshot."""
    return merged(layers(tx, snapshot))


def _chain(tx: Transaction, snapshot: int) -> list[tuple[int, tuple[int, ...]]]:
    """(number, packed numbers) of a snapshot's layers, oldest first."""
    rows = tx.all(
        "WITH RECURSIVE chain(nid, parent, delta, place) AS ("
        " SELECT nid, parent, delta, 0 FROM snapshot WHERE nid = ?"
        " UNION ALL SELECT s.nid, s.parent, s.delta, c.place + 1"
        " FROM snapshot s JOIN chain c ON s.nid = c.parent"
        ") SELECT nid, delta FROM chain ORDER BY place DESC",
        [snapshot],
    )
    return [(nid, unpack(bytes(delta))) for nid, delta in rows]


def _keys(tx: Transaction, numbers: Collection[int]) -> dict[int, tuple[tuple[str, str], StateEntry]]:
    rows = tx.all(
        f"SELECT nid, type, state_key, event_id, membership FROM event WHERE {tx.any('nid')}",
        [tx.array(numbers)],
    )
    return {
        nid: ((type, state_key), StateEntry(nid, event_id, membership))
        for nid, type, state_key, event_id, membership in rows
    }
