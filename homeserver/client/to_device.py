"""Messages to devices. https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging"""

from typing import Any

from homeserver.http.endpoint import USER, Request, put
from homeserver.http.requester import Requester
from homeserver.server import Server


class SendToDevice(Request, kw_only=True):
    event_type: str
    txn_id: str
    messages: dict[str, dict[str, dict[str, Any]]]


@put("/_matrix/client/v3/sendToDevice/{event_type}/{txn_id}", auth=USER, rate="to_device", guests=True)
async def send_to_device(server: Server, me: Requester, req: SendToDevice) -> None:
    await server.to_device.send(me.user_id, me.device_id, req.event_type, req.messages, req.txn_id)
