"""Logging out: the token, its device, and everything that hangs on the device.

https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3logout
"""

from homeserver.http.endpoint import USER, Requester, post
from homeserver.server import Server


@post("/_matrix/client/v3/logout", auth=USER, guests=True, locked=True)
async def logout(server: Server, me: Requester) -> None:
    await server.accounts.log_out(me)


@post("/_matrix/client/v3/logout/all", auth=USER, guests=True, locked=True)
async def logout_all(server: Server, me: Requester) -> None:
    await server.devices.delete_all(me.user_id)
