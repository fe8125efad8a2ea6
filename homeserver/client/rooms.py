"""Looking at a room: one event, the state, the members.

https://spec.matrix.org/v1.19/client-server-api/#getting-events-for-a-room
"""

from typing import Annotated, Any, Literal

import orjson

from homeserver.errors import NotFound
from homeserver.http.endpoint import USER, Query, Request, get
from homeserver.http.requester import Requester
from homeserver.protocol.events import Event
from homeserver.server import Server

_ROOM = "/_matrix/client/v3/rooms/{room_id}"
_TYPE = _ROOM + "/state/{event_type}"

Membership = Literal["join", "invite", "knock", "leave", "ban"]


class GetRoom(Request, kw_only=True):
    room_id: str


class GetEvent(GetRoom, kw_only=True):
    event_id: str


class GetState(GetRoom, kw_only=True):
    event_type: str
    state_key: str = ""
    format: Annotated[Literal["content", "event"], Query()] = "content"


class GetMembers(GetRoom, kw_only=True):
    at: Annotated[str | None, Query()] = None
    membership: Annotated[Membership | None, Query()] = None
    not_membership: Annotated[Membership | None, Query()] = None


@get(_ROOM + "/event/{event_id}", auth=USER, guests=True)
async def get_one_room_event(server: Server, me: Requester, req: GetEvent) -> bytes:
    stored, view, bundles = await server.history.event(req.room_id, me.user_id, req.event_id)
    [event] = await server.serializer.client_events([stored], me.user_id, me.device_id, view, bundles=bundles)
    return orjson.dumps(event)


@get(_ROOM + "/state", auth=USER, guests=True)
async def get_room_state(server: Server, me: Requester, req: GetRoom) -> bytes:
    entries = await server.history.state(req.room_id, me.user_id)
    stored = await server.rooms.events.many([entry.event_id for entry in entries.values()])
    return orjson.dumps(
        await server.serializer.client_events(list(stored.values()), me.user_id, me.device_id)
    )


@get(_TYPE + "/{state_key}", aliases=[_TYPE], auth=USER, guests=True)
async def get_room_state_with_key(server: Server, me: Requester, req: GetState) -> bytes:
    entries = await server.history.state(req.room_id, me.user_id)
    entry = entries.get((req.event_type, req.state_key))
    stored = await server.rooms.events.get(entry.event_id) if entry is not None else None
    if stored is None:
        raise NotFound("The room has no such state.")
    if req.format == "content":
        return orjson.dumps(stored.event.content)
    [event] = await server.serializer.client_events([stored], me.user_id, me.device_id)
    return orjson.dumps(event)


@get(_ROOM + "/members", auth=USER, guests=True)
async def get_members_by_room(server: Server, me: Requester, req: GetMembers) -> dict[str, Any]:
    members = await server.history.members(
        req.room_id, me.user_id, at=req.at, membership=req.membership, not_membership=req.not_membership
    )
    return {"chunk": await server.serializer.client_events(members, me.user_id, me.device_id)}


@get(_ROOM + "/joined_members", auth=USER)
async def get_joined_members_by_room(server: Server, me: Requester, req: GetRoom) -> dict[str, Any]:
    await server.rooms.require_joined(req.room_id, me.user_id)
    members = await server.history.members(req.room_id, me.user_id, membership="join")
    return {"joined": {stored.event.state_key: _shown(stored.event) for stored in members}}


def _shown(member: Event) -> dict[str, str]:
    """A member without a display name is called by their ID, as clients do it."""
    name, avatar = member.content.get("displayname"), member.content.get("avatar_url")
    shown = {"display_name": name if isinstance(name, str) else member.state_key or ""}
    if isinstance(avatar, str):
        shown["avatar_url"] = avatar
    return shown
