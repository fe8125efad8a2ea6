"""Redactions. https://spec.matrix.org/v1.19/client-server-api/#redactions

Open to suspended users: they may still take back what they said themselves.
"""

from typing import Any

from homeserver.accounts.requester import UserSuspended
from homeserver.http.endpoint import USER, Request, put
from homeserver.http.requester import Requester
from homeserver.server import Server


class Redact(Request, kw_only=True):
    room_id: str
    event_id: str
    txn_id: str
    reason: str | None = None


@put("/_matrix/client/v3/rooms/{room_id}/redact/{event_id}/{txn_id}", auth=USER, rate="message")
async def redact_event(server: Server, me: Requester, req: Redact) -> dict[str, Any]:
    await require_own_if_suspended(server, me, req.event_id)
    event_id = await server.rooms.redact(
        req.room_id,
        me.user_id,
        req.event_id,
        req.reason,
        device_id=me.device_id,
        txn_id=req.txn_id,
        admin=me.is_admin,
    )
    return {"event_id": event_id}


async def require_own_if_suspended(server: Server, me: Requester, event_id: Any) -> None:
    if me.is_suspended:
        target = await server.events.get(event_id) if isinstance(event_id, str) else None
        if target is None or target.event.sender != me.user_id:
            raise UserSuspended
