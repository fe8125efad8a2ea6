"""The threads of a room.

https://spec.matrix.org/v1.19/client-server-api/#querying-threads-in-a-room
"""

from typing import Annotated, Any, Literal

from homeserver.client.relations import positive_limit
from homeserver.http.endpoint import USER, Query, Request, get
from homeserver.http.requester import Requester
from homeserver.server import Server


class GetThreads(Request, kw_only=True):
    room_id: str
    include: Annotated[Literal["all", "participated"], Query()] = "all"
    limit: Annotated[int | None, Query()] = None
    start: Annotated[str | None, Query("from")] = None


@get("/_matrix/client/v1/rooms/{room_id}/threads", auth=USER)
async def get_thread_roots(server: Server, me: Requester, req: GetThreads) -> dict[str, Any]:
    page = await server.relations.threads(
        req.room_id,
        me.user_id,
        participated=req.include == "participated",
        start=req.start,
        limit=positive_limit(req.limit),
    )
    response: dict[str, Any] = {
        "chunk": await server.serializer.client_events(
            page.events, me.user_id, me.device_id, page.view, bundles=page.bundles
        )
    }
    if page.end is not None:
        response["next_batch"] = page.end
    return response
