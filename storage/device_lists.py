"""Changes of device lists: the stream "device_list".

https://spec.matrix.org/v1.19/client-server-api/#tracking-the-device-list-for-a-user

One row a change, whoever must hear of it: a reader picks the changes of the users it shares rooms with
when it reads. A change is the news that something changed, never what: readers ask for the keys.
"""

from collections.abc import Collection, Sequence

from storage.transaction import Transaction

CROSS_SIGNING = ""
"""Stands for the device in a change of cross-signing keys."""

_FEW = 1000


def record(tx: Transaction, user_id: str, device_ids: Sequence[str], rooms: Collection[str]) -> int:
    """These devices of the user changed; `rooms` are all rooms the user is joined to."""
    position = tx.announce("device_list", rooms=tuple(rooms), users=(user_id,))
    _insert(tx, [(position, user_id, device_id, None) for device_id in device_ids])
    return position


def record_for(tx: Transaction, reader: str, user_ids: Collection[str]) -> int:
    """`reader`, and nobody else, sees the keys of these users differently: it signed them."""
    position = tx.announce("device_list", users=(reader,))
    _insert(tx, [(position, user_id, CROSS_SIGNING, reader) for user_id in user_ids])
    return position


def changed_users(
    tx: Transaction,
    since: int,
    upto: int,
    among: Collection[str] | None = None,
    reader: str | None = None,
) -> set[str]:
    """Whose lists changed in since < position <= upto, of the users `among`.

    `reader`, if given, also gets the changes meant for it alone.
    """
    seen_by = "(reader IS NULL OR reader = ?)"
    sql = f"SELECT user_id, reader FROM device_list_change WHERE position > ? AND position <= ? AND {seen_by}"
    if among is None:
        return {user_id for user_id, _ in tx.all(sql, [since, upto, reader])}
    rows = tx.all(f"{sql} ORDER BY position LIMIT {_FEW}", [since, upto, reader])
    if len(rows) == _FEW:  # long ago: going by user is cheaper than reading everybody's changes
        sql = f"SELECT DISTINCT user_id, reader FROM device_list_change WHERE {tx.any('user_id')}"
        among_or_own = tx.array([*among])
        rows = tx.all(
            f"{sql} AND position > ? AND position <= ? AND {seen_by}", [among_or_own, since, upto, reader]
        )
        if reader is not None:
            sql = "SELECT DISTINCT user_id, reader FROM device_list_change WHERE reader = ?"
            rows += tx.all(f"{sql} AND position > ? AND position <= ?", [reader, since, upto])
    among = among if isinstance(among, set | frozenset | dict) else set(among)
    return {user_id for user_id, only_for in rows if only_for is not None or user_id in among}


def last_change(tx: Transaction, user_id: str) -> int:
    """The position of the user's last change that everybody sees; 0 when there was none."""
    position: int | None = tx.value(
        "SELECT max(position) FROM device_list_change WHERE user_id = ? AND reader IS NULL", [user_id]
    )
    return position or 0


def _insert(tx: Transaction, rows: Sequence[tuple[int, str, str, str | None]]) -> None:
    tx.insert("device_list_change", ("position", "user_id", "device_id", "reader"), rows)
