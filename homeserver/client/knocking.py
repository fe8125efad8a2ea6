"""Knocking. https://spec.matrix.org/v1.19/client-server-api/#knocking-on-rooms"""

from typing import Annotated, Any

from homeserver.client.joining import room_of
from homeserver.http.endpoint import USER, Query, Request, post
from homeserver.http.requester import Requester
from homeserver.server import Server


class Knock(Request, kw_only=True):
    room_id_or_alias: str
    via: Annotated[list[str], Query()] = []
    server_name: Annotated[list[str], Query()] = []
    reason: str | None = None


@post("/_matrix/client/v3/knock/{room_id_or_alias}", auth=USER, rate="join", writes=True)
async def knock_room(server: Server, me: Requester, req: Knock) -> dict[str, Any]:
    room_id, servers = await room_of(server, req.room_id_or_alias)
    via = [*req.via, *req.server_name, *servers]
    await server.rooms.knock(room_id, me.user_id, req.reason, via)
    return {"room_id": room_id}
