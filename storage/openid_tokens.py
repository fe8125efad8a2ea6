"""The table of OpenID tokens. Every token is given and kept as its SHA-256."""

from storage.transaction import Transaction


def add(tx: Transaction, token_hash: bytes, user_id: str, expires_ts: int, now_ms: int) -> None:
    """Adds a token and forgets all that have expired."""
    tx.execute("DELETE FROM openid_token WHERE expires_ts <= ?", [now_ms])
    tx.insert("openid_token", ("hash", "user_id", "expires_ts"), [(token_hash, user_id, expires_ts)])


def owner(tx: Transaction, token_hash: bytes, now_ms: int) -> str | None:
    user_id: str | None = tx.value(
        "SELECT user_id FROM openid_token WHERE hash = ? AND expires_ts > ?", [token_hash, now_ms]
    )
    return user_id


def forget_user(tx: Transaction, user_id: str) -> None:
    tx.execute("DELETE FROM openid_token WHERE user_id = ?", [user_id])
