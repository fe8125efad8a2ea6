"""Which threads people follow: one row for each user and thread, with their last word on it.

https://github.com/matrix-org/matrix-spec-proposals/pull/4306
"""

from typing import NamedTuple

from storage.transaction import Transaction

GONE, BY_HAND, AUTOMATIC = range(3)

_COLUMNS = ("user_id", "room_id", "thread", "subscribed", "unsubscribed_at", "position")
_UPSERT = (
    "ON CONFLICT (user_id, room_id, thread) DO UPDATE SET subscribed = excluded.subscribed,"
    " unsubscribed_at = excluded.unsubscribed_at, position = excluded.position"
)


class Subscription(NamedTuple):
    """`thread` is its root's event ID; `subscribed` one of GONE, BY_HAND, AUTOMATIC."""

    room_id: str
    thread: str
    subscribed: int
    unsubscribed_at: int
    position: int


def get(tx: Transaction, user_id: str, room_id: str, thread: str) -> Subscription | None:
    row = tx.one(
        "SELECT room_id, thread, subscribed, unsubscribed_at, position FROM thread_subscription"
        " WHERE user_id = ? AND room_id = ? AND thread = ?",
        (user_id, room_id, thread),
    )
    return Subscription(*row) if row is not None else None


def put(
    tx: Transaction, user_id: str, room_id: str, thread: str, subscribed: int, unsubscribed_at: int = 0
) -> None:
    """With GONE the row remembers its own position as that of the unsubscription."""
    position = tx.announce(
        "thread_subscription", users=(user_id,), data=(room_id, thread, subscribed != GONE)
    )
    if subscribed == GONE:
        unsubscribed_at = position
    row = (user_id, room_id, thread, subscribed, unsubscribed_at, position)
    tx.insert("thread_subscription", _COLUMNS, [row], _UPSERT)


def has_any(tx: Transaction, user_id: str) -> bool:
    """Whether the user ever followed a thread."""
    return tx.one("SELECT 1 FROM thread_subscription WHERE user_id = ? LIMIT 1", (user_id,)) is not None


def changes(tx: Transaction, user_id: str, since: int, upto: int, limit: int) -> list[Subscription]:
    """The last changes in since < position <= upto, the latest first."""
    rows = tx.all(
        "SELECT room_id, thread, subscribed, unsubscribed_at, position FROM thread_subscription"
        " WHERE user_id = ? AND position > ? AND position <= ? ORDER BY position DESC LIMIT ?",
        (user_id, since, upto, limit),
    )
    return [Subscription(*row) for row in rows]


def everybody(tx: Transaction) -> list[tuple[str, str, str]]:
    """(user, room, thread) of all that are followed."""
    rows = tx.all(f"SELECT user_id, room_id, thread FROM thread_subscription WHERE subscribed <> {GONE}")
    return [(user_id, room_id, thread) for user_id, room_id, thread in rows]


def forget_user(tx: Transaction, user_id: str) -> None:
    tx.announce("thread_subscription", users=(user_id,), data=None)
    tx.execute("DELETE FROM thread_subscription WHERE user_id = ?", (user_id,))
