"""The deprecated ways to follow what happens, and peeking into rooms.

https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3events
"""

from typing import Annotated, Any

import orjson

from homeserver.client.sync import LONGEST_WAIT_MS
from homeserver.errors import GuestAccessForbidden
from homeserver.http.endpoint import USER, Query, Request, get
from homeserver.http.requester import Requester
from homeserver.server import Server
from homeserver.sync.tokens import StreamToken


class Listen(Request, kw_only=True):
    start: Annotated[str | None, Query("from")] = None
    timeout: int = 0
    room_id: str | None = None


class InitialSync(Request, kw_only=True):
    limit: int | None = None
    archived: bool = False


class One(Request, kw_only=True):
    event_id: str


@get("/_matrix/client/v3/events", auth=USER, guests=True, cancel_on_disconnect=True)
async def get_events(server: Server, me: Requester, req: Listen) -> dict[str, Any]:
    """Without a room these are one's own rooms; with one, any room that may be looked into (`peekEvents`)."""
    if me.is_guest and req.room_id is None:
        raise GuestAccessForbidden("Guests may follow single rooms only.")
    since = StreamToken.parse(req.start) if req.start else None
    timeout = max(0, min(req.timeout, LONGEST_WAIT_MS))
    server.presence.seen(me.user_id, None, me.device_id, timeout)
    stretch = await server.old_sync.events(me.user_id, me.device_id or "", since, timeout, req.room_id)
    return {"start": str(stretch.start), "end": str(stretch.end), "chunk": stretch.chunk}


@get("/_matrix/client/v3/events/{event_id}", auth=USER)
async def get_one_event(server: Server, me: Requester, req: One) -> bytes:
    return orjson.dumps(await server.old_sync.event(me.user_id, me.device_id or "", req.event_id))


@get("/_matrix/client/v3/initialSync", auth=USER)
async def initial_sync(server: Server, me: Requester, req: InitialSync) -> bytes:
    server.presence.seen(me.user_id, None, me.device_id)
    return orjson.dumps(
        await server.old_sync.initial(me.user_id, me.device_id or "", req.limit, req.archived)
    )
