"""The events of a whole state, as stored bytes: what other servers are sent of a room.

Which event stands under a key is decided among numbers and keys; only the winners' bytes are read.
"""

from collections.abc import Collection

from storage import snapshots
from storage.transaction import Transaction


def state_events(tx: Transaction, snapshot: int) -> dict[str, bytes]:
    """The state of a snapshot as event ID → JSON."""
    return by_number(tx, [entry.nid for entry in snapshots.read(tx, snapshot).values()])


def by_number(tx: Transaction, numbers: Collection[int]) -> dict[str, bytes]:
    """Events by their numbers, as event ID → JSON."""
    rows = tx.all(f"SELECT event_id, json FROM event WHERE {tx.any('nid')}", [tx.array(numbers)])
    return {event_id: bytes(json) for event_id, json in rows}
