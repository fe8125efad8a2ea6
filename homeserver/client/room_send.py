"""Sending messages, now or later (MSC4140, see `delayed_events`).

https://spec.matrix.org/v1.19/client-server-api/#sending-events-to-a-room

Suspended users may send nothing but redactions of what they said themselves.
"""

from typing import Annotated, Any

from homeserver.client.redaction import require_own_if_suspended
from homeserver.http.endpoint import USER, Body, Query, Request, put
from homeserver.http.requester import Requester
from homeserver.server import Server


class SendMessage(Request, kw_only=True):
    room_id: str
    event_type: str
    txn_id: str
    content: Annotated[dict[str, Any], Body]
    delay: Annotated[int | None, Query("org.matrix.msc4140.delay")] = None


@put(
    "/_matrix/client/v3/rooms/{room_id}/send/{event_type}/{txn_id}",
    auth=USER, rate="message", guests=True,
)  # fmt: skip
async def send_message(server: Server, me: Requester, req: SendMessage) -> dict[str, Any]:
    redacted = req.content.get("redacts") if req.event_type == "m.room.redaction" else None
    await require_own_if_suspended(server, me, redacted if req.delay is None else None)
    if req.delay is not None:
        delay_id = await server.delayed_events.schedule(
            req.room_id, me.user_id, req.event_type, None, req.content, req.delay,
            device_id=me.device_id, txn_id=req.txn_id,
        )  # fmt: skip
        return {"delay_id": delay_id}
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
