"""Invites from other servers.

https://spec.matrix.org/v1.19/server-server-api/#inviting-to-a-room
"""

from federation import invites
from federation.member_events import MAX_BODY, decode
from federation.server.auth import SERVER, Origin
from homeserver.errors import IncompatibleRoomVersion, MissingParam
from homeserver.http.endpoint import HttpRequest, Request, put
from homeserver.protocol.canonical_json import encode_lax
from homeserver.protocol.room_versions import ROOM_VERSIONS, V1
from homeserver.server import Server


class SendInvite(Request, kw_only=True):
    room_id: str
    event_id: str


@put("/_matrix/federation/v2/invite/{room_id}/{event_id}", auth=SERVER, max_body=MAX_BODY)
async def send_invite_v2(server: Server, me: Origin, req: SendInvite, http: HttpRequest) -> bytes:
    version_id = decode(http.body).get("room_version")
    if not isinstance(version_id, str):
        raise MissingParam("The room version is missing.")
    version = ROOM_VERSIONS.get(version_id)
    if version is None:
        raise IncompatibleRoomVersion(version_id)
    body = decode(http.body, version)
    pdu, shown = body.get("event"), body.get("invite_room_state")
    event = await invites.take_invite(server, me, req.room_id, req.event_id, pdu, version, shown)
    return encode_lax({"event": event})


@put("/_matrix/federation/v1/invite/{room_id}/{event_id}", auth=SERVER, max_body=MAX_BODY)
async def send_invite_v1(server: Server, me: Origin, req: SendInvite, http: HttpRequest) -> bytes:
    """It does not tell the room's version: 1 or 2, whose events look the same."""
    pdu = decode(http.body, V1)
    unsigned = pdu.get("unsigned")
    shown = unsigned.get("invite_room_state") if isinstance(unsigned, dict) else None
    event = await invites.take_invite(server, me, req.room_id, req.event_id, pdu, V1, shown)
    return b"[200,%b]" % encode_lax({"event": event})
