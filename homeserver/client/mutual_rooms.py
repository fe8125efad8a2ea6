"""Rooms shared with somebody. https://spec.matrix.org/v1.19/client-server-api/#mutual-rooms

A page goes on after the room it ended with, in the order of room IDs, so its token never expires.
"""

from bisect import bisect_right
from typing import Annotated, Any

from homeserver.errors import InvalidParam
from homeserver.http.endpoint import USER, Query, Request, get
from homeserver.http.requester import Requester
from homeserver.protocol.ids import is_valid_room_id, is_valid_user_id
from homeserver.server import Server

MOST_ROOMS = 100
# Before it was specified: https://github.com/matrix-org/matrix-spec-proposals/pull/2666
_UNSTABLE = "/_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms"


class GetMutualRooms(Request, kw_only=True):
    user_id: str
    since: Annotated[str | None, Query("from")] = None


@get("/_matrix/client/v1/mutual_rooms", auth=USER, aliases=(_UNSTABLE,))
async def get_mutual_rooms(server: Server, me: Requester, req: GetMutualRooms) -> dict[str, Any]:
    if not is_valid_user_id(req.user_id) or req.user_id == me.user_id:
        raise InvalidParam("This is not the ID of another user.")
    if req.since is not None and not is_valid_room_id(req.since):
        raise InvalidParam("The token is not one of this server's.")
    memberships = server.rooms.memberships
    theirs = set(await memberships.joined_rooms(req.user_id))
    shared = sorted(theirs.intersection(await memberships.joined_rooms(me.user_id)))
    start = bisect_right(shared, req.since) if req.since is not None else 0
    page = shared[start : start + MOST_ROOMS]
    answer: dict[str, Any] = {"joined": page, "count": len(shared)}
    if start + MOST_ROOMS < len(shared):
        answer["next_batch"] = page[-1]
    return answer
