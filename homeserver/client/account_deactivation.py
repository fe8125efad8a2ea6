"""Deactivating one's own account.

https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountdeactivate

Without an access token the password stage alone says whose account it is.
"""

from typing import Any

from homeserver.accounts.uia import PASSWORD
from homeserver.http.endpoint import OPTIONAL, HttpRequest, Request, Requester, post
from homeserver.http.uia import authenticate
from homeserver.server import Server


class Deactivate(Request, kw_only=True):
    erase: bool = False


@post("/_matrix/client/v3/account/deactivate", auth=OPTIONAL, rate="account")
async def deactivate(
    server: Server, me: Requester | None, http: HttpRequest, req: Deactivate
) -> dict[str, Any]:
    done = await authenticate(server, http, me)
    user_id = me.user_id if me is not None else done.completed[PASSWORD]
    await server.deactivation.deactivate(user_id, erase=req.erase)
    return {"id_server_unbind_result": "success"}
