"""A room and the rooms within it, for other servers.

https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1hierarchyroomid
"""

from typing import Any

from federation.server.auth import SERVER, Origin
from homeserver.errors import NotFound
from homeserver.http.endpoint import Request, get
from homeserver.server import Server


class GetSpaceHierarchy(Request, kw_only=True):
    room_id: str
    suggested_only: bool = False


@get("/_matrix/federation/v1/hierarchy/{room_id}", auth=SERVER)
async def get_space_hierarchy(server: Server, me: Origin, req: GetSpaceHierarchy) -> dict[str, Any]:
    found = await server.hierarchy.for_server(
        me.server_name, req.room_id, suggested_only=req.suggested_only
    )
    if not await server.incoming.acl_allows(req.room_id, me.server_name):
        raise NotFound("Room does not exist.")
    return found
