"""The tables of access, refresh and login tokens. Every token is given and kept as its SHA-256."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from storage.transaction import Transaction


@dataclass(frozen=True, slots=True)
class NewToken:
    token_id: int
    hash: bytes
    user_id: str
    device_id: str | None
    created_ts: int
    expires_ts: int | None = None
    refresh_hash: bytes | None = None
    refresh_expires_ts: int | None = None
    # The whole session ends then, however often it is refreshed.
    session_expires_ts: int | None = None
    replaces: int | None = None


class KnownToken(NamedTuple):
    """An access token with what its account may do."""

    token_id: int
    user_id: str
    device_id: str | None
    expires_ts: int | None
    replaces: int | None
    is_admin: int
    is_guest: int
    locked: int
    suspended: int


class Refreshable(NamedTuple):
    token_id: int
    user_id: str
    device_id: str | None
    refresh_expires_ts: int | None
    session_expires_ts: int | None
    replaces: int | None


_COLUMNS = ("token_id", "hash", "user_id", "device_id", "created_ts", "expires_ts", "refresh_hash",
            "refresh_expires_ts", "session_expires_ts", "replaces")


def add(tx: Transaction, token: NewToken) -> None:
    tx.insert("access_token", _COLUMNS, [[getattr(token, column) for column in _COLUMNS]])


def find(tx: Transaction, token_hash: bytes) -> KnownToken | None:
    row = tx.one(
        "SELECT t.token_id, t.user_id, t.device_id, t.expires_ts, t.replaces,"
        " a.is_admin, a.is_guest, a.locked, a.suspended"
        " FROM access_token t JOIN account a ON a.user_id = t.user_id WHERE t.hash = ?",
        [token_hash],
    )
    return None if row is None else KnownToken(*row)


def find_refresh(tx: Transaction, refresh_hash: bytes) -> Refreshable | None:
    row = tx.one(
        "SELECT token_id, user_id, device_id, refresh_expires_ts, session_expires_ts, replaces"
        " FROM access_token WHERE refresh_hash = ?",
        [refresh_hash],
    )
    return None if row is None else Refreshable(*row)


def confirm(tx: Transaction, token_id: int, replaced: int) -> bool:
    """The token came into use: the one it replaces is over. False if it is gone itself."""
    if tx.execute("UPDATE access_token SET replaces = NULL WHERE token_id = ?", [token_id]) == 0:
        return False
    tx.execute("DELETE FROM access_token WHERE token_id = ?", [replaced])
    return True


def delete_unused_successors(tx: Transaction, token_id: int) -> None:
    """What an earlier refresh of this token gave out and nobody used."""
    tx.execute("DELETE FROM access_token WHERE replaces = ?", [token_id])


def delete(tx: Transaction, token_id: int) -> None:
    tx.execute("DELETE FROM access_token WHERE token_id = ?", [token_id])


def delete_of_devices(tx: Transaction, user_id: str, device_ids: Sequence[str]) -> None:
    tx.execute(
        f"DELETE FROM access_token WHERE user_id = ? AND {tx.any('device_id')}",
        [user_id, tx.array(device_ids)],
    )


def delete_of_user(tx: Transaction, user_id: str, keep: int | None = None) -> None:
    """All of the user's tokens but `keep`."""
    tx.execute("DELETE FROM access_token WHERE user_id = ? AND token_id <> ?", [user_id, keep or 0])


def add_login_token(tx: Transaction, token_hash: bytes, user_id: str, expires_ts: int, now: int) -> None:
    tx.execute("DELETE FROM login_token WHERE expires_ts <= ?", [now])
    tx.insert("login_token", ("hash", "user_id", "expires_ts"), [(token_hash, user_id, expires_ts)])


def use_login_token(tx: Transaction, token_hash: bytes, now: int) -> str | None:
    """Whose it was, once: the token is gone afterwards."""
    user_id: str | None = tx.value(
        "SELECT user_id FROM login_token WHERE hash = ? AND expires_ts > ?", [token_hash, now]
    )
    tx.execute("DELETE FROM login_token WHERE hash = ?", [token_hash])
    return user_id
