"""Syncing. https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync"""

from typing import Annotated, Literal

from homeserver.http.endpoint import USER, Query, Request, get
from homeserver.http.requester import Requester
from homeserver.server import Server
from homeserver.sync.request import SyncRequest
from homeserver.sync.tokens import StreamToken

LONGEST_WAIT_MS = 600_000


class SyncQuery(Request, kw_only=True):
    filter: str | None = None
    since: str | None = None
    full_state: bool = False
    set_presence: Literal["offline", "online", "unavailable"] | None = None
    timeout: int = 0
    use_state_after: bool = False
    unstable_use_state_after: Annotated[bool, Query("org.matrix.msc4222.use_state_after")] = False


@get("/_matrix/client/v3/sync", auth=USER, guests=True, cancel_on_disconnect=True)
async def sync(server: Server, me: Requester, req: SyncQuery) -> bytes:
    timeout = max(0, min(req.timeout, LONGEST_WAIT_MS))
    request = SyncRequest(
        user_id=me.user_id,
        device_id=me.device_id or "",
        since=StreamToken.parse(req.since) if req.since else None,
        filter=await server.filters.resolve(me.user_id, req.filter),
        timeout_ms=timeout,
        full_state=req.full_state,
        use_state_after=req.use_state_after or req.unstable_use_state_after,
    )
    server.presence.seen(me.user_id, req.set_presence, me.device_id, timeout)
    return await server.sync.sync(request)
