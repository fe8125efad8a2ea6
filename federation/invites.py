"""Invites of this server's users, by users of other servers.

https://spec.matrix.org/v1.19/server-server-api/#inviting-to-a-room

Nothing of the room can be checked here but what the invite itself shows; our signature says no more than
that the invite reached us. Of the state it brings, whole events must be good ones of the room (v1.16),
while stripped ones, which older servers send, are the inviting server's word.
"""

from typing import Any

from federation import federation
from federation.member_events import read, require_verified
from federation.server.auth import Origin
from homeserver.errors import Forbidden, InvalidParam, InviteBlocked, NotFound
from homeserver.protocol.events import Event
from homeserver.protocol.ids import is_valid_user_id, server_of
from homeserver.protocol.room_versions import RoomVersion
from homeserver.protocol.signing import sign_event
from homeserver.rooms.room import Room
from homeserver.server import Server

MOST_SHOWN = 50


async def take_invite(
    server: Server, me: Origin, room_id: str, event_id: str, pdu: Any, version: RoomVersion, shown: Any
) -> dict[str, Any]:
    """The invite with our signature, otherwise as it came."""
    event = read(pdu, version, room_id, event_id, "invite", me.server_name)
    user_id = event.state_key or ""
    if not is_valid_user_id(user_id) or server_of(user_id) != server.config.server_name:
        raise InvalidParam("The invited user is not of this server.")
    if not await server.incoming.acl_allows(room_id, me.server_name):
        raise Forbidden("Your server is kept out of this room.")
    await require_verified(server, event)
    if not await federation.of(server).inspector.is_signed_by(event, me.server_name):
        # The invite of a third-party identifier may be made by any server; this one says it did.
        raise Forbidden("The invite is not signed by your server.")
    account = await server.accounts.get(user_id)
    if account is None or account.deactivated:
        # An invalid parameter would be the inviting server's fault, and its user not be told.
        raise Forbidden("There is no such user.")
    if await server.account_data.blocks_invites(user_id, event.sender):
        raise InviteBlocked(f"{user_id} does not want to be invited.")
    identity = server.rooms.identity
    signed = sign_event(event, identity.server_name, identity.signing_key)
    room = await _room_we_are_in(server, room_id)
    if room is None:
        await server.incoming.out_of_band(signed, version, await _shown(server, shown, version, room_id))
    elif room.tip.membership(user_id) in ("join", "ban"):
        raise Forbidden("They are in the room already, or banned from it.")
    return {**pdu, "signatures": signed.pdu["signatures"]}


async def _room_we_are_in(server: Server, room_id: str) -> Room | None:
    """There the invite comes a second time, as an event of the room, and counts only then."""
    try:
        room = await server.rooms.get(room_id)
    except NotFound:
        return None
    return room if room.is_resident(server.config.server_name) else None


async def _shown(
    server: Server, given: Any, version: RoomVersion, room_id: str
) -> list[dict[str, Any]]:
    entries = [each for each in given if isinstance(each, dict)] if isinstance(given, list) else []
    entries = entries[:MOST_SHOWN]
    whole = [each for each in entries if "signatures" in each]
    good: list[Event] = await federation.of(server).inspector.read(whole, version, room_id)
    return [*(each for each in entries if "signatures" not in each), *(event.pdu for event in good)]
