"""Templates of membership events, for servers that are not in the room.

https://spec.matrix.org/v1.19/server-server-api/#joining-rooms

A template is an event that this server would make itself, allowed by the rules as the room stands, with
all that its maker's server has to put in taken out.
"""

from collections.abc import Collection
from typing import Any

from federation.participation import room_to_enter
from federation.restricted_joins import voucher_for
from federation.server.auth import Origin
from homeserver.errors import Forbidden, IncompatibleRoomVersion
from homeserver.protocol.canonical_json import encode_lax
from homeserver.protocol.ids import is_valid_user_id, server_of
from homeserver.rooms.head import MEMBER, Proposal
from homeserver.rooms.templates import VOUCHER
from homeserver.server import Server

_MAKERS_OWN = frozenset({"event_id", "hashes", "signatures"})


async def template(
    server: Server,
    me: Origin,
    room_id: str,
    user_id: str,
    membership: str,
    supported: Collection[str] | None = None,
) -> bytes:
    """`supported`: the room versions that the asking server knows, where it has to know the room's."""
    if not is_valid_user_id(user_id) or server_of(user_id) != me.server_name:
        raise Forbidden("This is not a user of your server.")
    room = await room_to_enter(server, me.server_name, room_id)
    if supported is not None and room.version.id not in supported:
        raise IncompatibleRoomVersion(room.version.id)
    content = {"membership": membership}
    if membership == "join":
        voucher = await voucher_for(server, room, user_id)
        if voucher is not None:
            content[VOUCHER] = voucher
    event, _ = await server.rooms.propose(room_id, Proposal(MEMBER, user_id, content, user_id))
    body: dict[str, Any] = {key: value for key, value in event.pdu.items() if key not in _MAKERS_OWN}
    body["origin"] = server.config.server_name
    return encode_lax({"room_version": room.version.id, "event": body})
