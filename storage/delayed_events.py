"""The table of delayed events: those still to be sent, and for a while what became of the others."""

from typing import NamedTuple

from storage.transaction import Transaction

KEPT_MS = 7 * 86_400_000
KEPT_FOR_EACH_USER = 1000


class DelayedEvent(NamedTuple):
    """A row. `content` and `error` are JSON; times are milliseconds since 1970."""

    delay_id: str
    user_id: str
    device_id: str
    txn_id: str | None
    room_id: str
    type: str
    state_key: str | None
    content: bytes
    delay_ms: int
    scheduled_at: int
    send_at: int
    finalised_ts: int | None = None
    event_id: str | None = None
    error: bytes | None = None


_COLUMNS = ", ".join(DelayedEvent._fields)


def add(tx: Transaction, row: DelayedEvent) -> None:
    tx.insert("delayed_event", DelayedEvent._fields, [row])


def by_transaction(tx: Transaction, row: DelayedEvent) -> str | None:
    """The ID that this very request was given before."""
    delay_id: str | None = tx.value(
        "SELECT delay_id FROM delayed_event"
        " WHERE user_id = ? AND device_id = ? AND room_id = ? AND txn_id = ? AND type = ?",
        [row.user_id, row.device_id, row.room_id, row.txn_id, row.type],
    )
    return delay_id


def get(tx: Transaction, delay_id: str) -> DelayedEvent | None:
    row = tx.one(f"SELECT {_COLUMNS} FROM delayed_event WHERE delay_id = ?", [delay_id])
    return None if row is None else DelayedEvent(*row)


def scheduled(tx: Transaction, user_id: str) -> list[DelayedEvent]:
    """All of a user's that are still to be sent, the next first."""
    rows = tx.all(
        f"SELECT {_COLUMNS} FROM delayed_event WHERE user_id = ? AND finalised_ts IS NULL"
        " ORDER BY send_at, delay_id",
        [user_id],
    )
    return [DelayedEvent(*row) for row in rows]


def finalised(tx: Transaction, user_id: str) -> list[DelayedEvent]:
    """What became of a user's other ones, the latest first."""
    rows = tx.all(
        f"SELECT {_COLUMNS} FROM delayed_event WHERE user_id = ? AND finalised_ts IS NOT NULL"
        " ORDER BY finalised_ts DESC, delay_id LIMIT ?",
        [user_id, KEPT_FOR_EACH_USER],
    )
    return [DelayedEvent(*row) for row in rows]


def count_scheduled(tx: Transaction, user_id: str) -> tuple[int, int | None]:
    """How many are to be sent, and when the next is."""
    row = tx.one(
        "SELECT count(*), min(send_at) FROM delayed_event WHERE user_id = ? AND finalised_ts IS NULL",
        [user_id],
    )
    return (0, None) if row is None else (row[0], row[1])


def due(tx: Transaction, now_ms: int, limit: int) -> list[DelayedEvent]:
    rows = tx.all(
        f"SELECT {_COLUMNS} FROM delayed_event WHERE finalised_ts IS NULL AND send_at <= ?"
        " ORDER BY send_at, delay_id LIMIT ?",
        [now_ms, limit],
    )
    return [DelayedEvent(*row) for row in rows]


def next_due(tx: Transaction) -> int | None:
    send_at: int | None = tx.value("SELECT min(send_at) FROM delayed_event WHERE finalised_ts IS NULL")
    return send_at


def restart(tx: Transaction, delay_id: str, now_ms: int) -> None:
    tx.execute(
        "UPDATE delayed_event SET scheduled_at = ?, send_at = ? + delay_ms"
        " WHERE delay_id = ? AND finalised_ts IS NULL",
        [now_ms, now_ms, delay_id],
    )


def finalise(
    tx: Transaction, row: DelayedEvent, now_ms: int, event_id: str | None, error: bytes | None
) -> None:
    """It was sent (`event_id`), failed (`error`) or was cancelled (neither); old ones are forgotten."""
    tx.execute(
        "UPDATE delayed_event SET finalised_ts = ?, event_id = ?, error = ?"
        " WHERE delay_id = ? AND finalised_ts IS NULL",
        [now_ms, event_id, error, row.delay_id],
    )
    tx.execute("DELETE FROM delayed_event WHERE finalised_ts < ?", [now_ms - KEPT_MS])
    tx.execute(
        "DELETE FROM delayed_event WHERE delay_id IN (SELECT delay_id FROM delayed_event"
        " WHERE user_id = ? AND finalised_ts IS NOT NULL ORDER BY finalised_ts DESC, delay_id"
        " LIMIT 1000 OFFSET ?)",
        [row.user_id, KEPT_FOR_EACH_USER],
    )


def forget_user(tx: Transaction, user_id: str) -> None:
    tx.execute("DELETE FROM delayed_event WHERE user_id = ?", [user_id])
