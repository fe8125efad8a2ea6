"""Key backups. https://spec.matrix.org/v1.19/client-server-api/#server-side-key-backups

One session, one room or all: the three forms of each operation differ only in how the answer is nested.
"""

from typing import Annotated, Any

import msgspec
import orjson

from homeserver.devices import key_backup
from homeserver.errors import NotFound
from homeserver.http.endpoint import USER, Query, Request, delete, get, post, put
from homeserver.http.requester import Requester
from homeserver.server import Server
from storage.key_backup import Session

_VERSION = "/_matrix/client/v3/room_keys/version"
_KEYS = "/_matrix/client/v3/room_keys/keys"

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]


class KeyBackupData(msgspec.Struct):
    first_message_index: Count
    forwarded_count: Count
    is_verified: bool
    session_data: dict[str, Any]


class RoomKeyBackup(msgspec.Struct):
    sessions: dict[str, KeyBackupData]


class CreateVersion(Request, kw_only=True):
    algorithm: str
    auth_data: dict[str, Any]


class OneVersion(Request, kw_only=True):
    version: str


class UpdateVersion(Request, kw_only=True):
    updated: str
    version: str | None = None
    algorithm: str
    auth_data: dict[str, Any]


class InBackup(Request, kw_only=True):
    version: Annotated[str, Query()]


class RoomInBackup(InBackup, kw_only=True):
    room_id: str


class SessionInBackup(RoomInBackup, kw_only=True):
    session_id: str


class PutKeys(InBackup, kw_only=True):
    rooms: dict[str, RoomKeyBackup]


class PutRoomKeys(RoomInBackup, kw_only=True):
    sessions: dict[str, KeyBackupData]


class PutSessionKey(SessionInBackup, kw_only=True):
    first_message_index: Count
    forwarded_count: Count
    is_verified: bool
    session_data: dict[str, Any]


@post(_VERSION, auth=USER, rate="key_backup")
async def create_version(server: Server, me: Requester, req: CreateVersion) -> dict[str, Any]:
    return {"version": await server.key_backup.create(me.user_id, req.algorithm, req.auth_data)}


@get(_VERSION, auth=USER)
async def get_current_version(server: Server, me: Requester) -> bytes:
    return await server.key_backup.info(me.user_id)


@get(_VERSION + "/{version}", auth=USER)
async def get_version(server: Server, me: Requester, req: OneVersion) -> bytes:
    return await server.key_backup.info(me.user_id, req.version)


@put(_VERSION + "/{updated}", auth=USER, rate="key_backup")
async def update_version(server: Server, me: Requester, req: UpdateVersion) -> None:
    await server.key_backup.update(me.user_id, req.updated, req.algorithm, req.auth_data, req.version)


@delete(_VERSION + "/{version}", auth=USER, rate="key_backup")
async def delete_version(server: Server, me: Requester, req: OneVersion) -> None:
    await server.key_backup.delete(me.user_id, req.version)


@put(_KEYS, auth=USER, rate="key_backup")
async def put_keys(server: Server, me: Requester, req: PutKeys) -> dict[str, Any]:
    sessions = [
        _session(room_id, session_id, data)
        for room_id, room in req.rooms.items()
        for session_id, data in room.sessions.items()
    ]
    return await server.key_backup.put(me.user_id, req.version, sessions)


@put(_KEYS + "/{room_id}", auth=USER, rate="key_backup")
async def put_room_keys(server: Server, me: Requester, req: PutRoomKeys) -> dict[str, Any]:
    sessions = [_session(req.room_id, session_id, data) for session_id, data in req.sessions.items()]
    return await server.key_backup.put(me.user_id, req.version, sessions)


@put(_KEYS + "/{room_id}/{session_id}", auth=USER, rate="key_backup")
async def put_session_key(server: Server, me: Requester, req: PutSessionKey) -> dict[str, Any]:
    return await server.key_backup.put(me.user_id, req.version, [_session(req.room_id, req.session_id, req)])


@get(_KEYS, auth=USER)
async def get_keys(server: Server, me: Requester, req: InBackup) -> bytes:
    rooms: dict[str, dict[str, dict[str, Any]]] = {}
    for found in await server.key_backup.sessions(me.user_id, req.version):
        room = rooms.setdefault(found.room_id, {"sessions": {}})
        room["sessions"][found.session_id] = key_backup.render(found)
    return orjson.dumps({"rooms": rooms})


@get(_KEYS + "/{room_id}", auth=USER)
async def get_room_keys(server: Server, me: Requester, req: RoomInBackup) -> bytes:
    held = await server.key_backup.sessions(me.user_id, req.version, req.room_id)
    return orjson.dumps({"sessions": {found.session_id: key_backup.render(found) for found in held}})


@get(_KEYS + "/{room_id}/{session_id}", auth=USER)
async def get_session_key(server: Server, me: Requester, req: SessionInBackup) -> bytes:
    held = await server.key_backup.sessions(me.user_id, req.version, req.room_id, req.session_id)
    if not held:
        raise NotFound("The key was not found.")
    return orjson.dumps(key_backup.render(held[0]))


@delete(_KEYS, auth=USER, rate="key_backup")
async def delete_keys(server: Server, me: Requester, req: InBackup) -> dict[str, Any]:
    return await server.key_backup.delete_sessions(me.user_id, req.version)


@delete(_KEYS + "/{room_id}", auth=USER, rate="key_backup")
async def delete_room_keys(server: Server, me: Requester, req: RoomInBackup) -> dict[str, Any]:
    return await server.key_backup.delete_sessions(me.user_id, req.version, req.room_id)


@delete(_KEYS + "/{room_id}/{session_id}", auth=USER, rate="key_backup")
async def delete_session_key(server: Server, me: Requester, req: SessionInBackup) -> dict[str, Any]:
    return await server.key_backup.delete_sessions(me.user_id, req.version, req.room_id, req.session_id)


def _session(room_id: str, session_id: str, data: KeyBackupData | PutSessionKey) -> Session:
    return key_backup.session(
        room_id,
        session_id,
        is_verified=data.is_verified,
        first_message_index=data.first_message_index,
        forwarded_count=data.forwarded_count,
        session_data=data.session_data,
    )
