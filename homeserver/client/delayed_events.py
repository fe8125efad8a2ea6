"""Events to be sent later. MSC4140, https://github.com/matrix-org/matrix-spec-proposals/pull/4140

Two generations of the proposal are in use, and both are served: scheduling by `delayed_event` or by a query
parameter of `send` and `state` (see there); the action in the path or in the body; `delay_ms` and
`scheduled_at` or `delay` and `running_since`.

Whoever knows a `delay_id`, which nobody can guess, may manage that event without an access token: clients
hand it to the service of a call, which then sends "has hung up" for them when they are gone.
"""

from typing import Annotated, Any, Literal

import orjson

from homeserver.errors import InvalidParam
from homeserver.http.endpoint import OPTIONAL, USER, Query, Request, get, post, put
from homeserver.http.requester import Requester
from homeserver.rooms.delayed_events import Action
from homeserver.server import Server
from storage.delayed_events import DelayedEvent

_PREFIX = "/_matrix/client/unstable/org.matrix.msc4140"
_ONE = _PREFIX + "/delayed_events/{delay_id}"

ACTIONS: tuple[Action, ...] = ("cancel", "restart", "send")


class Schedule(Request, kw_only=True):
    room_id: str
    event_type: str
    txn_id: str
    delay_ms: int
    content: dict[str, Any]
    state_key: str | None = None


class Which(Request, kw_only=True):
    status: Annotated[Literal["scheduled", "finalised"], Query()] = "scheduled"


class One(Request, kw_only=True):
    delay_id: str


class Manage(One, kw_only=True):
    action: str


@put(
    _PREFIX + "/rooms/{room_id}/delayed_event/{event_type}/{txn_id}",
    auth=USER, rate="message", guests=True, writes=True,
)  # fmt: skip
async def schedule_delayed_event(server: Server, me: Requester, req: Schedule) -> dict[str, Any]:
    delay_id = await server.delayed_events.schedule(
        req.room_id, me.user_id, req.event_type, req.state_key, req.content, req.delay_ms,
        device_id=me.device_id, txn_id=req.txn_id,
    )  # fmt: skip
    return {"delay_id": delay_id}


@get(_PREFIX + "/delayed_events", auth=USER, rate="delayed_events", guests=True)
async def get_delayed_events(server: Server, me: Requester, req: Which) -> dict[str, Any]:
    if req.status == "scheduled":
        return {"delayed_events": [shown(row) for row in await server.delayed_events.scheduled(me.user_id)]}
    rows = await server.delayed_events.finalised(me.user_id)
    return {"finalised_events": [shown(row) for row in rows], "delayed_events": [shown(row) for row in rows]}


@get(_ONE, auth=USER, rate="delayed_events", guests=True)
async def get_delayed_event(server: Server, me: Requester, req: One) -> dict[str, Any]:
    return shown(await server.delayed_events.get(req.delay_id, me.user_id))


@post(_ONE, auth=OPTIONAL, rate="delayed_events", guests=True, writes=True)
async def manage_delayed_event(server: Server, me: Requester | None, req: Manage) -> None:
    action = next((each for each in ACTIONS if each == req.action), None)
    if action is None:
        raise InvalidParam("The action must be cancel, restart or send.")
    await server.delayed_events.manage(req.delay_id, _owner(me), action)


@post(_ONE + "/cancel", auth=OPTIONAL, rate="delayed_events", guests=True, writes=True)
async def cancel_delayed_event(server: Server, me: Requester | None, req: One) -> None:
    await server.delayed_events.manage(req.delay_id, _owner(me), "cancel")


@post(_ONE + "/restart", auth=OPTIONAL, rate="delayed_events", guests=True, writes=True)
async def restart_delayed_event(server: Server, me: Requester | None, req: One) -> None:
    await server.delayed_events.manage(req.delay_id, _owner(me), "restart")


@post(_ONE + "/send", auth=OPTIONAL, rate="delayed_events", guests=True, writes=True)
async def send_delayed_event(server: Server, me: Requester | None, req: One) -> None:
    await server.delayed_events.manage(req.delay_id, _owner(me), "send")


def _owner(me: Requester | None) -> str | None:
    return me.user_id if me is not None else None


def shown(row: DelayedEvent) -> dict[str, Any]:
    """As clients of either generation read it."""
    fields: dict[str, Any] = {
        "delay_id": row.delay_id,
        "room_id": row.room_id,
        "type": row.type,
        "delay_ms": row.delay_ms,
        "delay": row.delay_ms,
        "scheduled_at": row.scheduled_at,
        "running_since": row.scheduled_at,
        "content": orjson.loads(row.content),
    }
    optional = {
        "state_key": row.state_key,
        "finalised_ts": row.finalised_ts,
        "event_id": row.event_id,
        "error": None if row.error is None else orjson.loads(row.error),
    }
    return fields | {name: value for name, value in optional.items() if value is not None}
