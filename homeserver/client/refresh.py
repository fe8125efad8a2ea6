"""A new access token for a refresh token.

https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3refresh
"""

from typing import Any

from homeserver.http.endpoint import OPEN, Request, post
from homeserver.server import Server


class Refresh(Request, kw_only=True):
    refresh_token: str


@post("/_matrix/client/v3/refresh", auth=OPEN, rate="refresh")
async def refresh(server: Server, req: Refresh) -> dict[str, Any]:
    session = await server.tokens.refresh(req.refresh_token)
    answer = session.response()
    answer.pop("device_id", None)
    return answer
