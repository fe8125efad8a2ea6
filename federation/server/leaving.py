"""Leaving a room through this server: rejecting an invite, retracting a knock.

https://spec.matrix.org/v1.19/server-server-api/#leaving-rooms-rejecting-invites
"""

from federation.member_events import MAX_BODY, own_membership, require_verified
from federation.server.auth import SERVER, Origin
from federation.templates import template
from homeserver.http.endpoint import HttpRequest, Request, get, put
from homeserver.server import Server


class MakeLeave(Request, kw_only=True):
    room_id: str
    user_id: str


@get("/_matrix/federation/v1/make_leave/{room_id}/{user_id}", auth=SERVER)
async def make_leave(server: Server, me: Origin, req: MakeLeave) -> bytes:
    return await template(server, me, req.room_id, req.user_id, "leave")


class SendLeave(Request, kw_only=True):
    room_id: str
    event_id: str


@put("/_matrix/federation/v2/send_leave/{room_id}/{event_id}", auth=SERVER, max_body=MAX_BODY)
async def send_leave_v2(server: Server, me: Origin, req: SendLeave, http: HttpRequest) -> bytes:
    _, event = await own_membership(server, me, req.room_id, req.event_id, http.body, "leave")
    await require_verified(server, event)
    await server.incoming.accept(req.room_id, event)
    return b"{}"


@put("/_matrix/federation/v1/send_leave/{room_id}/{event_id}", auth=SERVER, max_body=MAX_BODY)
async def send_leave_v1(server: Server, me: Origin, req: SendLeave, http: HttpRequest) -> bytes:
    return b"[200,%b]" % await send_leave_v2(server, me, req, http)
