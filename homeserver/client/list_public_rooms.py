"""The published room directory.

https://spec.matrix.org/v1.19/client-server-api/#published-room-directory
"""

from typing import Annotated, Any, Literal

import msgspec

from homeserver.errors import InvalidParam, MissingToken
from homeserver.http.endpoint import OPEN, OPTIONAL, USER, Query, Request, get, post, put
from homeserver.http.requester import Requester
from homeserver.protocol.ids import is_valid_server_name
from homeserver.rooms.public_rooms import EVERYTHING, Search
from homeserver.server import Server

_LISTED = "/_matrix/client/v3/directory/list/room/{room_id}"
_PUBLIC_ROOMS = "/_matrix/client/v3/publicRooms"


class GetListed(Request, kw_only=True):
    room_id: str


class SetListed(GetListed, kw_only=True):
    visibility: Literal["public", "private"] = "public"


class GetPublicRooms(Request, kw_only=True):
    limit: Annotated[int | None, Query()] = None
    since: Annotated[str | None, Query()] = None
    server: Annotated[str | None, Query()] = None


class RoomsFilter(msgspec.Struct, kw_only=True):
    generic_search_term: str | None = None
    room_types: list[str | None] | None = None


class QueryPublicRooms(Request, kw_only=True):
    server: Annotated[str | None, Query()] = None
    limit: int | None = None
    since: str | None = None
    filter: RoomsFilter | None = None
    include_all_networks: bool = False
    third_party_instance_id: str | None = None


@get(_LISTED, auth=OPEN)
async def get_room_visibility_on_directory(server: Server, req: GetListed) -> dict[str, Any]:
    return {"visibility": "public" if await server.directory.is_published(req.room_id) else "private"}


@put(_LISTED, auth=USER, writes=True)
async def set_room_visibility_on_directory(server: Server, me: Requester, req: SetListed) -> None:
    await server.directory.set_published(
        me.user_id, req.room_id, req.visibility == "public", is_admin=me.is_admin
    )


@get(_PUBLIC_ROOMS, auth=OPTIONAL)
async def get_public_rooms(server: Server, me: Requester | None, req: GetPublicRooms) -> dict[str, Any]:
    if me is None and not server.config.allow_public_rooms_without_auth:
        raise MissingToken("This server shows its rooms to its users only.")
    return await _list(server, EVERYTHING, req)


@post(_PUBLIC_ROOMS, auth=USER)
async def query_public_rooms(server: Server, me: Requester, req: QueryPublicRooms) -> dict[str, Any]:
    wanted = req.filter or RoomsFilter()
    search = Search.of(
        wanted.generic_search_term, wanted.room_types, req.third_party_instance_id, req.include_all_networks
    )
    return await _list(server, search, req)


async def _list(server: Server, search: Search, req: GetPublicRooms | QueryPublicRooms) -> dict[str, Any]:
    if req.limit is not None and req.limit < 0:
        raise InvalidParam("The limit is negative.")
    if req.server is not None and req.server != server.config.server_name:
        if not is_valid_server_name(req.server):
            raise InvalidParam("This is not a server name.")
        return await server.public_rooms.page_of(req.server, search, limit=req.limit, since=req.since)
    return await server.public_rooms.page(search, limit=req.limit, since=req.since)
