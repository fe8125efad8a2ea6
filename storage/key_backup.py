"""Server-side key backups: versions, and the encrypted session keys in them.

https://spec.matrix.org/v1.19/client-server-api/#server-side-key-backups

Which of two keys of a session is kept is decided inside the statement that stores it, so uploads of
several devices need no lock. `etag` moves only when something really changed.
"""

from collections.abc import Sequence
from typing import NamedTuple

from storage.transaction import Transaction

_CHUNK = 500
_BETTER = (
    "excluded.is_verified > s.is_verified OR excluded.is_verified = s.is_verified AND ("
    "excluded.first_message_index < s.first_message_index"
    " OR excluded.first_message_index = s.first_message_index"
    " AND excluded.forwarded_count < s.forwarded_count)"
)


class Version(NamedTuple):
    version: int
    algorithm: str
    auth_data: bytes
    etag: int
    key_count: int
    deleted: int


class Session(NamedTuple):
    room_id: str
    session_id: str
    is_verified: int
    first_message_index: int
    forwarded_count: int
    session_data: bytes


def create_version(tx: Transaction, user_id: str, algorithm: str, auth_data: bytes) -> int:
    version: int = tx.value(
        "SELECT coalesce(max(version), 0) + 1 FROM key_backup_version WHERE user_id = ?", [user_id]
    )
    tx.insert(
        "key_backup_version",
        ("user_id", *Version._fields),
        [(user_id, version, algorithm, auth_data, 0, 0, 0)],
    )
    return version


def current_version(tx: Transaction, user_id: str) -> Version | None:
    row = tx.one(
        f"SELECT {', '.join(Version._fields)} FROM key_backup_version"
        " WHERE user_id = ? AND deleted = 0 ORDER BY version DESC LIMIT 1",
        [user_id],
    )
    return Version(*row) if row else None


def get_version(tx: Transaction, user_id: str, version: int) -> Version | None:
    """Deleted ones too."""
    row = tx.one(
        f"SELECT {', '.join(Version._fields)} FROM key_backup_version WHERE user_id = ? AND version = ?",
        [user_id, version],
    )
    return Version(*row) if row else None


def update_auth_data(tx: Transaction, user_id: str, version: int, auth_data: bytes) -> None:
    tx.execute(
        "UPDATE key_backup_version SET auth_data = ? WHERE user_id = ? AND version = ?",
        [auth_data, user_id, version],
    )


def delete_version(tx: Transaction, user_id: str, version: int) -> None:
    tx.execute(
        "UPDATE key_backup_version SET deleted = 1, key_count = 0 WHERE user_id = ? AND version = ?",
        [user_id, version],
    )
    tx.execute("DELETE FROM key_backup_session WHERE user_id = ? AND version = ?", [user_id, version])


def forget_user(tx: Transaction, user_id: str) -> None:
    for table in ("key_backup_session", "key_backup_version"):
        tx.execute(f"DELETE FROM {table} WHERE user_id = ?", [user_id])


def put_sessions(
    tx: Transaction, user_id: str, version: int, sessions: Sequence[Session]
) -> tuple[int, int]:
    """Stores those that are new or better than what is held; the new (etag, count)."""
    changed = added = 0
    row = f"({','.join('?' * (2 + len(Session._fields)))})"
    for start in range(0, len(sessions), _CHUNK):
        some = sessions[start : start + _CHUNK]
        added += len(some) - _count_held(tx, user_id, version, some)
        changed += tx.execute(
            f"INSERT INTO key_backup_session AS s (user_id, version, {', '.join(Session._fields)})"
            f" VALUES {','.join([row] * len(some))}"
            " ON CONFLICT (user_id, version, room_id, session_id) DO UPDATE SET"
            f" {', '.join(f'{name} = excluded.{name}' for name in Session._fields[2:])} WHERE {_BETTER}",
            [value for session in some for value in (user_id, version, *session)],
        )
    return _moved(tx, user_id, version, changed, added)


def sessions(
    tx: Transaction, user_id: str, version: int, room_id: str | None = None, session_id: str | None = None
) -> list[Session]:
    where, params = _which(user_id, version, room_id, session_id)
    rows = tx.all(f"SELECT {', '.join(Session._fields)} FROM key_backup_session WHERE {where}", params)
    return [Session(*row) for row in rows]


def delete_sessions(
    tx: Transaction, user_id: str, version: int, room_id: str | None = None, session_id: str | None = None
) -> tuple[int, int]:
    """The new (etag, count)."""
    where, params = _which(user_id, version, room_id, session_id)
    deleted = tx.execute(f"DELETE FROM key_backup_session WHERE {where}", params)
    return _moved(tx, user_id, version, deleted, -deleted)


def _moved(tx: Transaction, user_id: str, version: int, changed: int, added: int) -> tuple[int, int]:
    if changed:
        tx.execute(
            "UPDATE key_backup_version SET etag = etag + 1, key_count = key_count + ?"
            " WHERE user_id = ? AND version = ?",
            [added, user_id, version],
        )
    row = tx.one(
        "SELECT etag, key_count FROM key_backup_version WHERE user_id = ? AND version = ?", [user_id, version]
    )
    assert row is not None
    return row[0], row[1]


def _count_held(tx: Transaction, user_id: str, version: int, sessions: Sequence[Session]) -> int:
    """How many of these sessions are held."""
    held: int = tx.value(
        f"WITH w (room_id, session_id) AS (VALUES {','.join(['(?,?)'] * len(sessions))})"
        " SELECT count(*) FROM w JOIN key_backup_session s ON s.user_id = ? AND s.version = ?"
        " AND s.room_id = w.room_id AND s.session_id = w.session_id",
        [*(name for session in sessions for name in session[:2]), user_id, version],
    )
    return held


def _which(
    user_id: str, version: int, room_id: str | None, session_id: str | None
) -> tuple[str, list[str | int]]:
    where = "user_id = ? AND version = ?"
    params: list[str | int] = [user_id, version]
    for column, value in (("room_id", room_id), ("session_id", session_id)):
        if value is not None:
            where += f" AND {column} = ?"
            params.append(value)
    return where, params
