"""Proving to others who one is. https://spec.matrix.org/v1.19/client-server-api/#openid"""

from typing import Any

from homeserver.errors import Forbidden
from homeserver.http.endpoint import USER, Request, post
from homeserver.http.requester import Requester
from homeserver.server import Server


class RequestToken(Request, kw_only=True):
    user_id: str


@post("/_matrix/client/v3/user/{user_id}/openid/request_token", auth=USER, rate="openid")
async def request_openid_token(server: Server, me: Requester, req: RequestToken) -> dict[str, Any]:
    if req.user_id != me.user_id:
        raise Forbidden("You cannot request tokens for other users.")
    return await server.openid.request(me.user_id)
