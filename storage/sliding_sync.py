"""Sliding sync in the database: its connections, and rows that many rooms are told from at once.

A connection's state is stored as differences, each with the version it leads to. The client's token names
the version it has; whatever was issued beyond that was lost or given up, and goes with the next write.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from storage.events import StoredEvent, select
from storage.transaction import Transaction

MOST_CONNECTIONS = 8
"""Of one device."""

BUMP_TYPES = (
    "m.room.create",
    "m.room.message",
    "m.room.encrypted",
    "m.sticker",
    "m.call.invite",
    "m.poll.start",
    "m.beacon_info",
)
_BUMPS = ", ".join(f"'{type}'" for type in BUMP_TYPES)
_ROOMS_IN_ONE_STATEMENT = 50


def begin(tx: Transaction, user_id: str, device_id: str, conn_id: str, number: int, now: int) -> None:
    """A new connection in the place of the one that had its name; the least used ones make room for it."""
    rows = tx.all(
        "SELECT conn_id, number FROM sliding_connection WHERE user_id = ? AND device_id = ?"
        " ORDER BY used_ts DESC, number",
        [user_id, device_id],
    )
    others = [old for name, old in rows if name != conn_id]
    _delete(tx, [old for name, old in rows if name == conn_id] + others[MOST_CONNECTIONS - 1 :])
    tx.execute(
        "INSERT INTO sliding_connection (user_id, device_id, conn_id, number, used_ts)"
        " VALUES (?, ?, ?, ?, ?)",
        [user_id, device_id, conn_id, number, now],
    )


def load(
    tx: Transaction, user_id: str, device_id: str, conn_id: str, number: int
) -> tuple[int, list[tuple[int, bytes]]] | None:
    """(when it was last used, the differences in order); None for a connection that is no more."""
    used_ts = tx.value(
        "SELECT used_ts FROM sliding_connection"
        " WHERE user_id = ? AND device_id = ? AND conn_id = ? AND number = ?",
        [user_id, device_id, conn_id, number],
    )
    if used_ts is None:
        return None
    rows = tx.all(
        "SELECT version, difference FROM sliding_sent WHERE connection = ? ORDER BY version", [number]
    )
    return used_ts, [(version, bytes(difference)) for version, difference in rows]


def add(
    tx: Transaction,
    number: int,
    confirmed: int,
    folded: bytes | None,
    version: int,
    difference: bytes,
) -> None:
    """A new version on top of the confirmed one. `folded`: the confirmed state as a whole, to replace
    the differences that led there."""
    tx.execute("DELETE FROM sliding_sent WHERE connection = ? AND version > ?", [number, confirmed])
    rows = [(number, version, difference)]
    if folded is not None:
        tx.execute("DELETE FROM sliding_sent WHERE connection = ?", [number])
        rows.insert(0, (number, confirmed, folded))
    tx.insert("sliding_sent", ("connection", "version", "difference"), rows)


def used(tx: Transaction, number: int, now: int) -> None:
    tx.execute("UPDATE sliding_connection SET used_ts = ? WHERE number = ?", [now, number])


def expire(tx: Transaction, before: int) -> None:
    """Deletes the connections not used since then."""
    rows = tx.all("SELECT number FROM sliding_connection WHERE used_ts < ? LIMIT 1000", [before])
    _delete(tx, [number for (number,) in rows])


def forget_devices(tx: Transaction, user_id: str, device_ids: Collection[str]) -> bool:
    """Whether they had connections."""
    rows = tx.all(
        f"SELECT number FROM sliding_connection WHERE user_id = ? AND {tx.any('device_id')}",
        [user_id, tx.array(device_ids)],
    )
    _delete(tx, [number for (number,) in rows])
    return bool(rows)


def _delete(tx: Transaction, numbers: Collection[int]) -> None:
    if numbers:
        tx.execute(f"DELETE FROM sliding_sent WHERE {tx.any('connection')}", [tx.array(numbers)])
        tx.execute(f"DELETE FROM sliding_connection WHERE {tx.any('number')}", [tx.array(numbers)])


class RoomFacts(NamedTuple):
    """`position` of the last event, `bump` of the last one that counts as activity (0: none is known).

    `visibilities`: every event that ever set the history visibility.
    """

    room_id: str
    nid: int
    position: int
    bump: int
    create: bytes | None
    encrypted: bool
    visibilities: list[bytes]


def room_facts(tx: Transaction, room_ids: Collection[str]) -> list[RoomFacts]:
    """What rooms are sorted and filtered by, without loading their state."""
    # The plus keeps the engines on the index of places in a room.
    rows = tx.all(
        "SELECT r.room_id, r.nid, r.position, (SELECT e.position FROM event e WHERE e.room = r.nid"
        f" AND e.position > 0 AND e.status = 0 AND e.type IN ({_BUMPS})"
        " ORDER BY e.position DESC LIMIT 1)"
        f" FROM room r WHERE {tx.any('r.room_id')}",
        [tx.array(room_ids)],
    )
    numbers = tx.array([nid for _, nid, _, _ in rows])
    creates: dict[int, bytes] = {}
    encrypted: set[int] = set()
    visibilities: dict[int, list[bytes]] = {}
    for room, type, json in tx.all(
        f"SELECT room, type, json FROM event WHERE {tx.any('room')}"
        " AND type IN ('m.room.create', 'm.room.encryption', 'm.room.history_visibility')"
        " AND state_key = '' AND (status = 0 OR type = 'm.room.history_visibility')",
        [numbers],
    ):
        if type == "m.room.create":
            creates[room] = bytes(json)
        elif type == "m.room.encryption":
            encrypted.add(room)
        else:
            visibilities.setdefault(room, []).append(bytes(json))
    return [
        RoomFacts(
            room_id,
            nid,
            position,
            bump or 0,
            creates.get(nid),
            nid in encrypted,
            visibilities.get(nid, []),
        )
        for room_id, nid, position, bump in rows
    ]


def last_events(
    tx: Transaction, rooms: Sequence[tuple[int, int]], upto: int
) -> dict[int, list[StoredEvent]]:
    """The last accepted events of many rooms, (room, how many), oldest first, by room."""
    found: dict[int, list[StoredEvent]] = {room: [] for room, _ in rooms}
    for start in range(0, len(rooms), _ROOMS_IN_ONE_STATEMENT):
        some = rooms[start : start + _ROOMS_IN_ONE_STATEMENT]
        one = (
            "SELECT * FROM (SELECT nid FROM event WHERE room = ? AND position > 0 AND position <= ?"
            " AND status = 0 ORDER BY position DESC LIMIT ?) AS last_of_room"
        )
        params = [value for room, limit in some for value in (room, upto, limit)]
        union = " UNION ALL ".join([one] * len(some))
        for stored in select(tx, f"WHERE e.nid IN ({union}) ORDER BY e.position", params):
            found[stored.room].append(stored)
    return found


def visibility_settings(tx: Transaction, rooms: Collection[int]) -> list[tuple[int, bytes]]:
    """(room, event) of every change of the history visibility."""
    rows = tx.all(
        f"SELECT room, json FROM event WHERE {tx.any('room')}"
        " AND type = 'm.room.history_visibility' AND state_key = ''",
        [tx.array(rooms)],
    )
    return [(room, bytes(json)) for room, json in rows]


def own_arrivals(tx: Transaction, rooms: Collection[int], user_id: str) -> dict[int, list[tuple[int, str]]]:
    """(position, membership) of a user's own membership events in many rooms, in order, by room."""
    found: dict[int, list[tuple[int, str]]] = {}
    for room, position, membership in tx.all(
        f"SELECT room, position, membership FROM event WHERE {tx.any('room')} AND type = 'm.room.member'"
        " AND state_key = ? AND position IS NOT NULL AND status = 0 ORDER BY position",
        [tx.array(rooms), user_id],
    ):
        found.setdefault(room, []).append((position, membership or "leave"))
    return found


