"""Setting state, now or later (MSC4140, see `delayed_events`).

https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey
"""

from typing import Annotated, Any

from homeserver.http.endpoint import USER, Body, Query, Request, put
from homeserver.http.requester import Requester
from homeserver.server import Server

_TYPE = "/_matrix/client/v3/rooms/{room_id}/state/{event_type}"


class SetState(Request, kw_only=True):
    room_id: str
    event_type: str
    state_key: str = ""
    content: Annotated[dict[str, Any], Body]
    delay: Annotated[int | None, Query("org.matrix.msc4140.delay")] = None


@put(_TYPE + "/{state_key}", aliases=[_TYPE], auth=USER, rate="message", guests=True, writes=True)
async def set_room_state_with_key(server: Server, me: Requester, req: SetState) -> dict[str, Any]:
    if req.delay is not None:
        delay_id = await server.delayed_events.schedule(
            req.room_id, me.user_id, req.event_type, req.state_key, req.content, req.delay,
            device_id=me.device_id,
        )  # fmt: skip
        return {"delay_id": delay_id}
    event_id = await server.rooms.set_state(
        req.room_id, me.user_id, req.event_type, req.state_key, req.content, guest=me.is_guest
    )
    return {"event_id": event_id}
