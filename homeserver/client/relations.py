"""What relates to an event.

https://spec.matrix.org/v1.19/client-server-api/#relationships-api
"""

from typing import Annotated, Any, Literal

from homeserver.errors import InvalidParam
from homeserver.http.endpoint import USER, Query, Request, get
from homeserver.http.requester import Requester
from homeserver.server import Server
from storage.relations import RECURSION_DEPTH

DEFAULT_LIMIT = 20
_EVENT = "/_matrix/client/v1/rooms/{room_id}/relations/{event_id}"


class GetRelations(Request, kw_only=True):
    room_id: str
    event_id: str
    start: Annotated[str | None, Query("from")] = None
    stop: Annotated[str | None, Query("to")] = None
    limit: Annotated[int | None, Query()] = None
    dir: Annotated[Literal["b", "f"], Query()] = "b"
    recurse: Annotated[bool | None, Query()] = None


class GetRelationsOfKind(GetRelations, kw_only=True):
    rel_type: str


class GetRelationsOfType(GetRelationsOfKind, kw_only=True):
    event_type: str


@get(_EVENT, auth=USER)
async def get_relating_events(server: Server, me: Requester, req: GetRelations) -> dict[str, Any]:
    return await _page(server, me, req, None, None)


@get(_EVENT + "/{rel_type}", auth=USER)
async def get_relating_events_with_rel_type(
    server: Server, me: Requester, req: GetRelationsOfKind
) -> dict[str, Any]:
    return await _page(server, me, req, req.rel_type, None)


@get(_EVENT + "/{rel_type}/{event_type}", auth=USER)
async def get_relating_events_with_rel_type_and_event_type(
    server: Server, me: Requester, req: GetRelationsOfType
) -> dict[str, Any]:
    return await _page(server, me, req, req.rel_type, req.event_type)


async def _page(
    server: Server, me: Requester, req: GetRelations, rel_type: str | None, event_type: str | None
) -> dict[str, Any]:
    page = await server.relations.children(
        req.room_id,
        me.user_id,
        req.event_id,
        rel_type,
        event_type,
        backwards=req.dir == "b",
        start=req.start,
        stop=req.stop,
        limit=positive_limit(req.limit),
        recurse=bool(req.recurse),
    )
    response: dict[str, Any] = {
        "chunk": await server.serializer.client_events(
            page.events, me.user_id, me.device_id, page.view, bundles=page.bundles
        )
    }
    if page.end is not None:
        response["next_batch"] = page.end
    if page.start is not None:
        response["prev_batch"] = page.start
    if req.recurse is not None:
        response["recursion_depth"] = RECURSION_DEPTH if req.recurse else 1
    return response


def positive_limit(limit: int | None) -> int:
    """How many to serve. Raises InvalidParam."""
    if limit is None:
        return DEFAULT_LIMIT
    if limit < 1:
        raise InvalidParam("The limit must be greater than zero.")
    return limit
