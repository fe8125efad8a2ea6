"""Read receipts. https://spec.matrix.org/v1.19/client-server-api/#receipts"""

from typing import Annotated, Any

from homeserver.errors import InvalidParam
from homeserver.http.endpoint import USER, Body, Request, post
from homeserver.http.requester import Requester
from homeserver.server import Server


class PostReceipt(Request, kw_only=True):
    room_id: str
    receipt_type: str
    event_id: str
    content: Annotated[dict[str, Any], Body] = {}


@post("/_matrix/client/v3/rooms/{room_id}/receipt/{receipt_type}/{event_id}", auth=USER, rate="receipt")
async def post_receipt(server: Server, me: Requester, req: PostReceipt) -> None:
    thread_id = req.content.get("thread_id")
    if "thread_id" in req.content and not (isinstance(thread_id, str) and thread_id):
        raise InvalidParam("thread_id must be a non-empty string.")
    await server.receipts.mark(me.user_id, req.room_id, {req.receipt_type: req.event_id}, thread_id)
    server.presence.active(me.user_id)
