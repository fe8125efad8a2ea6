"""A room's place among servers: who takes part, what they are to be told, and what is missing here.

The tables are explained in `schema/009_federated_rooms.sql`.
"""

from collections.abc import Collection, Iterable, Sequence

import orjson

from storage.events import StoredEvent
from storage.transaction import Transaction

_MOST_GAPS = 1000


def add_outgoing(tx: Transaction, position: int, event: int, room: int, also: str | None) -> None:
    tx.buffer("outgoing", ("position", "event", "room", "also"), (position, event, room, also))


def change_servers(
    tx: Transaction, room: int, position: int, come: Collection[str], gone: Collection[str]
) -> None:
    """These servers have members in the room from this position on, or had the last one there."""
    if gone:
        tx.execute(
            f"UPDATE room_server SET until = ? WHERE room = ? AND until IS NULL AND {tx.any('server')}",
            [position, room, tx.array(gone)],
        )
    known = servers(tx, room) if come else ()
    columns = ("server", "room", "since", "until")
    rows = [(server, room, position, None) for server in come if server not in known]
    tx.insert("room_server", columns, rows)


def servers(tx: Transaction, room: int) -> set[str]:
    """The other servers in a room now."""
    rows = tx.all("SELECT server FROM room_server WHERE room = ? AND until IS NULL", [room])
    return {server for (server,) in rows}


# What is missing


def add_missing(tx: Transaction, room: int, event_ids: Collection[str], depth: int) -> None:
    tx.insert(
        "missing_event",
        ("room", "event_id", "depth"),
        [(room, event_id, depth) for event_id in event_ids],
        "ON CONFLICT (room, event_id) DO UPDATE SET depth = excluded.depth"
        " WHERE excluded.depth > missing_event.depth",
    )


def forget_missing(tx: Transaction, room: int, event_ids: Collection[str]) -> None:
    tx.execute(
        f"DELETE FROM missing_event WHERE room = ? AND {tx.any('event_id')}", [room, tx.array(event_ids)]
    )


def missing(tx: Transaction, room: int, from_depth: int, limit: int) -> list[tuple[str, int]]:
    """(event ID, depth of what stands on it) of what is missing below events at `from_depth` and above.

    The deepest first.
    """
    return tx.all(
        "SELECT event_id, depth FROM missing_event WHERE room = ? AND depth >= ?"
        " ORDER BY depth DESC, event_id LIMIT ?",
        [room, from_depth, limit],
    )


def is_missing_between(tx: Transaction, room: int, above: int | None, upto: int | None) -> bool:
    """Whether something is missing below an event that is deeper than `above` and no deeper than `upto`."""
    sql, params = "SELECT 1 FROM missing_event WHERE room = ?", [room]
    for bound, condition in ((above, "depth > ?"), (upto, "depth <= ?")):
        if bound is not None:
            sql, params = f"{sql} AND {condition}", [*params, bound]
    return tx.one(f"{sql} LIMIT 1", params) is not None


def which_missing(tx: Transaction, room: int, event_ids: Collection[str]) -> set[str]:
    """Those of these that are missing."""
    rows = tx.all(
        f"SELECT event_id FROM missing_event WHERE room = ? AND {tx.any('event_id')}",
        [room, tx.array(event_ids)],
    )
    return {event_id for (event_id,) in rows}


def which_have_gaps(tx: Transaction, rooms: Collection[int]) -> set[int]:
    """Those of these rooms of whose history something is missing, or came when somebody read there."""
    rows = tx.all(
        f"SELECT nid FROM room WHERE {tx.any('nid')}"
        " AND (EXISTS (SELECT 1 FROM missing_event WHERE room = room.nid)"
        " OR EXISTS (SELECT 1 FROM event WHERE room = room.nid AND position < 0))",
        [tx.array(rooms)],
    )
    return {room for (room,) in rows}


def after_gap(tx: Transaction, room: int, stored: Sequence[StoredEvent]) -> int | None:
    """The index of the last of these events of a timeline that stands on something missing.

    Or on what was missing: no sync tells of what closed the gap, so whoever has not read on from after it
    must page back from there all the same.
    """
    if not stored:
        return None
    lowest = min(each.event.depth for each in stored)
    gone = {event_id for event_id, _ in missing(tx, room, lowest, _MOST_GAPS)}
    before = {each for one in stored for each in one.event.prev_events} - {each.event_id for each in stored}
    rows = tx.all(
        f"SELECT event_id FROM event WHERE {tx.any('event_id')} AND position < 0", [tx.array(before)]
    )
    gone.update(event_id for (event_id,) in rows)
    for index in range(len(stored) - 1, -1, -1) if gone else ():
        if not gone.isdisjoint(stored[index].event.prev_events):
            return index
    return None


# Redactions that came first


def add_pending_redaction(tx: Transaction, target: str, redaction: str) -> None:
    tx.insert(
        "pending_redaction", ("target", "redaction"), [(target, redaction)], "ON CONFLICT DO NOTHING"
    )


def pending_redactions(tx: Transaction, targets: Iterable[str]) -> dict[str, list[str]]:
    """Target → the redactions of it that wait."""
    found: dict[str, list[str]] = {}
    sql = f"SELECT target, redaction FROM pending_redaction WHERE {tx.any('target')} ORDER BY redaction"
    for target, redaction in tx.all(sql, [tx.array(list(targets))]):
        found.setdefault(target, []).append(redaction)
    return found


def forget_pending_redactions(tx: Transaction, target: str) -> None:
    tx.execute("DELETE FROM pending_redaction WHERE target = ?", [target])


# Rooms of which part of the state is still to come


def set_partial(tx: Transaction, room: int, event_id: str, asked: Collection[str]) -> None:
    row = (room, event_id, orjson.dumps(list(asked)), None)
    conflict = (
        "ON CONFLICT (room) DO UPDATE SET event_id = excluded.event_id, servers = excluded.servers,"
        " completed = NULL"
    )
    tx.insert("partial_room", ("room", "event_id", "servers", "completed"), [row], conflict)


def set_whole(tx: Transaction, room: int) -> None:
    tx.execute("DELETE FROM partial_room WHERE room = ?", [room])


def set_completed(tx: Transaction, room: int, position: int) -> None:
    tx.execute("UPDATE partial_room SET completed = ? WHERE room = ?", [position, room])


def is_partial(tx: Transaction, room: int) -> bool:
    return tx.one("SELECT 1 FROM partial_room WHERE room = ? AND completed IS NULL", [room]) is not None


def completed_rooms(tx: Transaction) -> dict[str, int]:
    """Room ID → the position at which its state became whole."""
    rows = tx.all(
        "SELECT r.room_id, p.completed FROM partial_room p JOIN room r ON r.nid = p.room"
        " WHERE p.completed IS NOT NULL"
    )
    return dict(rows)


def partial_rooms(tx: Transaction) -> list[tuple[str, str, list[str]]]:
    """(room ID, the join, servers to ask)."""
    rows = tx.all(
        "SELECT r.room_id, p.event_id, p.servers FROM partial_room p JOIN room r ON r.nid = p.room"
        " WHERE p.completed IS NULL"
    )
    return [(room_id, event_id, orjson.loads(bytes(asked))) for room_id, event_id, asked in rows]
