"""A token that signs in one more device of the user.

https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv1loginget_token
"""

from typing import Any

from homeserver.errors import Unrecognized
from homeserver.http.endpoint import USER, HttpRequest, Requester, post
from homeserver.http.uia import authenticate
from homeserver.server import Server


@post("/_matrix/client/v1/login/get_token", auth=USER)
async def get_login_token(server: Server, me: Requester, http: HttpRequest) -> dict[str, Any]:
    if not server.accounts.settings.login_via_existing_session:
        raise Unrecognized("Logging in with a token is not enabled.")
    if server.accounts.settings.login_token_asks_again:
        await authenticate(server, http, me, afresh=True)
    http.limiter.check("login_token", me.user_id)
    token, lifetime = await server.tokens.create_login_token(me.user_id)
    return {"login_token": token, "expires_in_ms": lifetime}
