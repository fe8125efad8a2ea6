"""Leaving and forgetting. https://spec.matrix.org/v1.19/client-server-api/#leaving-rooms

Open to suspended users: nobody is held in a room.
"""

from homeserver.http.endpoint import USER, Request, post
from homeserver.http.requester import Requester
from homeserver.server import Server


class Leave(Request, kw_only=True):
    room_id: str
    reason: str | None = None


class Forget(Request, kw_only=True):
    room_id: str


@post("/_matrix/client/v3/rooms/{room_id}/leave", auth=USER, guests=True)
async def leave_room(server: Server, me: Requester, req: Leave) -> None:
    await server.rooms.leave(req.room_id, me.user_id, req.reason)


@post("/_matrix/client/v3/rooms/{room_id}/forget", auth=USER)
async def forget_room(server: Server, me: Requester, req: Forget) -> None:
    await server.rooms.forget(me.user_id, req.room_id)
