"""What administrators do to accounts, and who is using one.

https://spec.matrix.org/v1.19/client-server-api/#server-administration

Whether somebody may ask is checked before any account is looked up, so nobody learns here who exists.
"""

from typing import Any

from homeserver.accounts.requester import Requester
from homeserver.errors import Forbidden, InvalidParam, NotFound
from homeserver.http.endpoint import ADMIN, USER, Request, get, put
from homeserver.protocol.ids import is_valid_user_id, server_of
from homeserver.server import Server
from storage.accounts import Account

_ADMIN = "/_matrix/client/v1/admin/"
_SUSPEND = _ADMIN + "suspend/{user_id}"
_LOCK = _ADMIN + "lock/{user_id}"
# What clients call that were written for MSC4323.
_OLD = "/_matrix/client/unstable/uk.timedout.msc4323/admin/"
_OLD_SUSPEND = [_OLD + "suspend/{user_id}"]
_OLD_LOCK = [_OLD + "lock/{user_id}"]


class OfUser(Request, kw_only=True):
    user_id: str


class Suspend(OfUser, kw_only=True):
    suspended: bool


class Lock(OfUser, kw_only=True):
    locked: bool


@get(_SUSPEND, auth=ADMIN, aliases=_OLD_SUSPEND)
async def get_admin_suspend_user(server: Server, me: Requester, req: OfUser) -> dict[str, Any]:
    return {"suspended": (await _moderated(server, me, req.user_id)).suspended}


@put(_SUSPEND, auth=ADMIN, aliases=_OLD_SUSPEND)
async def set_admin_suspend_user(server: Server, me: Requester, req: Suspend) -> dict[str, Any]:
    await _moderated(server, me, req.user_id)
    await server.accounts.set_flag(req.user_id, "suspended", req.suspended)
    return {"suspended": req.suspended}


@get(_LOCK, auth=ADMIN, aliases=_OLD_LOCK)
async def get_admin_lock_user(server: Server, me: Requester, req: OfUser) -> dict[str, Any]:
    return {"locked": (await _moderated(server, me, req.user_id)).locked}


@put(_LOCK, auth=ADMIN, aliases=_OLD_LOCK)
async def set_admin_lock_user(server: Server, me: Requester, req: Lock) -> dict[str, Any]:
    await _moderated(server, me, req.user_id)
    await server.accounts.set_flag(req.user_id, "locked", req.locked)
    return {"locked": req.locked}


@get("/_matrix/client/v3/admin/whois/{user_id}", auth=USER)
async def get_who_is(server: Server, me: Requester, req: OfUser) -> dict[str, Any]:
    """One session a device; of each, where it was last used from."""
    if req.user_id != me.user_id and not me.is_admin:
        raise Forbidden("Only administrators may ask who somebody else is.")
    account = await _local(server, req.user_id)
    used = await server.devices.connections(account.user_id)
    return {
        "user_id": account.user_id,
        "devices": {
            seen.device_id: {
                "sessions": [
                    {
                        "connections": [
                            {"ip": seen.ip, "last_seen": seen.ts, "user_agent": seen.user_agent}
                        ]
                    }
                ]
            }
            for seen in used
        },
    }


async def _moderated(server: Server, me: Requester, user_id: str) -> Account:
    """The account, if this administrator may suspend and lock it."""
    if user_id == me.user_id:
        raise Forbidden("You cannot do this to your own account.")
    account = await _local(server, user_id)
    if account.is_admin:
        raise Forbidden("This cannot be done to another administrator.")
    return account


async def _local(server: Server, user_id: str) -> Account:
    if not is_valid_user_id(user_id) or server_of(user_id) != server.config.server_name:
        raise InvalidParam("This is not a user of this server.")
    account = await server.accounts.require(user_id)
    if account.deactivated:
        raise NotFound("There is no such user.")
    return account
