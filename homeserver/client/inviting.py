"""Inviting. https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidinvite

One path takes two kinds of bodies: a user ID, or a third-party identifier for an identity server to look up.
"""

from homeserver.errors import MissingParam
from homeserver.http.endpoint import USER, Request, post
from homeserver.http.requester import Requester
from homeserver.rooms.third_party_invites import ThirdPartyId
from homeserver.server import Server


class Invite(Request, kw_only=True):
    room_id: str
    user_id: str | None = None
    reason: str | None = None
    id_server: str | None = None
    id_access_token: str | None = None
    medium: str | None = None
    address: str | None = None


@post("/_matrix/client/v3/rooms/{room_id}/invite", auth=USER, rate="invite", writes=True)
async def invite_user(server: Server, me: Requester, req: Invite) -> None:
    await server.rooms.require_joined(req.room_id, me.user_id)
    if req.user_id is not None:
        await server.rooms.invite(req.room_id, me.user_id, req.user_id, req.reason)
        return
    if req.id_server is None or req.id_access_token is None or req.medium is None or req.address is None:
        raise MissingParam("The body has neither a 'user_id' nor a whole third-party identifier.")
    who = ThirdPartyId.checked(req.id_server, req.id_access_token, req.medium, req.address)
    await server.third_party_invites.invite(req.room_id, me.user_id, who)
