"""Room upgrades. https://spec.matrix.org/v1.19/client-server-api/#room-upgrades"""

from typing import Any

from homeserver.http.endpoint import USER, Request, post
from homeserver.http.requester import Requester
from homeserver.server import Server


class UpgradeRoom(Request, kw_only=True):
    room_id: str
    new_version: str
    additional_creators: list[str] | None = None


@post("/_matrix/client/v3/rooms/{room_id}/upgrade", auth=USER, rate="create_room", writes=True)
async def upgrade_room(server: Server, me: Requester, req: UpgradeRoom) -> dict[str, Any]:
    replacement = await server.upgrades.upgrade(
        req.room_id, me.user_id, req.new_version, req.additional_creators or ()
    )
    return {"replacement_room": replacement}
