"""Knocking on a room through this server.

https://spec.matrix.org/v1.19/server-server-api/#knocking-rooms
"""

from federation import served
from federation.member_events import MAX_BODY, own_membership, require_verified
from federation.server.auth import SERVER, Origin
from federation.templates import template
from homeserver.errors import MissingParam
from homeserver.http.endpoint import HttpRequest, Request, get, put
from homeserver.rooms.stripped_state import STRIPPED_KEYS
from homeserver.server import Server


class MakeKnock(Request, kw_only=True):
    room_id: str
    user_id: str
    ver: list[str]


@get("/_matrix/federation/v1/make_knock/{room_id}/{user_id}", auth=SERVER, missing=MissingParam)
async def make_knock(server: Server, me: Origin, req: MakeKnock) -> bytes:
    return await template(server, me, req.room_id, req.user_id, "knock", req.ver)


class SendKnock(Request, kw_only=True):
    room_id: str
    event_id: str


@put("/_matrix/federation/v1/send_knock/{room_id}/{event_id}", auth=SERVER, max_body=MAX_BODY)
async def send_knock(server: Server, me: Origin, req: SendKnock, http: HttpRequest) -> bytes:
    room, event = await own_membership(server, me, req.room_id, req.event_id, http.body, "knock")
    await require_verified(server, event)
    await server.incoming.accept(req.room_id, event)
    room = await server.rooms.get(req.room_id)
    event_ids = [event_id for key in STRIPPED_KEYS if (event_id := room.head.event_id(*key)) is not None]
    shown = await server.events.many(event_ids)
    return served.answer(knock_room_state=served.array(shown[each].event.json for each in event_ids))
