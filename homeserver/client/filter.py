"""Uploading and downloading filters. https://spec.matrix.org/v1.19/client-server-api/#filtering"""

from typing import Annotated, Any

from homeserver.errors import Forbidden
from homeserver.http.endpoint import USER, Body, Request, get, post
from homeserver.http.requester import Requester
from homeserver.server import Server


class DefineFilter(Request, kw_only=True):
    user_id: str
    definition: Annotated[dict[str, Any], Body]


class GetFilter(Request, kw_only=True):
    user_id: str
    filter_id: str


@post("/_matrix/client/v3/user/{user_id}/filter", auth=USER, rate="filter")
async def define_filter(server: Server, me: Requester, req: DefineFilter) -> dict[str, Any]:
    if req.user_id != me.user_id:
        raise Forbidden("You can only upload filters of your own.")
    return {"filter_id": await server.filters.create(me.user_id, req.definition)}


@get("/_matrix/client/v3/user/{user_id}/filter/{filter_id}", auth=USER)
async def get_filter(server: Server, me: Requester, req: GetFilter) -> bytes:
    if req.user_id != me.user_id:
        raise Forbidden("You can only read filters of your own.")
    return await server.filters.definition(me.user_id, req.filter_id)
