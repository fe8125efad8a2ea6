"""Vouching for those who join a restricted room through this server.

https://spec.matrix.org/v1.19/server-server-api/#restricted-rooms

The answers differ in what the joining server does next: where this server cannot know whether a condition
is met, or knows that it is but has nobody who may invite, another server may help; where none is met, none
can.
"""

from typing import Any

from homeserver.errors import Forbidden, NotFound, UnableToAuthoriseJoin, UnableToGrantJoin
from homeserver.rooms.room import Room
from homeserver.server import Server

MOST_CONDITIONS = 100


async def voucher_for(server: Server, room: Room, user_id: str) -> str | None:
    """Our member whose word the join needs; None if it needs none.

    Raises Forbidden, UnableToAuthoriseJoin, UnableToGrantJoin.
    """
    rules = await _content(server, room, "m.room.join_rules")
    if not room.version.is_restricted(rules):
        return None
    membership = room.tip.membership(user_id)
    if membership in ("invite", "join"):
        return None
    if membership == "ban":
        raise Forbidden(f"{user_id} is banned.")
    await _require_condition(server, rules.get("allow"), user_id)
    head = room.tip
    local = server.rooms.memberships.local_members(room.room_id)
    joined = [each for each in local if head.membership(each) == "join"]
    best = max(joined, key=head.levels.user, default=None)
    if best is None or head.levels.user(best) < head.levels.invite:
        raise UnableToGrantJoin("Nobody on this server may let you in.")
    return best


async def _require_condition(server: Server, allow: Any, user_id: str) -> None:
    unknown = False
    for condition in allow[:MOST_CONDITIONS] if isinstance(allow, list) else ():
        if not isinstance(condition, dict) or condition.get("type") != "m.room_membership":
            continue
        room_id = condition.get("room_id")
        if not isinstance(room_id, str):
            continue
        joined = await _is_joined(server, room_id, user_id)
        if joined:
            return
        unknown = unknown or joined is None
    if unknown:
        raise UnableToAuthoriseJoin("This server does not know the rooms that people are admitted from.")
    raise Forbidden("You are in none of the rooms that this room admits people from.")


async def _is_joined(server: Server, room_id: str, user_id: str) -> bool | None:
    """None where this server is not in the room, or does not know its members yet."""
    try:
        room = await server.rooms.get(room_id)
    except NotFound:
        return None
    if room.head.membership(user_id) == "join" and room.is_resident(server.config.server_name):
        return True
    return None if room.partial or not room.is_resident(server.config.server_name) else False


async def _content(server: Server, room: Room, type: str) -> dict[str, Any]:
    event_id = room.tip.event_id(type)
    if event_id is None:
        return {}
    stored = room.pending.get(event_id) or await server.events.get(event_id)
    return stored.event.content if stored is not None else {}
