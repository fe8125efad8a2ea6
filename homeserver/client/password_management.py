"""Changing one's password.

https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountpassword

The session that asks stays; the others end unless `logout_devices` is false.
"""

from homeserver.accounts.uia import PASSWORD
from homeserver.errors import Forbidden
from homeserver.http.endpoint import OPTIONAL, HttpRequest, Request, Requester, post
from homeserver.http.uia import authenticate
from homeserver.server import Server


class ChangePassword(Request, kw_only=True):
    new_password: str
    logout_devices: bool = True


@post("/_matrix/client/v3/account/password", auth=OPTIONAL, rate="account")
async def change_password(
    server: Server, me: Requester | None, http: HttpRequest, req: ChangePassword
) -> None:
    if not server.accounts.settings.password_login:
        raise Forbidden("Passwords are not used on this homeserver.")
    server.accounts.require_acceptable(req.new_password)
    done = await authenticate(server, http, me)
    user_id = me.user_id if me is not None else done.completed[PASSWORD]
    await server.accounts.set_password(user_id, req.new_password)
    if req.logout_devices:
        await server.devices.delete_all(user_id, keep=me)
