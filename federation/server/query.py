"""Answering queries: what an alias stands for, and profiles. Other types of queries nobody has specified.

https://spec.matrix.org/v1.19/server-server-api/#querying-for-information
"""

from typing import Any

from federation.server.auth import SERVER, Origin
from homeserver.errors import InvalidParam, MissingParam, Unrecognized
from homeserver.http.endpoint import Request, get
from homeserver.protocol.ids import domain_of, is_valid_alias, is_valid_user_id
from homeserver.server import Server

_QUERY = "/_matrix/federation/v1/query/"


class QueryDirectory(Request, kw_only=True):
    room_alias: str


class QueryProfile(Request, kw_only=True):
    user_id: str
    field: str | None = None


@get(_QUERY + "directory", auth=SERVER, missing=MissingParam)
async def query_room_directory(server: Server, me: Origin, req: QueryDirectory) -> dict[str, Any]:
    if not is_valid_alias(req.room_alias) or domain_of(req.room_alias) != server.config.server_name:
        raise InvalidParam("This is not an alias of this server.")
    room_id, servers = await server.directory.resolve(req.room_alias)
    return {"room_id": room_id, "servers": servers}


@get(_QUERY + "profile", auth=SERVER, missing=MissingParam)
async def query_profile(server: Server, me: Origin, req: QueryProfile) -> dict[str, Any]:
    if not is_valid_user_id(req.user_id) or domain_of(req.user_id) != server.config.server_name:
        raise InvalidParam("This is not a user of this server.")
    if req.field is None:
        return await server.profiles.get(req.user_id)
    return await server.profiles.get_field(req.user_id, req.field)


class QueryInfo(Request, kw_only=True):
    query_type: str


@get(_QUERY + "{query_type}", auth=SERVER)
async def query_info(server: Server, me: Origin, req: QueryInfo) -> dict[str, Any]:
    raise Unrecognized("There is no such type of query.")
