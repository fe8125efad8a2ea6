"""This server's published rooms, for other servers.

https://spec.matrix.org/v1.19/server-server-api/#published-room-directory
"""

from typing import Any

import msgspec

from federation import federation
from federation.server.auth import SERVER, Origin
from homeserver.errors import Forbidden, InvalidParam
from homeserver.http.endpoint import Request, get, post
from homeserver.rooms.public_rooms import MOST_ROOMS, Search
from homeserver.server import Server

_PATH = "/_matrix/federation/v1/publicRooms"


class GetPublicRooms(Request, kw_only=True):
    limit: int | None = None
    since: str | None = None
    include_all_networks: bool = False
    third_party_instance_id: str | None = None


class RoomsFilter(msgspec.Struct, kw_only=True):
    generic_search_term: str | None = None
    room_types: list[str | None] | None = None


class QueryPublicRooms(GetPublicRooms, kw_only=True):
    filter: RoomsFilter | None = None


@get(_PATH, auth=SERVER)
async def get_public_rooms(server: Server, me: Origin, req: GetPublicRooms) -> dict[str, Any]:
    return await _list(server, RoomsFilter(), req)


@post(_PATH, auth=SERVER)
async def query_public_rooms(server: Server, me: Origin, req: QueryPublicRooms) -> dict[str, Any]:
    return await _list(server, req.filter or RoomsFilter(), req)


async def _list(server: Server, wanted: RoomsFilter, req: GetPublicRooms) -> dict[str, Any]:
    if not federation.of(server).serve_public_rooms:
        raise Forbidden("This server shows its rooms to its own users only.")
    if req.limit is not None and req.limit < 0:
        raise InvalidParam("The limit is negative.")
    search = Search.of(
        wanted.generic_search_term, wanted.room_types, req.third_party_instance_id, req.include_all_networks
    )
    # Between servers, zero and nothing mean no limit: as many as a page may have.
    return await server.public_rooms.page(search, limit=req.limit or MOST_ROOMS, since=req.since)
