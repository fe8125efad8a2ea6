"""Jumping to a date.

https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event
"""

from typing import Annotated, Any, Literal

from homeserver.errors import InvalidParam
from homeserver.http.endpoint import USER, Query, Request, get
from homeserver.http.requester import Requester
from homeserver.server import Server


class GetEventByTimestamp(Request, kw_only=True):
    room_id: str
    ts: Annotated[int, Query()]
    dir: Annotated[Literal["f", "b"], Query()]


@get("/_matrix/client/v1/rooms/{room_id}/timestamp_to_event", auth=USER)
async def get_event_by_timestamp(server: Server, me: Requester, req: GetEventByTimestamp) -> dict[str, Any]:
    if not 0 <= req.ts < 2**63:
        raise InvalidParam("That is no moment.")
    stored = await server.relations.event_at(req.room_id, me.user_id, req.ts, backwards=req.dir == "b")
    return {"event_id": stored.event_id, "origin_server_ts": stored.event.origin_server_ts}
