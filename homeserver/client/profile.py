"""Profiles. https://spec.matrix.org/v1.19/client-server-api/#profiles

Under the paths of MSC4133 too, which clients use that learned custom fields before v1.16. Which rooms are to
show a change, clients say as in MSC4466: https://github.com/matrix-org/matrix-spec-proposals/pull/4466
"""

from typing import Annotated, Any

from homeserver.accounts.profiles import DISPLAYNAME, PropagateTo
from homeserver.errors import Forbidden, GuestAccessForbidden, MissingParam, MissingToken
from homeserver.http.endpoint import OPTIONAL, USER, Body, Query, Request, delete, get, put
from homeserver.http.requester import Requester
from homeserver.server import Server

_PROFILE = "/_matrix/client/v3/profile/{user_id}"
_FIELD = _PROFILE + "/{key_name}"
_UNSTABLE_FIELD = "/_matrix/client/unstable/uk.tcpip.msc4133/profile/{user_id}/{key_name}"


class GetProfile(Request, kw_only=True):
    user_id: str


class ProfileField(GetProfile, kw_only=True):
    key_name: str


class ChangeProfileField(ProfileField, kw_only=True):
    propagate_to: Annotated[PropagateTo, Query("computer.gingershaped.msc4466.propagate_to")] = "all"


class SetProfileField(ChangeProfileField, kw_only=True):
    content: Annotated[dict[str, Any], Body]


@get(_PROFILE, auth=OPTIONAL, rate="profile", guests=True)
async def get_user_profile(server: Server, me: Requester | None, req: GetProfile) -> dict[str, Any]:
    _require_allowed_to_look(server, me)
    return await server.profiles.get(req.user_id)


@get(_FIELD, auth=OPTIONAL, rate="profile", guests=True, aliases=[_UNSTABLE_FIELD])
async def get_profile_field(server: Server, me: Requester | None, req: ProfileField) -> dict[str, Any]:
    _require_allowed_to_look(server, me)
    return await server.profiles.get_field(req.user_id, req.key_name)


@put(_FIELD, auth=USER, rate="profile", guests=True, writes=True, aliases=[_UNSTABLE_FIELD])
async def set_profile_field(server: Server, me: Requester, req: SetProfileField) -> None:
    _require_own(me, req)
    if req.key_name not in req.content:
        raise MissingParam(f"The body has no '{req.key_name}'.")
    value = req.content[req.key_name]
    await server.profiles.set_field(me.user_id, req.key_name, value, req.propagate_to)


@delete(_FIELD, auth=USER, rate="profile", guests=True, writes=True, aliases=[_UNSTABLE_FIELD])
async def delete_profile_field(server: Server, me: Requester, req: ChangeProfileField) -> None:
    _require_own(me, req)
    await server.profiles.delete_field(me.user_id, req.key_name, req.propagate_to)


def _require_allowed_to_look(server: Server, me: Requester | None) -> None:
    if me is None and server.config.require_auth_for_profile_requests:
        raise MissingToken("Profiles are shown to logged-in users only.")


def _require_own(me: Requester, req: ProfileField) -> None:
    if req.user_id != me.user_id:
        raise Forbidden("You can only change your own profile.")
    if me.is_guest and req.key_name != DISPLAYNAME:
        raise GuestAccessForbidden("Guests may only change their display name.")
