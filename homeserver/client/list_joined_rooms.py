"""A user's rooms. https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3joined_rooms"""

from typing import Any

from homeserver.http.endpoint import USER, get
from homeserver.http.requester import Requester
from homeserver.server import Server


@get("/_matrix/client/v3/joined_rooms", auth=USER)
async def get_joined_rooms(server: Server, me: Requester) -> dict[str, Any]:
    return {"joined_rooms": await server.rooms.memberships.joined_rooms(me.user_id)}
