"""Server-side backups of room keys.

https://spec.matrix.org/v1.19/client-server-api/#server-side-key-backups

The server keeps what it cannot read. Keys may only be written to the current version, and the client that
is late learns which that is; reading and deleting work with any version that still exists.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import orjson

from homeserver.devices import opaque
from homeserver.errors import InvalidParam, MatrixError, NotFound
from storage import key_backup
from storage.database import Database
from storage.key_backup import Session, Version
from storage.transaction import Transaction

MAX_SESSION_BYTES = 65_536
MAX_AUTH_DATA_BYTES = 65_536
MAX_ID = 255


class WrongVersion(MatrixError):
    status, errcode = 403, "M_WRONG_ROOM_KEYS_VERSION"

    def __init__(self, current: int) -> None:
        super().__init__("This is not the current backup version.", current_version=str(current))


class KeyBackup:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def create(self, user_id: str, algorithm: str, auth_data: Mapping[str, Any]) -> str:
        """The new version, which is the current one from now on."""
        version = await self._db.write(
            key_backup.create_version, user_id, _checked_algorithm(algorithm), _auth_data(auth_data)
        )
        return str(version)

    async def info(self, user_id: str, version: str | None = None) -> bytes:
        """The JSON of the version's description; of the current version if none is named."""
        if version is None:
            found = await self._db.read(key_backup.current_version, user_id)
        else:
            found = await self._db.read(key_backup.get_version, user_id, _number(version))
        if found is None or found.deleted:
            _unknown()
        return orjson.dumps({
            "algorithm": found.algorithm,
            "auth_data": opaque.fragment(found.auth_data),
            "count": found.key_count,
            "etag": str(found.etag),
            "version": str(found.version),
        })

    async def update(
        self,
        user_id: str,
        version: str,
        algorithm: str,
        auth_data: Mapping[str, Any],
        body_version: str | None = None,
    ) -> None:
        if body_version is not None and body_version != version:
            raise InvalidParam("The version in the body is not that in the path.")
        _refuse(await self._db.write(_update, user_id, _number(version), algorithm, _auth_data(auth_data)))

    async def delete(self, user_id: str, version: str) -> None:
        """Deleting it again is fine; one that never was is not."""
        _refuse(await self._db.write(_delete, user_id, _number(version)))

    async def forget(self, user_id: str, erased: bool) -> None:
        """The account is no more; nobody will ask for its keys."""
        await self._db.write(key_backup.forget_user, user_id)

    async def put(self, user_id: str, version: str, sessions: Sequence[Session]) -> dict[str, Any]:
        """The new etag and count."""
        return _moved(await self._db.write(_put, user_id, _number(version), sessions))

    async def sessions(
        self, user_id: str, version: str, room_id: str | None = None, session_id: str | None = None
    ) -> list[Session]:
        found = await self._db.read(_sessions, user_id, _number(version), room_id, session_id)
        return found if found is not None else _unknown()

    async def delete_sessions(
        self, user_id: str, version: str, room_id: str | None = None, session_id: str | None = None
    ) -> dict[str, Any]:
        """The new etag and count."""
        return _moved(
            await self._db.write(_delete_sessions, user_id, _number(version), room_id, session_id)
        )


def session(
    room_id: str,
    session_id: str,
    *,
    is_verified: bool,
    first_message_index: int,
    forwarded_count: int,
    session_data: Mapping[str, Any],
) -> Session:
    """A session as a client sends it, checked."""
    for name in (room_id, session_id):
        if "\0" in name or not 0 < len(name) <= MAX_ID:
            raise InvalidParam("Not a room or session ID.")
    data = opaque.to_bytes(session_data)
    if len(data) > MAX_SESSION_BYTES:
        raise InvalidParam("The session data are too large.")
    return Session(room_id, session_id, int(is_verified), first_message_index, forwarded_count, data)


def render(found: Session) -> dict[str, Any]:
    """A session as a client gets it, for `orjson.dumps`."""
    return {
        "first_message_index": found.first_message_index,
        "forwarded_count": found.forwarded_count,
        "is_verified": bool(found.is_verified),
        "session_data": opaque.fragment(found.session_data),
    }


def _update(
    tx: Transaction, user_id: str, version: int, algorithm: str, auth_data: bytes
) -> MatrixError | None:
    held = _existing(tx, user_id, version)
    if held is None:
        return NotFound("Unknown backup version.")
    if held.algorithm != algorithm:
        return InvalidParam("The algorithm of a backup cannot be changed.")
    key_backup.update_auth_data(tx, user_id, version, auth_data)
    return None


def _delete(tx: Transaction, user_id: str, version: int) -> MatrixError | None:
    if key_backup.get_version(tx, user_id, version) is None:
        return NotFound("Unknown backup version.")
    key_backup.delete_version(tx, user_id, version)
    return None


def _put(
    tx: Transaction, user_id: str, version: int, sessions: Sequence[Session]
) -> tuple[int, int] | MatrixError:
    current = key_backup.current_version(tx, user_id)
    if current is not None and current.version == version:
        return key_backup.put_sessions(tx, user_id, version, sessions)
    if current is None or _existing(tx, user_id, version) is None:
        return NotFound("Unknown backup version.")
    return WrongVersion(current.version)


def _sessions(
    tx: Transaction, user_id: str, version: int, room_id: str | None, session_id: str | None
) -> list[Session] | None:
    if _existing(tx, user_id, version) is None:
        return None
    return key_backup.sessions(tx, user_id, version, room_id, session_id)


def _delete_sessions(
    tx: Transaction, user_id: str, version: int, room_id: str | None, session_id: str | None
) -> tuple[int, int] | MatrixError:
    if _existing(tx, user_id, version) is None:
        return NotFound("Unknown backup version.")
    return key_backup.delete_sessions(tx, user_id, version, room_id, session_id)


def _existing(tx: Transaction, user_id: str, version: int) -> Version | None:
    held = key_backup.get_version(tx, user_id, version)
    return held if held is not None and not held.deleted else None


def _moved(outcome: tuple[int, int] | MatrixError) -> dict[str, Any]:
    if isinstance(outcome, MatrixError):
        raise outcome
    etag, count = outcome
    return {"etag": str(etag), "count": count}


def _refuse(error: MatrixError | None) -> None:
    if error is not None:
        raise error


def _number(version: str) -> int:
    """Versions are decimal numbers to us; anything else is a version that never was."""
    if not version.isascii() or not version.isdigit() or len(version) > 15:
        _unknown()
    return int(version)


def _unknown() -> NoReturn:
    raise NotFound("Unknown backup version.")


def _checked_algorithm(algorithm: str) -> str:
    if "\0" in algorithm or not 0 < len(algorithm) <= MAX_ID:
        raise InvalidParam("Not the name of an algorithm.")
    return algorithm


def _auth_data(auth_data: Mapping[str, Any]) -> bytes:
    data = opaque.to_bytes(auth_data)
    if len(data) > MAX_AUTH_DATA_BYTES:
        raise InvalidParam("auth_data is too large.")
    return data
