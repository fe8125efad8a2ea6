"""Typing notifications. https://spec.matrix.org/v1.19/client-server-api/#typing-notifications"""

from homeserver.errors import Forbidden
from homeserver.http.endpoint import USER, Request, put
from homeserver.http.requester import Requester
from homeserver.server import Server


class SetTyping(Request, kw_only=True):
    room_id: str
    user_id: str
    typing: bool
    timeout: int = 30_000


@put("/_matrix/client/v3/rooms/{room_id}/typing/{user_id}", auth=USER, rate="typing")
async def set_typing(server: Server, me: Requester, req: SetTyping) -> None:
    if req.user_id != me.user_id:
        raise Forbidden("You can only set your own typing state.")
    await server.rooms.require_joined(req.room_id, me.user_id)
    server.typing.set(req.room_id, me.user_id, req.typing, req.timeout)
    server.presence.active(me.user_id)
