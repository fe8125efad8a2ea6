"""Which rooms another server may ask about: it takes part in them, and their server ACL lets it.

https://spec.matrix.org/v1.19/server-server-api/#server-access-control-lists-acls

The ACL is heeded by every endpoint about a room, also by those that the specification leaves out of its
list: nothing is to be had from one of them that a kept-out server could not have from another.
"""

from homeserver.errors import Forbidden, NotFound
from homeserver.rooms.room import Room
from homeserver.server import Server


async def room_of_participant(server: Server, origin: str, room_id: str) -> Room:
    """The room, if users of this server are joined to it. A room we know nothing of is no different."""
    try:
        room = await server.rooms.get(room_id)
    except NotFound:
        raise Forbidden("Your server is not in this room.") from None
    await require_admitted(server, room, origin)
    if not room.is_resident(origin):
        raise Forbidden("Your server is not in this room.")
    return room


async def room_to_enter(server: Server, origin: str, room_id: str) -> Room:
    """The room, if this server takes part in it and so can let others in. NotFound, Forbidden."""
    room = await server.rooms.get(room_id)
    if not room.is_resident(server.config.server_name):
        raise NotFound("This server is not in the room.")
    await require_admitted(server, room, origin)
    if room.partial:
        raise NotFound("This server does not know the whole state of the room yet.")
    return room


async def require_admitted(server: Server, room: Room, origin: str) -> None:
    """Raises Forbidden for servers that the room's ACL keeps out."""
    if not await server.incoming.admits(room, origin):
        raise Forbidden("Your server is kept out of this room.")
