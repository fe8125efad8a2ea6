"""Profiles of our own users: one JSON object a user.

https://spec.matrix.org/v1.19/client-server-api/#profiles
"""

from typing import Any

import orjson

from storage.transaction import Transaction


def get_profile(tx: Transaction, user_id: str) -> dict[str, Any] | None:
    """All fields; None if the user never had a profile."""
    found = tx.value("SELECT fields FROM profile WHERE user_id = ?", (user_id,))
    if found is None:
        return None
    fields: dict[str, Any] = orjson.loads(found)
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
