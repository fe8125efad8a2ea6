"""Joining a room through this server.

https://spec.matrix.org/v1.19/server-server-api/#joining-rooms
"""

from typing import Annotated

from federation import joining_state
from federation.member_events import MAX_BODY, own_membership, require_verified
from federation.restricted_joins import voucher_for
from federation.server.auth import SERVER, Origin
from federation.templates import template
from homeserver.http.endpoint import HttpRequest, Query, Request, get, put
from homeserver.protocol.events import Event
from homeserver.protocol.ids import server_of
from homeserver.protocol.signing import sign_event
from homeserver.rooms.room import Room
from homeserver.rooms.templates import VOUCHER
from homeserver.server import Server


class MakeJoin(Request, kw_only=True):
    room_id: str
    user_id: str
    ver: tuple[str, ...] = ("1",)


@get("/_matrix/federation/v1/make_join/{room_id}/{user_id}", auth=SERVER)
async def make_join(server: Server, me: Origin, req: MakeJoin) -> bytes:
    return await template(server, me, req.room_id, req.user_id, "join", req.ver)


class SendJoinV1(Request, kw_only=True):
    room_id: str
    event_id: str


class SendJoin(SendJoinV1, kw_only=True):
    omit_members: Annotated[bool, Query()] = False


@put("/_matrix/federation/v2/send_join/{room_id}/{event_id}", auth=SERVER, max_body=MAX_BODY)
async def send_join_v2(server: Server, me: Origin, req: SendJoin, http: HttpRequest) -> bytes:
    return await _send_join(server, me, req, http, req.omit_members)


@put("/_matrix/federation/v1/send_join/{room_id}/{event_id}", auth=SERVER, max_body=MAX_BODY)
async def send_join_v1(server: Server, me: Origin, req: SendJoinV1, http: HttpRequest) -> bytes:
    return b"[200,%b]" % await _send_join(server, me, req, http, False)


async def _send_join(
    server: Server, me: Origin, req: SendJoinV1, http: HttpRequest, omit_members: bool
) -> bytes:
    room, event = await own_membership(server, me, req.room_id, req.event_id, http.body, "join")
    event = await _vouched_for(server, room, event)
    await require_verified(server, event)
    stored = await server.incoming.accept(req.room_id, event)
    return await server.db.read(
        joining_state.answer,
        room.nid,
        stored.event,
        stored.state_before,
        server.config.server_name,
        omit_members,
    )


async def _vouched_for(server: Server, room: Room, event: Event) -> Event:
    """With our signature if the join rests on the word of one of our members, and we give it."""
    voucher = event.content.get(VOUCHER)
    if not isinstance(voucher, str) or server_of(voucher) != server.config.server_name:
        return event
    if await voucher_for(server, room, event.sender) is None:
        return event
    identity = server.rooms.identity
    return sign_event(event, identity.server_name, identity.signing_key)
