"""Joining, leaving, inviting, knocking, kicking and banning.

https://spec.matrix.org/v1.19/client-server-api/#room-membership

The authorisation rules decide who may; what stands here is what they leave to the server: what repeats
itself is no new event, who can vouch for a restricted join, and clear words for the common refusals.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from homeserver.errors import Forbidden, GuestAccessForbidden, InvalidParam, InviteBlocked, NotFound
from homeserver.protocol.ids import is_valid_user_id
from homeserver.rooms.head import MEMBER, Head, Proposal
from homeserver.rooms.registry import Registry, Room
from storage import memberships as store

Profile = dict[str, Any]
ProfileOf = Callable[[str], Awaitable[Profile]]
BlocksInvites = Callable[[str], Awaitable[bool]]
VOUCHER = "join_authorised_via_users_server"


class MembershipVerbs:
    """Each verb returns when the membership is committed. `profile_of` gives displayname and avatar_url."""

    def __init__(self, registry: Registry, profile_of: ProfileOf, blocks_invites: BlocksInvites) -> None:
        self._registry = registry
        self._profile_of = profile_of
        self._blocks_invites = blocks_invites

    async def join(
        self,
        room_id: str,
        user_id: str,
        *,
        reason: str | None = None,
        content: Mapping[str, Any] | None = None,
        guest: bool = False,
    ) -> str:
        """The room's ID. A user who is joined stays so, without a new event."""
        while True:
            room = await self._settled(room_id, user_id)
            if room.tip.membership(user_id) == "join":
                return room_id
            if guest:
                await self._require_guests_welcome(room)
            extra = {
                key: value for key, value in (content or {}).items() if key not in ("membership", VOUCHER)
            }
            extra.update(await self._vouched(room, user_id))
            try:
                await self._set(room_id, user_id, user_id, "join", reason, extra, _unless(user_id, "join"))
            except _Done:
                continue  # by another request of theirs, meanwhile
            return room_id

    async def leave(self, room_id: str, user_id: str, reason: str | None = None) -> None:
        """Leaves, or declines an invite, or withdraws a knock."""
        while True:
            room = await self._settled(room_id, user_id)
            membership = room.tip.membership(user_id)
            if membership == "leave":
                return
            if membership is None:
                raise Forbidden("You are not in this room.")
            try:
                await self._set(room_id, user_id, user_id, "leave", reason, guard=_unless(user_id, "leave"))
            except _Done:
                continue
            return

    async def invite(
        self,
        room_id: str,
        sender: str,
        target: str,
        reason: str | None = None,
        content: Mapping[str, Any] | None = None,
    ) -> None:
        self._require_user_id(target)
        room = await self._room_of_member(room_id, sender)
        if room.tip.membership(target) == "join":
            raise Forbidden("They are in the room already.")
        await self._require_invitable(target)
        await self._set(room_id, sender, target, "invite", reason, content)

    async def knock(self, room_id: str, user_id: str, reason: str | None = None) -> None:
        await self._set(room_id, user_id, user_id, "knock", reason)

    async def kick(self, room_id: str, sender: str, target: str, reason: str | None = None) -> None:
        self._require_user_id(target)
        await self._room_of_member(room_id, sender)

        def guard(tip: Head) -> None:  # or a kick would lift a ban that came first
            if tip.membership(target) not in ("join", "invite", "knock"):
                raise Forbidden("They are not in the room.")

        await self._set(room_id, sender, target, "leave", reason, guard=guard)

    async def ban(self, room_id: str, sender: str, target: str, reason: str | None = None) -> None:
        self._require_user_id(target)
        await self._room_of_member(room_id, sender)
        room = await self._settled(room_id, target)
        levels = room.tip.levels
        if room.tip.membership(target) == "ban" and levels.user(sender) >= levels.ban:
            return
        await self._set(room_id, sender, target, "ban", reason)

    async def unban(self, room_id: str, sender: str, target: str, reason: str | None = None) -> None:
        self._require_user_id(target)
        await self._room_of_member(room_id, sender)

        def guard(tip: Head) -> None:  # or it would be a kick
            if tip.membership(target) != "ban":
                raise Forbidden("They are not banned.")

        await self._set(room_id, sender, target, "leave", reason, guard=guard)

    async def forget(self, user_id: str, room_id: str) -> None:
        """Takes a room that was left out of the user's sight."""
        row = (await self._registry.memberships.of(user_id)).get(room_id)
        if row is None:
            raise NotFound("You were never in this room.")
        if row.membership not in ("leave", "ban"):
            raise InvalidParam("Leave the room before you forget it.", errcode="M_UNKNOWN")
        if not row.forgotten:
            await self._registry.db.write(store.forget, user_id, room_id)

    async def update_profile(self, user_id: str) -> None:
        """Shows the user's present profile in every room they are joined to."""
        profile = await self._profile_of(user_id)
        for room_id in await self._registry.memberships.joined_rooms(user_id):
            room = await self._registry.get(room_id)
            entry = room.tip.state.entries.get((MEMBER, user_id))
            if entry is None or entry.membership != "join":
                continue
            content = (await self._event_content(room, MEMBER, user_id)) or {}
            shown = {key: content.get(key) for key in ("displayname", "avatar_url") if key in content}
            if shown == profile:
                continue
            kept = {key: value for key, value in content.items() if key not in ("displayname", "avatar_url")}
            kept.pop("reason", None)
            proposal = Proposal(MEMBER, user_id, {**kept, **profile}, user_id)
            try:
                await self._registry.append(room_id, [proposal])
            except Forbidden:
                continue  # kicked or banned in the meantime: nothing to show there

    # how it is done

    async def _set(
        self,
        room_id: str,
        sender: str,
        target: str,
        membership: str,
        reason: str | None,
        content: Mapping[str, Any] | None = None,
        guard: Callable[[Head], None] | None = None,
    ) -> None:
        body: dict[str, Any] = {}
        if membership in ("join", "invite", "knock") and self._registry.memberships.is_local(target):
            body.update(await self._profile_of(target))
        body.update(content or {})
        body["membership"] = membership
        if reason is not None:
            body["reason"] = reason
        await self._registry.append(room_id, [Proposal(MEMBER, sender, body, target)], guard=guard)

    async def _settled(self, room_id: str, user_id: str) -> Room:
        """The room once the user's membership in it is committed: before that it is no answer."""
        room = await self._registry.get(room_id)
        while room.tip.event_id(MEMBER, user_id) in room.pending:
            await self._registry.settled(room)
            room = await self._registry.get(room_id)
        return room

    async def _room_of_member(self, room_id: str, user_id: str) -> Room:
        try:
            room = await self._registry.get(room_id)
        except NotFound:
            raise Forbidden("You are not in this room.") from None
        if room.tip.membership(user_id) != "join":
            raise Forbidden("You are not in this room.")
        return room

    async def _vouched(self, room: Room, user_id: str) -> dict[str, Any]:
        """For a restricted room: the member whose server vouches for the join.

        https://spec.matrix.org/v1.19/client-server-api/#restricted-rooms
        """
        rules = await self._event_content(room, "m.room.join_rules", "") or {}
        if rules.get("join_rule") not in room.version.restricted_join_rules:
            return {}
        if room.tip.membership(user_id) == "invite":
            return {}
        memberships = await self._registry.memberships.of(user_id)
        for allow in rules.get("allow") or ():
            if not isinstance(allow, dict) or allow.get("type") != "m.room_membership":
                continue
            row = memberships.get(str(allow.get("room_id")))
            if row is not None and row.membership == "join":
                voucher = self._voucher(await self._registry.get(room.room_id))
                return {VOUCHER: voucher} if voucher is not None else {}
        raise Forbidden("You are in none of the rooms that this room admits people from.")

    def _voucher(self, room: Room) -> str | None:
        """A joined local member who may invite, the mightiest. The room must be in memory."""
        head = room.tip
        members = self._registry.memberships.local_members(room.room_id)
        staying = (user_id for user_id in members if head.membership(user_id) == "join")
        best = max(staying, key=head.levels.user, default=None)
        return best if best is not None and head.levels.user(best) >= head.levels.invite else None

    async def _require_guests_welcome(self, room: Room) -> None:
        if await self._state_content(room, "m.room.guest_access", "guest_access") != "can_join":
            raise GuestAccessForbidden("Guests may not join this room.")

    async def _state_content(self, room: Room, type: str, field: str) -> Any:
        return (await self._event_content(room, type, "") or {}).get(field)

    async def _event_content(self, room: Room, type: str, state_key: str) -> dict[str, Any] | None:
        event_id = room.tip.event_id(type, state_key)
        if event_id is None:
            return None
        pending = room.pending.get(event_id)
        stored = pending or await self._registry.events.get(event_id)
        return stored.event.content if stored is not None else None

    async def _require_invitable(self, user_id: str) -> None:
        self._require_user_id(user_id)
        if not self._registry.memberships.is_local(user_id):
            raise Forbidden("Users of other servers cannot be invited: this server does not federate.")
        if await self._blocks_invites(user_id):
            raise InviteBlocked(f"{user_id} does not want to be invited.")

    def _require_user_id(self, user_id: str) -> None:
        if not is_valid_user_id(user_id):
            raise InvalidParam(f"{user_id!r} is not a user ID.")


class _Done(Exception):
    """What was to be set is set already."""


def _unless(user_id: str, membership: str) -> Callable[[Head], None]:
    def guard(tip: Head) -> None:
        if tip.membership(user_id) == membership:
            raise _Done

    return guard
