"""One room's summary, before one is in it.

https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1room_summaryroomidoralias
"""

from typing import Annotated, Any

import msgspec

from homeserver.errors import InvalidParam
from homeserver.http.endpoint import OPTIONAL, Query, Request, get
from homeserver.http.requester import Requester
from homeserver.protocol.ids import domain_of, is_valid_room_id, is_valid_server_name
from homeserver.server import Server

# Before it was specified: https://github.com/matrix-org/matrix-spec-proposals/pull/3266
_UNSTABLE = "/_matrix/client/unstable/im.nheko.summary/"
_ALIASES = (
    _UNSTABLE + "summary/{room_id_or_alias}",
    _UNSTABLE + "rooms/{room_id_or_alias}/summary",
)


class GetRoomSummary(Request, kw_only=True):
    room_id_or_alias: str
    via: Annotated[list[str], Query()] = msgspec.field(default_factory=list)


@get("/_matrix/client/v1/room_summary/{room_id_or_alias}", auth=OPTIONAL, aliases=_ALIASES, guests=True)
async def get_room_summary(server: Server, me: Requester | None, req: GetRoomSummary) -> dict[str, Any]:
    if not all(map(is_valid_server_name, req.via)):
        raise InvalidParam("via names servers.")
    via = req.via
    room = req.room_id_or_alias
    if room.startswith("#"):
        if me is None and domain_of(room) != server.config.server_name:
            raise InvalidParam("Aliases of other servers are resolved for users only.")
        room, servers = await server.directory.resolve(room)
        via = [*via, *servers]
    elif not is_valid_room_id(room):
        raise InvalidParam("This is neither a room ID nor an alias.")
    elif ":" in room:
        via = [*via, domain_of(room)]
    user_id = me.user_id if me is not None else None
    return await server.hierarchy.summary(user_id, room, list(dict.fromkeys(via)))
