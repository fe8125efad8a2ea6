"""Users' changes to their push rules, one row a user."""

from collections.abc import Callable

from storage.transaction import Transaction

_UPSERT = "ON CONFLICT (user_id) DO UPDATE SET changes = excluded.changes, position = excluded.position"


def all_changes(tx: Transaction) -> list[tuple[str, bytes]]:
    """(user, changes) of every user who has any."""
    rows = tx.all("SELECT user_id, changes FROM push_rules")
    return [(user_id, bytes(changes)) for user_id, changes in rows]


def change(tx: Transaction, user_id: str, edit: Callable[[bytes | None], bytes]) -> int:
    """Replaces the user's changes with what `edit` makes of them; the position.

    The new changes are announced as `data`. Whatever `edit` raises leaves all as it was.
    """
    stored = tx.value("SELECT changes FROM push_rules WHERE user_id = ?", [user_id])
    changes = edit(bytes(stored) if stored is not None else None)
    position = tx.announce("push_rules", users=(user_id,), data=changes)
    tx.insert("push_rules", ("user_id", "changes", "position"), [(user_id, changes, position)], _UPSERT)
    return position
