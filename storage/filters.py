"""Filters as users uploaded them, named by their content: a name's meaning never changes.

https://spec.matrix.org/v1.19/client-server-api/#filtering
"""

from storage.transaction import Transaction


def add_filter(tx: Transaction, user_id: str, filter_id: str, definition: bytes) -> None:
    tx.insert(
        "user_filter",
        ["user_id", "filter_id", "definition"],
        [(user_id, filter_id, definition)],
        "ON CONFLICT DO NOTHING",
    )


def delete_filters(tx: Transaction, user_id: str) -> None:
    tx.execute("DELETE FROM user_filter WHERE user_id = ?", (user_id,))


def filter_definition(tx: Transaction, user_id: str, filter_id: str) -> bytes | None:
    found = tx.value(
        "SELECT definition FROM user_filter WHERE user_id = ? AND filter_id = ?", (user_id, filter_id)
    )
    return None if found is None else bytes(found)
