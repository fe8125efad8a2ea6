"""Room creation. https://spec.matrix.org/v1.19/client-server-api/#creation"""

from typing import Any

import msgspec

from homeserver.client.inviting import no_identity_server
from homeserver.http.endpoint import USER, Request, post
from homeserver.http.requester import Requester
from homeserver.rooms.create import CreateOptions, StateToSet
from homeserver.server import Server


class InitialState(msgspec.Struct, kw_only=True):
    type: str
    content: dict[str, Any]
    state_key: str = ""


class ThirdPartyInvite(msgspec.Struct, kw_only=True):
    id_server: str
    id_access_token: str
    medium: str
    address: str


class CreateRoom(Request, kw_only=True):
    visibility: str | None = None
    room_alias_name: str | None = None
    name: str | None = None
    topic: str | None = None
    invite: list[str] | None = None
    invite_3pid: list[ThirdPartyInvite] | None = None
    room_version: str | None = None
    creation_content: dict[str, Any] | None = None
    initial_state: list[InitialState] | None = None
    preset: str | None = None
    is_direct: bool = False
    power_level_content_override: dict[str, Any] | None = None


@post("/_matrix/client/v3/createRoom", auth=USER, rate="create_room", writes=True)
async def create_room(server: Server, me: Requester, req: CreateRoom) -> dict[str, Any]:
    if req.invite_3pid:
        raise no_identity_server()
    if req.room_alias_name is not None:
        server.directory.local_alias(req.room_alias_name)
    options = CreateOptions(
        visibility=req.visibility or "private",
        room_alias_name=req.room_alias_name,
        name=req.name,
        topic=req.topic,
        invite=req.invite or (),
        room_version=req.room_version,
        creation_content=req.creation_content or {},
        initial_state=[
            StateToSet(state.type, state.content, state.state_key) for state in req.initial_state or ()
        ],
        preset=req.preset,
        is_direct=req.is_direct,
        power_level_content_override=req.power_level_content_override or {},
    )
    return {"room_id": await server.rooms.create(me.user_id, options)}
