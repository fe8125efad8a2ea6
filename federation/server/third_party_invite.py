"""Invites of third-party identifiers, once these are bound to a user.

https://spec.matrix.org/v1.19/server-server-api/#third-party-invites

What the identity server signed is the proof, checked by the authorisation rules against the room's
m.room.third_party_invite. The invited user's server makes the invite if it is in the room; else it asks the
inviting one, which has the identity server say that the key still counts. `onbind` is not signed by anybody,
so it does nothing that the rules of the room would not.
"""

from typing import Any

import msgspec

from federation import federation
from federation.invites_sent import issue
from federation.participation import room_to_enter
from federation.server.auth import SERVER, Origin
from homeserver.errors import BadState, Forbidden, InvalidParam, MatrixError, NotFound, RemoteError
from homeserver.http.endpoint import OPEN, Request, put
from homeserver.protocol.auth_rules.third_party import keys_that_signed
from homeserver.protocol.ids import is_valid_room_id, is_valid_user_id, server_of
from homeserver.rooms.head import MEMBER, Proposal
from homeserver.rooms.third_party_invites import THIRD_PARTY_INVITE
from homeserver.server import Server

MOST_INVITES = 20


class Claim(msgspec.Struct):
    membership: str
    third_party_invite: dict[str, Any]


class ExchangeThirdPartyInvite(Request, kw_only=True):
    room_id: str
    type: str
    sender: str
    state_key: str
    content: Claim


@put("/_matrix/federation/v1/exchange_third_party_invite/{room_id}", auth=SERVER)
async def exchange_third_party_invite(server: Server, me: Origin, req: ExchangeThirdPartyInvite) -> None:
    if req.type != MEMBER or req.content.membership != "invite":
        raise InvalidParam("This is no invite.")
    if server_of(req.sender) != server.config.server_name:
        raise InvalidParam("The sender is not a user of this server.")
    if not is_valid_user_id(req.state_key) or server_of(req.state_key) != me.server_name:
        raise Forbidden("The invited user is not of your server.")
    await room_to_enter(server, me.server_name, req.room_id)
    proposal = _invite(req.sender, req.state_key, req.content.third_party_invite)
    await _require_valid_key(server, req.room_id, req.content.third_party_invite.get("signed"))
    await issue(server, req.room_id, proposal)


class PendingInvite(msgspec.Struct):
    mxid: str
    room_id: str
    sender: str
    signed: dict[str, Any]
    display_name: str = ""


class OnBind(Request, kw_only=True):
    mxid: str
    invites: list[PendingInvite]


@put("/_matrix/federation/v1/3pid/onbind", auth=OPEN, rate="onbind")
async def on_bind_third_party_identifier(server: Server, req: OnBind) -> None:
    if not is_valid_user_id(req.mxid) or await server.accounts.get(req.mxid) is None:
        raise NotFound("There is no such user here.")
    for invite in req.invites[:MOST_INVITES]:
        if invite.mxid != req.mxid or not is_valid_room_id(invite.room_id):
            continue
        if not is_valid_user_id(invite.sender):
            continue
        try:
            await _redeem(server, invite)
        except (MatrixError, RemoteError):
            # Withdrawn since, or its server is away. The others stand on their own, and the identity
            # server can do nothing about it.
            continue


async def _redeem(server: Server, invite: PendingInvite) -> None:
    claim = {"display_name": invite.display_name or invite.mxid, "signed": invite.signed}
    proposal = _invite(invite.sender, invite.mxid, claim)
    try:
        room = await server.rooms.get(invite.room_id)
    except NotFound:
        room = None
    if room is not None and room.is_resident(server.config.server_name):
        await issue(server, invite.room_id, proposal)
        return
    partial = {
        "type": MEMBER, "room_id": invite.room_id, "sender": invite.sender, "state_key": invite.mxid,
        "content": proposal.content,
    }
    asked = server_of(invite.sender)
    await federation.of(server).rooms.exchange_third_party_invite(asked, invite.room_id, partial)


async def _require_valid_key(server: Server, room_id: str, signed: Any) -> None:
    """Where nothing is signed at all, the rules of the room say so."""
    token = signed.get("token") if isinstance(signed, dict) else None
    room = await server.rooms.get(room_id)
    event_id = room.tip.event_id(THIRD_PARTY_INVITE, token) if isinstance(token, str) else None
    stored = await server.events.get(event_id) if event_id is not None else None
    if stored is None:
        return
    try:
        for key, url in keys_that_signed(signed, stored.event.content):
            if url is None or await federation.of(server).identity_servers.key_is_valid(url, key):
                return
    except RemoteError as error:
        raise BadState("The identity server does not say whether its key still counts.") from error
    raise Forbidden("No key that counts signed this.")


def _invite(sender: str, user_id: str, claim: dict[str, Any]) -> Proposal:
    content: dict[str, Any] = {"membership": "invite", "third_party_invite": claim}
    display_name = claim.get("display_name")
    if isinstance(display_name, str):
        content["displayname"] = display_name
    return Proposal(MEMBER, sender, content, user_id)
