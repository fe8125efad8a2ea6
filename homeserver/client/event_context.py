"""What surrounds an event.

https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidcontexteventid
"""

from typing import Annotated, Any

from homeserver.client.message_pagination import limit_of
from homeserver.http.endpoint import USER, Query, Request, get
from homeserver.http.requester import Requester
from homeserver.server import Server
from homeserver.sync.filters import room_event_filter


class GetContext(Request, kw_only=True):
    room_id: str
    event_id: str
    limit: Annotated[int | None, Query()] = None
    filter: Annotated[str | None, Query()] = None


@get("/_matrix/client/v3/rooms/{room_id}/context/{event_id}", auth=USER, guests=True)
async def get_event_context(server: Server, me: Requester, req: GetContext) -> dict[str, Any]:
    wanted = room_event_filter(req.filter)
    context = await server.history.context(
        req.room_id, me.user_id, req.event_id, limit_of(req.limit, wanted.limit), wanted
    )
    events = await server.serializer.client_events(
        [*context.before, context.event, *context.after],
        me.user_id,
        me.device_id,
        context.view,
        bundles=context.bundles,
    )
    at = len(context.before)
    return {
        "start": context.start,
        "end": context.end,
        "events_before": events[:at],
        "event": events[at],
        "events_after": events[at + 1 :],
        "state": await server.serializer.client_events(context.state, me.user_id, me.device_id),
    }
