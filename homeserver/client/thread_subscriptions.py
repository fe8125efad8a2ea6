"""Following threads. https://github.com/matrix-org/matrix-spec-proposals/pull/4306

The pages of what changed belong to an extension of sliding sync:
https://github.com/matrix-org/matrix-spec-proposals/pull/4308
"""

from typing import Annotated, Any, Literal

from homeserver.errors import InvalidParam
from homeserver.http.endpoint import USER, Query, Request, delete, get, put
from homeserver.http.requester import Requester
from homeserver.push.thread_subscriptions import shown
from homeserver.server import Server
from homeserver.sync.tokens import StreamToken, parse_any
from storage.thread_subscriptions import AUTOMATIC

_ONE = "/_matrix/client/unstable/io.element.msc4306/rooms/{room_id}/thread/{event_id}/subscription"
MOST = 100


class Thread(Request, kw_only=True):
    room_id: str
    event_id: str


class Subscribe(Thread, kw_only=True):
    automatic: str | None = None


class Changes(Request, kw_only=True):
    dir: Literal["b"]
    start: Annotated[str | None, Query("from")] = None
    stop: Annotated[str | None, Query("to")] = None
    limit: int = MOST


@put(_ONE, auth=USER, rate="thread_subscription")
async def subscribe(server: Server, me: Requester, req: Subscribe) -> None:
    await server.thread_subscriptions.subscribe(me.user_id, req.room_id, req.event_id, req.automatic)


@delete(_ONE, auth=USER, rate="thread_subscription")
async def unsubscribe(server: Server, me: Requester, req: Thread) -> None:
    await server.thread_subscriptions.unsubscribe(me.user_id, req.room_id, req.event_id)


@get(_ONE, auth=USER)
async def get_subscription(server: Server, me: Requester, req: Thread) -> dict[str, Any]:
    found = await server.thread_subscriptions.get(me.user_id, req.room_id, req.event_id)
    return {"automatic": found.subscribed == AUTOMATIC}


@get("/_matrix/client/unstable/io.element.msc4308/thread_subscriptions", auth=USER)
async def get_changes(server: Server, me: Requester, req: Changes) -> dict[str, Any]:
    if req.limit <= 0:
        raise InvalidParam("The limit is greater than zero.")
    upto = _position(req.start) if req.start is not None else server.notifier.now().position
    since = _position(req.stop) if req.stop is not None else 0
    found, more = await server.thread_subscriptions.changes(me.user_id, since, upto, min(req.limit, MOST))
    body = shown(found)
    if more is not None:
        body["end"] = str(StreamToken(more))
    return body


def _position(token: str) -> int:
    match parse_any(token):
        case StreamToken(position=position):
            return position
    raise InvalidParam("This is no token of thread subscriptions.")
