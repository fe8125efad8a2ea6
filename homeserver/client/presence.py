"""Presence. https://spec.matrix.org/v1.19/client-server-api/#presence"""

from typing import Any, Literal

from homeserver.errors import Forbidden
from homeserver.http.endpoint import USER, Request, get, put
from homeserver.http.requester import Requester
from homeserver.server import Server

_STATUS = "/_matrix/client/v3/presence/{user_id}/status"


class GetPresence(Request, kw_only=True):
    user_id: str


class SetPresence(Request, kw_only=True):
    user_id: str
    presence: Literal["online", "offline", "unavailable"]
    status_msg: str | None = None


@put(_STATUS, auth=USER, rate="presence")
async def set_presence(server: Server, me: Requester, req: SetPresence) -> None:
    if req.user_id != me.user_id:
        raise Forbidden("You can only set your own presence.")
    server.presence.set(me.user_id, req.presence, req.status_msg)


@get(_STATUS, auth=USER)
async def get_presence(server: Server, me: Requester, req: GetPresence) -> dict[str, Any]:
    if not await server.presence.may_see(me.user_id, req.user_id):
        raise Forbidden("You are not allowed to see their presence.")
    state = await server.presence.lookup(req.user_id)
    return state.content(server.clock.now_ms())
