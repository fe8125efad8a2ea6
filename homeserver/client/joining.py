"""Joining rooms. https://spec.matrix.org/v1.19/client-server-api/#joining-rooms

What else the body of a join says becomes part of the member event, as it does elsewhere.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from homeserver.errors import Forbidden, InvalidParam, NotFound
from homeserver.http.decode import decode_body
from homeserver.http.endpoint import USER, HttpRequest, Query, Request, post
from homeserver.http.requester import Requester
from homeserver.protocol.ids import is_valid_user_id
from homeserver.server import Server


class ThirdPartySigned(msgspec.Struct, kw_only=True):
    sender: str
    mxid: str
    token: str
    signatures: dict[str, dict[str, str]]


class JoinById(Request, kw_only=True):
    room_id: str
    reason: str | None = None
    third_party_signed: ThirdPartySigned | None = None


class Join(Request, kw_only=True):
    room_id_or_alias: str
    via: Annotated[list[str], Query()] = []
    server_name: Annotated[list[str], Query()] = []
    reason: str | None = None
    third_party_signed: ThirdPartySigned | None = None


@post("/_matrix/client/v3/rooms/{room_id}/join", auth=USER, rate="join", guests=True, writes=True)
async def join_room_by_id(server: Server, me: Requester, req: JoinById) -> dict[str, Any]:
    return await _join(server, me, req.room_id, req.reason, req.third_party_signed)


@post("/_matrix/client/v3/join/{room_id_or_alias}", auth=USER, rate="join", guests=True, writes=True)
async def join_room(server: Server, me: Requester, http: HttpRequest, req: Join) -> dict[str, Any]:
    room_id, servers = await room_of(server, req.room_id_or_alias)
    via = [*req.via, *req.server_name, *servers]
    body = decode_body(http.body, required=False)
    content = {key: value for key, value in body.items() if key not in ("reason", "third_party_signed")}
    return await _join(server, me, room_id, req.reason, req.third_party_signed, via, content)


async def room_of(server: Server, room_id_or_alias: str) -> tuple[str, list[str]]:
    """With an alias go servers that know the room. Raises InvalidParam, or NotFound for an unknown alias."""
    if room_id_or_alias.startswith("#"):
        return await server.directory.resolve(room_id_or_alias)
    if not room_id_or_alias.startswith("!"):
        raise InvalidParam("This is neither a room ID nor an alias.")
    return room_id_or_alias, []


async def _join(
    server: Server,
    me: Requester,
    room_id: str,
    reason: str | None,
    signed: ThirdPartySigned | None,
    via: Sequence[str] = (),
    content: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    if signed is not None:
        await _exchange(server, me, room_id, signed)
    joined = await server.rooms.join(
        room_id, me.user_id, reason=reason, content=content, guest=me.is_guest, via=via
    )
    return {"room_id": joined}


async def _exchange(server: Server, me: Requester, room_id: str, signed: ThirdPartySigned) -> None:
    """Turns a pending third-party invite into an invite; the authorisation rules check its signature.

    https://spec.matrix.org/v1.19/client-server-api/#third-party-invites
    """
    try:
        room = await server.rooms.get(room_id)
    except NotFound:
        if signed.mxid != me.user_id or not is_valid_user_id(signed.sender):
            raise Forbidden("There is no such third-party invite for you.") from None
        claimed = msgspec.to_builtins(signed)
        await server.rooms.exchange_third_party_invite(room_id, signed.sender, claimed)
        return
    event_id = room.head.event_id("m.room.third_party_invite", signed.token)
    pending = await server.rooms.events.get(event_id) if event_id is not None else None
    if pending is None or signed.mxid != me.user_id:
        raise Forbidden("There is no such third-party invite for you.")
    if room.membership(me.user_id) in ("join", "invite"):
        return
    invite = {
        "third_party_invite": {
            "display_name": pending.event.content.get("display_name", ""),
            "signed": msgspec.to_builtins(signed),
        }
    }
    await server.rooms.invite(room_id, pending.event.sender, me.user_id, content=invite)
