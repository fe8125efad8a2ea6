"""Banning. https://spec.matrix.org/v1.19/client-server-api/#banning-users-in-a-room"""

from homeserver.errors import MissingParam
from homeserver.http.endpoint import USER, Request, post
from homeserver.http.requester import Requester
from homeserver.server import Server


class Ban(Request, kw_only=True):
    room_id: str
    user_id: str
    reason: str | None = None


@post("/_matrix/client/v3/rooms/{room_id}/ban", auth=USER, writes=True, missing=MissingParam)
async def ban(server: Server, me: Requester, req: Ban) -> None:
    await server.rooms.ban(req.room_id, me.user_id, req.user_id, req.reason)


@post("/_matrix/client/v3/rooms/{room_id}/unban", auth=USER, writes=True, missing=MissingParam)
async def unban(server: Server, me: Requester, req: Ban) -> None:
    await server.rooms.unban(req.room_id, me.user_id, req.user_id, req.reason)