def receipts_of(
    tx: Transaction, room_ids: Collection[str], user_id: str, event_ids: Collection[str], upto: int
) -> list[tuple[str, str, str, str | None, str, int, int]]:
    """The user's own receipts in these rooms, and everybody's for these events: `receipts.Receipt`."""
    rows = tx.all(
        "SELECT room_id, user_id, receipt_type, thread_id, event_id, ts, position FROM receipt"
        f" WHERE {tx.any('room_id')} AND (user_id = ? OR {tx.any('event_id')}) AND position <= ?"
        " ORDER BY position",
        [tx.array(room_ids), user_id, tx.array(event_ids), upto],
    )
    return [
        (room, user, kind, thread or None, event, ts, position)
        for room, user, kind, thread, event, ts, position in rows
    ]


def room_account_data(
    tx: Transaction, user_id: str, room_ids: Collection[str], upto: int
) -> list[tuple[str, str, bytes, int]]:
    """(room, type, content, position) of all account data of these rooms; deleted data is empty."""
    rows = tx.all(
        "SELECT room_id, type, content, position FROM account_data"
        f" WHERE user_id = ? AND {tx.any('room_id')} AND position <= ? ORDER BY position",
        [user_id, tx.array(room_ids), upto],
    )
    return [(room_id, type, bytes(content), position) for room_id, type, content, position in rows]


def labels(tx: Transaction, user_id: str) -> list[tuple[str, str, bytes]]:
    """(room or "", type, content) of the account data that sorts a user's rooms."""
    rows = tx.all(
        "SELECT room_id, type, content FROM account_data WHERE user_id = ?"
        " AND type IN ('m.direct', 'm.tag', 'm.invite_permission_config')",
        [user_id],
    )
    return [(room_id, type, bytes(content)) for room_id, type, content in rows]
