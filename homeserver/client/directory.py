"""Room aliases. https://spec.matrix.org/v1.19/client-server-api/#room-aliases"""

from typing import Any

from homeserver.errors import Forbidden, MissingParam
from homeserver.http.endpoint import OPEN, USER, Request, delete, get, put
from homeserver.http.requester import Requester
from homeserver.server import Server

_ALIAS = "/_matrix/client/v3/directory/room/{room_alias}"


class NamedAlias(Request, kw_only=True):
    room_alias: str


class SetAlias(NamedAlias, kw_only=True):
    room_id: str


class GetAliases(Request, kw_only=True):
    room_id: str


@put(_ALIAS, auth=USER, writes=True, missing=MissingParam)
async def set_room_alias(server: Server, me: Requester, req: SetAlias) -> None:
    await server.directory.create(me.user_id, req.room_alias, req.room_id)


@get(_ALIAS, auth=OPEN)
async def get_room_id_by_alias(server: Server, req: NamedAlias) -> dict[str, Any]:
    room_id, servers = await server.directory.resolve(req.room_alias)
    return {"room_id": room_id, "servers": servers}


@delete(_ALIAS, auth=USER, writes=True)
async def delete_room_alias(server: Server, me: Requester, req: NamedAlias) -> None:
    await server.directory.delete(me.user_id, req.room_alias, is_admin=me.is_admin)


@get("/_matrix/client/v3/rooms/{room_id}/aliases", auth=USER)
async def get_local_aliases(server: Server, me: Requester, req: GetAliases) -> dict[str, Any]:
    access = await server.history.access(req.room_id, me.user_id)
    if not access.joined and not await server.history.is_world_readable(access.room):
        raise Forbidden("You are not a member of this room.")
    return {"aliases": await server.directory.aliases_of(req.room_id)}
