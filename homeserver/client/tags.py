"""Tags of rooms. https://spec.matrix.org/v1.19/client-server-api/#room-tagging"""

from typing import Annotated, Any

from homeserver.errors import Forbidden
from homeserver.http.endpoint import USER, Body, Request, delete, get, put
from homeserver.http.requester import Requester
from homeserver.server import Server

_TAGS = "/_matrix/client/v3/user/{user_id}/rooms/{room_id}/tags"


class RoomTags(Request, kw_only=True):
    user_id: str
    room_id: str


class RoomTag(RoomTags, kw_only=True):
    tag: str


class SetRoomTag(RoomTag, kw_only=True):
    content: Annotated[dict[str, Any], Body]


def _require_own(me: Requester, req: RoomTags) -> None:
    if req.user_id != me.user_id:
        raise Forbidden("Tags are for their owner only.")


@get(_TAGS, auth=USER)
async def get_room_tags(server: Server, me: Requester, req: RoomTags) -> dict[str, Any]:
    _require_own(me, req)
    return {"tags": await server.tags.get(me.user_id, req.room_id)}


@put(_TAGS + "/{tag}", auth=USER, rate="account_data")
async def set_room_tag(server: Server, me: Requester, req: SetRoomTag) -> None:
    _require_own(me, req)
    await server.tags.set(me.user_id, req.room_id, req.tag, req.content)


@delete(_TAGS + "/{tag}", auth=USER, rate="account_data")
async def delete_room_tag(server: Server, me: Requester, req: RoomTag) -> None:
    _require_own(me, req)
    await server.tags.delete(me.user_id, req.room_id, req.tag)
