"""What is shown of rooms to those who are not in them: a few state events each, read for many at once.

https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1room_summaryroomidoralias
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from storage import directory, state_at
from storage import events as event_rows
from storage.events import StoredEvent
from storage.transaction import Transaction

SPACE_CHILD = "m.space.child"


@dataclass(slots=True)
class RoomFacts:
    """`state` holds the events of the types asked for; `present` how each server asked for is in the room."""

    room_id: str
    joined: int
    state: list[StoredEvent] = field(default_factory=list)
    present: dict[str, set[str]] = field(default_factory=dict)


def read(
    tx: Transaction, room_ids: Collection[str], types: Collection[str], servers: Sequence[str]
) -> dict[str, RoomFacts]:
    """The rooms that have a state here; of m.space.child every state key, of the others the empty one."""
    snapshots = directory.current_snapshots(tx, room_ids)
    if not snapshots:
        return {}
    joined = directory.joined_counts(tx, snapshots)
    facts = {nid: RoomFacts(room_id, joined.get(room_id, 0)) for room_id, (nid, _) in snapshots.items()}
    rows = tx.all(
        f"SELECT nid, type, state_key FROM event WHERE {tx.any('room')} AND {tx.any('type')}"
        " AND state_key IS NOT NULL",
        [tx.array(list(facts)), tx.array(list(types))],
    )
    candidates = {nid: (type, key) for nid, type, key in rows if key == "" or type == SPACE_CHILD}
    states = state_at.at(tx, {snapshot for _, snapshot in snapshots.values()}, candidates)
    numbers = [number for state in states.values() for number in state.values()]
    for stored in event_rows.select(tx, f"WHERE {tx.any('e.nid')}", [tx.array(numbers)]):
        facts[stored.room].state.append(stored)
    for server in servers:
        for room_id, membership in _present(tx, snapshots, server):
            facts[snapshots[room_id][0]].present.setdefault(server, set()).add(membership)
    return {each.room_id: each for each in facts.values()}


def present_in(tx: Transaction, room_ids: Collection[str], server: str) -> set[str]:
    """Those of the rooms that the server has joined members in."""
    return {room_id for room_id, membership in _present(tx, room_ids, server) if membership == "join"}


def _present(tx: Transaction, room_ids: Collection[str], server: str) -> list[tuple[str, str]]:
    domain = f":{server}"
    return [
        (room_id, membership)
        for room_id, membership in tx.all(
            f"SELECT DISTINCT room_id, membership FROM membership WHERE {tx.any('room_id')}"
            " AND membership IN ('join', 'invite') AND substr(user_id, length(user_id) - ?) = ?",
            [tx.array(list(room_ids)), len(server), domain],
        )
    ]
