"""Rooms within spaces. https://spec.matrix.org/v1.19/client-server-api/#discovering-rooms-within-spaces"""

from typing import Annotated, Any

from homeserver.http.endpoint import USER, Query, Request, get
from homeserver.http.requester import Requester
from homeserver.server import Server


class GetSpaceHierarchy(Request, kw_only=True):
    room_id: str
    suggested_only: bool = False
    limit: int | None = None
    max_depth: int | None = None
    since: Annotated[str | None, Query("from")] = None


@get("/_matrix/client/v1/rooms/{room_id}/hierarchy", auth=USER)
async def get_space_hierarchy(server: Server, me: Requester, req: GetSpaceHierarchy) -> dict[str, Any]:
    return await server.hierarchy.page(
        me.user_id,
        req.room_id,
        suggested_only=req.suggested_only,
        max_depth=req.max_depth,
        limit=req.limit,
        since=req.since,
    )
