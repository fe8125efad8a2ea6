"""Kicking. https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidkick"""

from homeserver.errors import MissingParam
from homeserver.http.endpoint import USER, Request, post
from homeserver.http.requester import Requester
from homeserver.server import Server


class Kick(Request, kw_only=True):
    room_id: str
    user_id: str
    reason: str | None = None


@post("/_matrix/client/v3/rooms/{room_id}/kick", auth=USER, writes=True, missing=MissingParam)
async def kick(server: Server, me: Requester, req: Kick) -> None:
    await server.rooms.kick(req.room_id, me.user_id, req.user_id, req.reason)
