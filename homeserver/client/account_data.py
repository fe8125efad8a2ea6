"""Account data. https://spec.matrix.org/v1.19/client-server-api/#client-config

`m.push_rules` can be read here as well, though push rules are kept elsewhere. Deleting is MSC3391.
"""

from typing import Annotated, Any

from homeserver.errors import Forbidden
from homeserver.http.endpoint import USER, Body, Request, delete, get, put
from homeserver.http.requester import Requester
from homeserver.server import Server

PUSH_RULES = "m.push_rules"

_USER = "/_matrix/client/v3/user/{user_id}"
_UNSTABLE = "/_matrix/client/unstable/org.matrix.msc3391/user/{user_id}"
_GLOBAL = "/account_data/{type}"
_ROOM = "/rooms/{room_id}/account_data/{type}"


class Datum(Request, kw_only=True):
    user_id: str
    type: str


class RoomDatum(Datum, kw_only=True):
    room_id: str


class SetDatum(Datum, kw_only=True):
    content: Annotated[dict[str, Any], Body]


class SetRoomDatum(RoomDatum, kw_only=True):
    content: Annotated[dict[str, Any], Body]


def _require_own(me: Requester, req: Datum) -> None:
    if req.user_id != me.user_id:
        raise Forbidden("Account data is for its owner only.")


@put(_USER + _GLOBAL, auth=USER, rate="account_data")
async def set_account_data(server: Server, me: Requester, req: SetDatum) -> None:
    _require_own(me, req)
    await server.account_data.set(me.user_id, None, req.type, req.content)


@get(_USER + _GLOBAL, auth=USER)
async def get_account_data(server: Server, me: Requester, req: Datum) -> bytes | dict[str, Any]:
    _require_own(me, req)
    if req.type == PUSH_RULES:
        return server.push_rules.as_account_data(me.user_id)
    return await server.account_data.get(me.user_id, None, req.type)


@delete(_UNSTABLE + _GLOBAL, auth=USER, rate="account_data")
async def delete_account_data(server: Server, me: Requester, req: Datum) -> None:
    _require_own(me, req)
    await server.account_data.delete(me.user_id, None, req.type)


@put(_USER + _ROOM, auth=USER, rate="account_data")
async def set_room_account_data(server: Server, me: Requester, req: SetRoomDatum) -> None:
    _require_own(me, req)
    await server.account_data.set(me.user_id, req.room_id, req.type, req.content)


@get(_USER + _ROOM, auth=USER)
async def get_room_account_data(server: Server, me: Requester, req: RoomDatum) -> bytes:
    _require_own(me, req)
    return await server.account_data.get(me.user_id, req.room_id, req.type)


@delete(_UNSTABLE + _ROOM, auth=USER, rate="account_data")
async def delete_room_account_data(server: Server, me: Requester, req: RoomDatum) -> None:
    _require_own(me, req)
    await server.account_data.delete(me.user_id, req.room_id, req.type)
