"""Membership events that their servers made and this server is to take: joins, leaves, knocks, invites.

https://spec.matrix.org/v1.19/server-server-api/#joining-rooms

Such an event must be exactly what the endpoint is for, or a server could have anything signed or sent on.
"""

from typing import Any

import orjson

from federation import federation
from federation.participation import room_to_enter
from federation.server.auth import Origin
from homeserver.errors import BadJson, Forbidden, InvalidParam, NotJson
from homeserver.protocol import canonical_json
from homeserver.protocol.events import Event, InvalidEvent
from homeserver.protocol.hashing import has_valid_content_hash
from homeserver.protocol.ids import server_of
from homeserver.protocol.room_versions import RoomVersion
from homeserver.rooms.head import MEMBER
from homeserver.rooms.room import Room
from homeserver.server import Server

MAX_BODY = 1024 * 1024


def decode(body: bytes, version: RoomVersion | None = None) -> dict[str, Any]:
    """A request's JSON object, with the numbers of old rooms as they are. Without a version: for a look."""
    exactly = version is not None and not version.strict_json
    try:
        value = canonical_json.decode_lax(body) if exactly else orjson.loads(body)
    except (ValueError, RecursionError) as error:
        raise NotJson("The request body is not valid JSON.") from error
    if not isinstance(value, dict):
        raise BadJson("The request body is not a JSON object.")
    return value


def read(
    pdu: Any, version: RoomVersion, room_id: str, event_id: str, membership: str, origin: str
) -> Event:
    """The event, if it is what it must be; its signatures are not looked at.

    Raises InvalidParam, and Forbidden where it is not for the asking server to send.
    """
    try:
        event = Event.parse(pdu, version)
    except (InvalidEvent, RecursionError) as error:
        raise InvalidParam(f"This is no event of room version {version.id}: {error}") from error
    if event.event_id != event_id or event.room_id != room_id:
        raise InvalidParam("The event has another ID, or is in another room.")
    if event.type != MEMBER or event.state_key is None or event.membership != membership:
        raise InvalidParam(f"The event sets no membership to {membership}.")
    if server_of(event.sender) != origin:
        raise Forbidden("The sender is not a user of your server.")
    return event


async def require_verified(server: Server, event: Event) -> None:
    """Raises Forbidden unless the event has all signatures it needs, and the content they are for."""
    verified = await federation.of(server).inspector.verify([event])
    if not verified or not has_valid_content_hash(event.pdu, event.version):
        raise Forbidden("The signatures or the hash of the event are wrong.")


async def own_membership(
    server: Server, me: Origin, room_id: str, event_id: str, body: bytes, membership: str
) -> tuple[Room, Event]:
    """An event by which a user of the asking server changes their own membership; not yet verified."""
    room = await room_to_enter(server, me.server_name, room_id)
    pdu = decode(body, room.version)
    event = read(pdu, room.version, room_id, event_id, membership, me.server_name)
    if event.state_key != event.sender:
        raise InvalidParam("The event is about another user than its sender.")
    return room, event
