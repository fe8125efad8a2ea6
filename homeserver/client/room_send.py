"""Sending messages. https://spec.matrix.org/v1.19/client-server-api/#sending-events-to-a-room"""

from typing import Annotated, Any

from homeserver.http.endpoint import USER, Body, Request, put
from homeserver.http.requester import Requester
from homeserver.server import Server


class SendMessage(Request, kw_only=True):
    room_id: str
    event_type: str
    txn_id: str
    content: Annotated[dict[str, Any], Body]


@put(
    "/_matrix/client/v3/rooms/{room_id}/send/{event_type}/{txn_id}",
    auth=USER, rate="message", guests=True, writes=True,
)  # fmt: skip
async def send_message(server: Server, me: Requester, req: SendMessage) -> dict[str, Any]:
    event_id = await server.rooms.send(
        req.room_id,
        me.user_id,
        req.event_type,
        req.content,
        device_id=me.device_id,
        txn_id=req.txn_id,
        admin=me.is_admin,
    )
    server.presence.active(me.user_id)
    return {"event_id": event_id}
