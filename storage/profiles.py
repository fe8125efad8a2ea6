"""Profiles of our own users: one JSON object a user.

https://spec.matrix.org/v1.19/client-server-api/#profiles
"""

from typing import Any

import orjson

from storage.transaction import Transaction


def get_profile(tx: Transaction, user_id: str) -> dict[str, Any] | None:
    """All fields; none for an account without a profile, and None without an account in use."""
    row = tx.one(
        "SELECT profile.fields FROM account LEFT JOIN profile ON profile.user_id = account.user_id"
        " WHERE account.user_id = ? AND account.deactivated = 0",
        (user_id,),
    )
    if row is None:
        return None
    fields: dict[str, Any] = orjson.loads(row[0]) if row[0] is not None else {}
    return fields


def set_profile(tx: Transaction, user_id: str, fields: dict[str, Any]) -> None:
    """Replaces the whole profile; caches hear of it through the stream "profile"."""
    tx.announce("profile", data=user_id)
    tx.insert(
        "profile",
        ("user_id", "fields"),
        [(user_id, orjson.dumps(fields))],
        "ON CONFLICT (user_id) DO UPDATE SET fields = excluded.fields",
    )


def delete_profile(tx: Transaction, user_id: str) -> None:
    tx.announce("profile", data=user_id)
    tx.execute("DELETE FROM profile WHERE user_id = ?", (user_id,))
