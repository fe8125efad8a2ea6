"""Inviting. https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidinvite

One path takes two kinds of bodies: a user ID, or a third-party identifier for an identity server to look up.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from homeserver.errors import BadJson, Forbidden, MissingParam
from homeserver.http.endpoint import USER, Body, Request, post
from homeserver.http.requester import Requester
from homeserver.server import Server

_THIRD_PARTY = ("id_server", "id_access_token", "medium", "address")


class Invite(Request, kw_only=True):
    room_id: str
    content: Annotated[dict[str, Any], Body]


@post("/_matrix/client/v3/rooms/{room_id}/invite", auth=USER, rate="invite", writes=True)
async def invite_user(server: Server, me: Requester, req: Invite) -> None:
    user_id, reason = req.content.get("user_id"), req.content.get("reason")
    if user_id is None and not req.content.keys().isdisjoint(_THIRD_PARTY):
        await server.rooms.require_joined(req.room_id, me.user_id)
        refuse_third_party(req.content)
    if user_id is None:
        raise MissingParam("The body has no 'user_id'.")
    if not isinstance(user_id, str) or not (reason is None or isinstance(reason, str)):
        raise BadJson("`user_id` and `reason` are strings.")
    await server.rooms.invite(req.room_id, me.user_id, user_id, reason)


def refuse_third_party(invite: Mapping[str, Any]) -> None:
    """Raises MissingParam, BadJson, or Forbidden for what is well formed: nobody here looks it up."""
    for name in _THIRD_PARTY:
        if name not in invite:
            raise MissingParam(f"A third-party invite needs '{name}'.")
        if not isinstance(invite[name], str):
            raise BadJson(f"`{name}` is a string.")
    raise Forbidden("This server does not use identity servers: invite people by their Matrix IDs.")
