"""Who vouches for a join into a restricted room.

https://spec.matrix.org/v1.19/client-server-api/#restricted-rooms
https://spec.matrix.org/v1.19/server-server-api/#restricted-rooms

Whether a user is in one of the rooms that such a room admits people from, the authorisation rules cannot
see. So a member who may invite vouches for it, by the signature of their server.
"""

from typing import Any

from homeserver.errors import Forbidden
from homeserver.protocol.ids import server_of
from homeserver.protocol.power_levels import creators_of
from homeserver.rooms.head import Head
from homeserver.rooms.registry import Registry
from homeserver.rooms.room import Room
from homeserver.rooms.templates import VOUCHER


class NobodyVouches(Forbidden):
    """The user may join, but no member of this server can vouch for that."""


class Vouching:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def by_member(self, room: Room, user_id: str) -> dict[str, Any]:
        """What a local user's join needs in its content. Raises Forbidden, NobodyVouches."""
        rules = await self._registry.state_content(room, "m.room.join_rules") or {}
        if not room.version.is_restricted(rules):
            return {}
        if room.tip.membership(user_id) == "invite":
            return {}
        memberships = await self._registry.memberships.of(user_id)
        allowed = rules.get("allow")
        for allow in allowed if isinstance(allowed, list) else ():
            if not isinstance(allow, dict) or allow.get("type") != "m.room_membership":
                continue
            row = memberships.get(str(allow.get("room_id")))
            if row is not None and row.membership == "join":
                voucher = self.voucher(await self._registry.get(room.room_id))
                if voucher is None:
                    raise NobodyVouches("Nobody on this server may invite you to this room.")
                return {VOUCHER: voucher}
        raise Forbidden("You are in none of the rooms that this room admits people from.")

    def voucher(self, room: Room) -> str | None:
        """A joined local member who may invite, the mightiest. The room must be in memory."""
        head = room.tip
        members = self._registry.memberships.local_members(room.room_id)
        staying = (user_id for user_id in members if head.membership(user_id) == "join")
        best = max(staying, key=head.levels.user, default=None)
        return best if best is not None and head.levels.user(best) >= head.levels.invite else None


def vouching_servers(tip: Head) -> list[str]:
    """The servers of joined members who may invite, the mightiest first; any, where everybody may."""
    levels = tip.levels
    known = {*levels.users, *(creators_of(tip.create) if tip.create is not None else ())}
    mightiest_first = sorted(known, key=levels.user, reverse=True)
    servers = [
        server_of(user)
        for user in mightiest_first
        if levels.user(user) >= levels.invite and tip.membership(user) == "join"
    ]
    return servers + (list(tip.servers) if levels.users_default >= levels.invite else [])
