"""A room at a glance, also for those who only look into it.

https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidinitialsync
"""

import orjson

from homeserver.http.endpoint import USER, Request, get
from homeserver.http.requester import Requester
from homeserver.server import Server


class RoomInitialSync(Request, kw_only=True):
    room_id: str
    limit: int | None = None


@get("/_matrix/client/v3/rooms/{room_id}/initialSync", auth=USER, guests=True)
async def room_initial_sync(server: Server, me: Requester, req: RoomInitialSync) -> bytes:
    return orjson.dumps(await server.old_sync.room(me.user_id, me.device_id or "", req.room_id, req.limit))
