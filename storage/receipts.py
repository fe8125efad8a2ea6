"""Read receipts, one row for each room, user, type and thread: a new one replaces the old.

https://spec.matrix.org/v1.19/client-server-api/#receipts

The subtle idea: a receipt never moves back. Where an event stands was settled when it was stored, so each
row keeps its event's position and comparing two receipts needs no events.
"""

from collections.abc import Collection
from typing import NamedTuple

from storage.transaction import Transaction

READ = "m.read"
PRIVATE = "m.read.private"
FULLY_READ = "m.fully_read"
UNTHREADED = ""
MAIN = "main"

_COLUMNS = (
    "room_id",
    "user_id",
    "receipt_type",
    "thread_id",
    "event_id",
    "event_position",
    "ts",
    "position",
)
_UPSERT = (
    "ON CONFLICT (room_id, user_id, receipt_type, thread_id) DO UPDATE SET event_id = excluded.event_id,"
    " event_position = excluded.event_position, ts = excluded.ts, position = excluded.position"
)


class Place(NamedTuple):
    """Where an event stands: its position, the root of the thread it is in, and what it relates to."""

    position: int
    thread: str | None
    parent: str | None

    def is_in(self, event_id: str, thread_id: str) -> bool:
        """Whether a receipt of this thread may point at the event.

        A thread's root, and what relates to the root without being in the thread, belong to the main
        timeline, but reading them is reading the thread's beginning.
        """
        if thread_id == MAIN:
            return self.thread is None
        return thread_id in (event_id, self.thread, self.parent)


class Receipt(NamedTuple):
    room_id: str
    user_id: str
    receipt_type: str
    thread_id: str | None
    event_id: str
    ts: int
    position: int


def event_place(tx: Transaction, room_id: str, event_id: str) -> Place | None:
    """None for events that are not in this room's timeline."""
    row = tx.one(
        "SELECT event.position, event.thread, relation.parent FROM event JOIN room ON room.nid = event.room"
        " LEFT JOIN relation ON relation.child = event.nid"
        " WHERE event.event_id = ? AND room.room_id = ? AND event.position IS NOT NULL",
        (event_id, room_id),
    )
    return None if row is None else Place(*row)


def add_receipt(
    tx: Transaction,
    room_id: str,
    user_id: str,
    receipt_type: str,
    thread_id: str | None,
    event_id: str,
    event_position: int | None,
    ts: int,
) -> int | None:
    """The receipt's position, or None where it would move back or stay.

    `event_position` is None for an event not seen yet, which remote users may be ahead of us with.
    """
    thread = thread_id or UNTHREADED
    old = tx.one(
        "SELECT event_id, event_position FROM receipt"
        " WHERE room_id = ? AND user_id = ? AND receipt_type = ? AND thread_id = ?",
        (room_id, user_id, receipt_type, thread),
    )
    if old is not None:
        old_event_id, old_position = old
        behind = None not in (event_position, old_position) and event_position <= old_position
        if behind or old_event_id == event_id:
            return None
    data = (room_id, user_id, receipt_type, thread_id, event_id)
    if receipt_type == PRIVATE:
        position = tx.announce("receipt", users=(user_id,), data=data)
    else:
        position = tx.announce("receipt", rooms=(room_id,), data=data)
    row = (room_id, user_id, receipt_type, thread, event_id, event_position, ts, position)
    tx.insert("receipt", _COLUMNS, [row], _UPSERT)
    return position


def receipts_since(tx: Transaction, room_ids: Collection[str], since: int, upto: int) -> list[Receipt]:
    """Everybody's receipts in since < position <= upto, private ones included: sync shows only one's own."""
    if not room_ids:
        return []
    rows = tx.all(
        "SELECT room_id, user_id, receipt_type, thread_id, event_id, ts, position FROM receipt"
        f" WHERE {tx.any('room_id')} AND position > ? AND position <= ? ORDER BY position",
        (tx.array(room_ids), since, upto),
    )
    return [
        Receipt(room_id, user_id, receipt_type, thread_id or None, event_id, ts, position)
        for room_id, user_id, receipt_type, thread_id, event_id, ts, position in rows
    ]


def user_receipts(tx: Transaction, user_id: str, room_id: str) -> list[tuple[str, str | None, str, int]]:
    """(type, thread or None, event, where the event stands) of one user: unread counts start here."""
    rows = tx.all(
        "SELECT receipt_type, thread_id, event_id, event_position FROM receipt"
        " WHERE room_id = ? AND user_id = ? AND event_position IS NOT NULL",
        (room_id, user_id),
    )
    return [
        (receipt_type, thread or None, event_id, position)
        for receipt_type, thread, event_id, position in rows
    ]


def receipt_position(
    tx: Transaction, room_id: str, user_id: str, receipt_type: str, thread_id: str | None
) -> int | None:
    """Where the event of this receipt stands; None without one."""
    position: int | None = tx.value(
        "SELECT event_position FROM receipt"
        " WHERE room_id = ? AND user_id = ? AND receipt_type = ? AND thread_id = ?",
        (room_id, user_id, receipt_type, thread_id or UNTHREADED),
    )
    return position
