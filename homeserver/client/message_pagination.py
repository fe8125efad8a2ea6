"""Paging through a room's history.

https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmessages
"""

from typing import Annotated, Any, Literal

from homeserver.errors import InvalidParam
from homeserver.http.endpoint import USER, Query, Request, get
from homeserver.http.requester import Requester
from homeserver.server import Server
from homeserver.sync.filters import room_event_filter

DEFAULT_LIMIT = 10


class GetMessages(Request, kw_only=True):
    room_id: str
    dir: Annotated[Literal["b", "f"], Query()]
    start: Annotated[str | None, Query("from")] = None
    stop: Annotated[str | None, Query("to")] = None
    limit: Annotated[int | None, Query()] = None
    filter: Annotated[str | None, Query()] = None


@get("/_matrix/client/v3/rooms/{room_id}/messages", auth=USER, guests=True)
async def get_room_events(server: Server, me: Requester, req: GetMessages) -> dict[str, Any]:
    wanted = room_event_filter(req.filter)
    page = await server.history.messages(
        req.room_id,
        me.user_id,
        backwards=req.dir == "b",
        start=req.start,
        stop=req.stop,
        limit=limit_of(req.limit, wanted.limit),
        wanted=wanted,
    )
    response: dict[str, Any] = {
        "start": page.start,
        "chunk": await server.serializer.client_events(
            page.events, me.user_id, me.device_id, page.view, bundles=page.bundles
        ),
    }
    if page.end is not None:
        response["end"] = page.end
    if page.state:
        response["state"] = await server.serializer.client_events(page.state, me.user_id, me.device_id)
    return response


def limit_of(parameter: int | None, filter_limit: int | None) -> int:
    """The smaller of what the query and its filter ask for. Raises InvalidParam."""
    if parameter is not None and parameter < 0:
        raise InvalidParam("The limit is negative.")
    given = [limit for limit in (parameter, filter_limit) if limit is not None]
    return min(given, default=DEFAULT_LIMIT)
