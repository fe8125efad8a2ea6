"""Room creation. https://spec.matrix.org/v1.19/client-server-api/#creation"""

from typing import Any

import msgspec

from homeserver.errors import InvalidParam
from homeserver.http.endpoint import USER, Request, post
from homeserver.http.requester import Requester
from homeserver.rooms.create import CreateOptions, StateToSet
from homeserver.rooms.third_party_invites import ThirdPartyId
from homeserver.server import Server

MOST_THIRD_PARTIES = 20


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
    third_parties = [
        ThirdPartyId.checked(each.id_server, each.id_access_token, each.medium, each.address)
        for each in req.invite_3pid or ()
    ]
    if len(third_parties) > MOST_THIRD_PARTIES:
        raise InvalidParam(f"At most {MOST_THIRD_PARTIES} third-party invites at once.")
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
    room_id = await server.rooms.create(me.user_id, options)
    if third_parties:
        await server.third_party_invites.invite_first(
            room_id, me.user_id, third_parties, is_direct=req.is_direct, alone=not req.invite
        )
    return {"room_id": room_id}
