"""What one was notified of.

https://spec.matrix.org/v1.19/client-server-api/#listing-notifications
"""

from typing import Annotated, Any

from homeserver.client.relations import positive_limit
from homeserver.http.endpoint import USER, Query, Request, get
from homeserver.http.requester import Requester
from homeserver.server import Server


class GetNotifications(Request, kw_only=True):
    start: Annotated[str | None, Query("from")] = None
    limit: Annotated[int | None, Query()] = None
    only: Annotated[str | None, Query()] = None


@get("/_matrix/client/v3/notifications", auth=USER)
async def get_notifications(server: Server, me: Requester, req: GetNotifications) -> dict[str, Any]:
    notified, end = await server.notifications.page(
        me.user_id, req.start, positive_limit(req.limit), only_highlights=req.only == "highlight"
    )
    events = await server.serializer.client_events(
        [each.stored for each in notified], me.user_id, me.device_id, room_id=False
    )
    response: dict[str, Any] = {
        "notifications": [
            {
                "actions": each.actions,
                "event": event,
                "read": each.read,
                "room_id": each.stored.event.room_id,
                "ts": each.stored.event.origin_server_ts,
            }
            for each, event in zip(notified, events, strict=True)
        ]
    }
    if end is not None:
        response["next_token"] = end
    return response
