"""Account data: JSON objects a user's clients keep here, global or for one room.

https://spec.matrix.org/v1.19/client-server-api/#client-config

The subtle idea: deleting keeps the row, with empty content and a new position, because clients that sync
later must be told; a client that starts afresh never hears of it.
"""

from storage.transaction import Transaction

GLOBAL = ""
DELETED = b""

_COLUMNS = ("user_id", "room_id", "type", "content", "position")
_UPSERT = (
    "ON CONFLICT (user_id, room_id, type) DO UPDATE"
    " SET content = excluded.content, position = excluded.position"
)


def set_account_data(
    tx: Transaction, user_id: str, room_id: str | None, data_type: str, content: bytes
) -> int:
    """Replaces the content, a JSON object, or deletes it with `DELETED`; the position of the change."""
    position = tx.announce("account_data", users=(user_id,), data=(room_id, data_type))
    tx.insert("account_data", _COLUMNS, [(user_id, room_id or GLOBAL, data_type, content, position)], _UPSERT)
    return position


def get_account_data(tx: Transaction, user_id: str, room_id: str | None, data_type: str) -> bytes | None:
    found = tx.value(
        "SELECT content FROM account_data WHERE user_id = ? AND room_id = ? AND type = ?",
        (user_id, room_id or GLOBAL, data_type),
    )
    return bytes(found) if found else None


def delete_all(tx: Transaction, user_id: str) -> None:
    """For accounts nobody will use again: nobody is told, only caches are."""
    tx.announce("account_data", data=(None, None), users=(user_id,))
    tx.execute("DELETE FROM account_data WHERE user_id = ?", (user_id,))


def account_data_since(
    tx: Transaction, user_id: str, since: int, upto: int
) -> list[tuple[str | None, str, bytes]]:
    """(room or None, type, content) of what changed in since < position <= upto, oldest first.

    Deleted data is `{}`, and left out where `since` is 0: there was nothing before.
    """
    rows = tx.all(
        "SELECT room_id, type, content FROM account_data"
        " WHERE user_id = ? AND position > ? AND position <= ? ORDER BY position",
        (user_id, since, upto),
    )
    return [
        (room_id or None, data_type, bytes(content) or b"{}")
        for room_id, data_type, content in rows
        if content or since
    ]


def room_account_data(tx: Transaction, user_id: str, room_id: str) -> list[tuple[str, bytes]]:
    """(type, content) of all there is for one room: a newly joined room is synced whole."""
    rows = tx.all(
        "SELECT type, content FROM account_data WHERE user_id = ? AND room_id = ? ORDER BY position",
        (user_id, room_id),
    )
    return [(data_type, bytes(content)) for data_type, content in rows if content]
