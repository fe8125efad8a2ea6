"""Whose OpenID token it is.

https://spec.matrix.org/v1.19/server-server-api/#openid

Anybody may ask who holds a token, with no signature: it is third parties that ask (the service that opens
calls, say), also where this server federates with nobody.
"""

from homeserver.errors import MissingToken
from homeserver.http.endpoint import OPEN, Request, get
from homeserver.server import Server


class UserInfo(Request, kw_only=True):
    access_token: str | None = None


@get("/_matrix/federation/v1/openid/userinfo", auth=OPEN)
async def exchange_open_id_token(server: Server, req: UserInfo) -> dict[str, str]:
    if req.access_token is None:
        raise MissingToken("An access_token is required.")
    return {"sub": await server.openid.owner(req.access_token)}
