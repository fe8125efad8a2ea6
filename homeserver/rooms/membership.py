"""Joining, leaving, inviting, knocking, kicking and banning.

https://spec.matrix.org/v1.19/client-server-api/#room-membership

The authorisation rules decide who may; what stands here is what they leave to the server: what repeats
itself is no new event, who can vouch for a restricted join, and clear words for the common refusals. Where
this server is not in the room, or another one has a say, `remote_membership` takes over.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from homeserver.errors import (
    CannotLeaveServerNoticeRoom,
    Forbidden,
    GuestAccessForbidden,
    InvalidParam,
    InviteBlocked,
    NotFound,
)
from homeserver.protocol.ids import is_valid_user_id
from homeserver.rooms.head import MEMBER, Head, Proposal
from homeserver.rooms.registry import Registry
from homeserver.rooms.remote_membership import RemoteMembership
from homeserver.rooms.room import Room
from homeserver.rooms.templates import VOUCHER
from homeserver.rooms.vouching import NobodyVouches, Vouching, vouching_servers
from storage import memberships as store

Profile = dict[str, Any]
ProfileOf = Callable[[str], Awaitable[Profile]]
BlocksInvites = Callable[[str, str], Awaitable[bool]]
"""(invited user, sender)."""


class MembershipVerbs:
    """Each verb returns when the membership is committed. `profile_of` gives displayname and avatar_url.

    `elsewhere` is None on a server that does not federate. Invites by `notices_user` are the server's own.
    """

    def __init__(
        self,
        registry: Registry,
        profile_of: ProfileOf,
        blocks_invites: BlocksInvites,
        elsewhere: RemoteMembership | None = None,
        notices_user: str | None = None,
    ) -> None:
        self._registry = registry
        self.notices_user = notices_user
        self._own = registry.identity.server_name
        self._elsewhere = elsewhere
        self.vouching = Vouching(registry)
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
        via: Iterable[str] = (),
    ) -> str:
        """The room's ID. A user who is joined stays so, without a new event.

        `via`: servers that may know the room, for where this one does not.
        """
        extra = {key: value for key, value in (content or {}).items() if key not in ("membership", VOUCHER)}
        while True:
            room = await self._resident(room_id, user_id)
            if room is not None and room.tip.membership(user_id) == "join":
                return room_id
            if guest:
                if room is None:
                    raise GuestAccessForbidden("Guests may not join rooms that this server is not in.")
                await self._require_guests_welcome(room)
            try:
                if room is None:
                    await self._join_elsewhere(room_id, user_id, reason, extra, via)
                else:
                    await self._join_here(room, user_id, reason, extra)
            except _Done:
                continue  # by another request of theirs, or by somebody who brought this server in, meanwhile
            return room_id

    async def _join_here(
        self, room: Room, user_id: str, reason: str | None, extra: Mapping[str, Any]
    ) -> None:
        try:
            vouched = await self.vouching.by_member(room, user_id)
        except NobodyVouches:
            servers = [server for server in vouching_servers(room.tip) if server != self._own]
            if not servers:
                raise
            await self._join_elsewhere(room.room_id, user_id, reason, extra, servers, room)
            return
        content = {**extra, **vouched}

        def guard(tip: Head) -> None:
            if tip.membership(user_id) == "join" or self._is_stale(tip):
                raise _Done

        await self._set(room.room_id, user_id, user_id, "join", reason, content, guard)

    async def _join_elsewhere(
        self,
        room_id: str,
        user_id: str,
        reason: str | None,
        extra: Mapping[str, Any],
        via: Iterable[str],
        room: Room | None = None,
    ) -> None:
        """`room`: this server is in it, but needs another one to vouch for the join."""
        elsewhere = self._elsewhere
        if elsewhere is None:
            raise NotFound("This server does not federate.")
        async with elsewhere.turns.of(room_id):
            now = await self._resident(room_id, user_id)
            if now is not None and (room is None or now.tip.membership(user_id) == "join"):
                raise _Done
            await elsewhere.join(room_id, user_id, await self._body(user_id, "join", reason, extra), via)

    async def leave(self, room_id: str, user_id: str, reason: str | None = None) -> None:
        """Leaves, or declines an invite, or withdraws a knock."""
        while True:
            room = await self._resident(room_id, user_id)
            if room is None:
                await self._leave_elsewhere(room_id, user_id, reason)
                return
            membership = room.tip.membership(user_id)
            if membership == "leave":
                return
            if membership is None:
                raise Forbidden("You are not in this room.")
            if membership == "invite":
                await self._require_may_decline(room_id, user_id)
            try:
                await self._set(room_id, user_id, user_id, "leave", reason, guard=_unless(user_id, "leave"))
            except _Done:
                continue
            return

    async def _leave_elsewhere(self, room_id: str, user_id: str, reason: str | None) -> None:
        row = (await self._registry.memberships.of(user_id)).get(room_id)
        if row is None or self._elsewhere is None:
            await self._registry.get(room_id)
            raise Forbidden("You are not in this room.")
        async with self._elsewhere.turns.of(room_id):
            row = (await self._registry.memberships.of(user_id))[room_id]
            if row.membership == "ban":
                raise Forbidden("You are banned from this room.")
            if row.membership != "leave":
                await self._elsewhere.leave(row, await self._body(user_id, "leave", reason, {}))

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
        await self._require_invitable(target, sender)
        if self._registry.memberships.is_local(target):
            await self._set(room_id, sender, target, "invite", reason, content)
        else:
            body = await self._body(target, "invite", reason, content or {})
            await self._invite_elsewhere(room_id, sender, target, body)

    async def _invite_elsewhere(self, room_id: str, sender: str, target: str, body: dict[str, Any]) -> str:
        if self._elsewhere is None:
            raise Forbidden("Users of other servers cannot be invited: this server does not federate.")

        def guard(tip: Head) -> None:
            if tip.create is not None and tip.create.content.get("m.federate") is False:
                raise Forbidden("This room is for users of its own server only.")
            if tip.membership(target) == "join":
                raise Forbidden("They are in the room already.")

        return await self._elsewhere.invite(room_id, sender, target, body, guard)

    async def knock(
        self, room_id: str, user_id: str, reason: str | None = None, via: Iterable[str] = ()
    ) -> None:
        if self._elsewhere is not None and await self._resident(room_id, user_id) is None:
            async with self._elsewhere.turns.of(room_id):
                body = await self._body(user_id, "knock", reason, {})
                await self._elsewhere.knock(room_id, user_id, body, via)
        else:
            await self._set(room_id, user_id, user_id, "knock", reason)

    async def exchange_third_party_invite(
        self, room_id: str, sender: str, signed: Mapping[str, Any]
    ) -> None:
        """Claims an invite to a room that this server is not in from the server that sent it."""
        if self._elsewhere is None:
            raise NotFound("This server does not know the room.")
        await self._elsewhere.exchange_third_party_invite(room_id, sender, signed)

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

    async def update_profile(self, user_id: str, instead: tuple[str, Any] | None = None) -> None:
        """Shows the user's present profile in every room they are joined to.

        `instead` of a value of one key: only that key, and only where the room shows this value.
        """
        profile = await self._profile_of(user_id)
        for room_id in await self._registry.memberships.joined_rooms(user_id):
            room = await self._registry.get(room_id)
            entry = room.tip.state.entries.get((MEMBER, user_id))
            if entry is None or entry.membership != "join":
                continue
            content = (await self._registry.state_content(room, MEMBER, user_id)) or {}
            shown: Profile = {
                name: content.get(name) for name in ("displayname", "avatar_url") if name in content
            }
            told = profile
            if instead is not None:
                key, before = instead
                if shown.get(key) != before:
                    continue
                told = {name: value for name, value in shown.items() if name != key}
                told |= {name: value for name, value in profile.items() if name == key}
            if shown == told:
                continue
            kept = {key: value for key, value in content.items() if key not in ("displayname", "avatar_url")}
            kept.pop("reason", None)
            proposal = Proposal(MEMBER, user_id, {**kept, **told}, user_id)
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
        body = await self._body(target, membership, reason, content or {})
        await self._registry.append(room_id, [Proposal(MEMBER, sender, body, target)], guard=guard)

    async def _body(
        self, target: str, membership: str, reason: str | None, content: Mapping[str, Any]
    ) -> dict[str, Any]:
        body: dict[str, Any] = {}
        if membership in ("join", "invite", "knock") and self._registry.memberships.is_local(target):
            body.update(await self._profile_of(target))
        body.update(content)
        body["membership"] = membership
        if reason is not None:
            body["reason"] = reason
        return body

    async def _resident(self, room_id: str, user_id: str) -> Room | None:
        """As `_settled`, but None where this server has no members and so does not hear of the room."""
        try:
            room = await self._settled(room_id, user_id)
        except NotFound:
            if self._elsewhere is None:
                raise
            return None
        return None if self._is_stale(room.tip) else room

    def _is_stale(self, tip: Head) -> bool:
        """Whether only others are in the room. Where nobody is left at all, nothing can happen unheard."""
        return self._elsewhere is not None and bool(tip.servers) and self._own not in tip.servers

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

    async def _require_guests_welcome(self, room: Room) -> None:
        rules = await self._registry.state_content(room, "m.room.guest_access")
        if rules is None or rules.get("guest_access") != "can_join":
            raise GuestAccessForbidden("Guests may not join this room.")

    async def _require_may_decline(self, room_id: str, user_id: str) -> None:
        """https://spec.matrix.org/v1.19/client-server-api/#server-notices"""
        row = (await self._registry.memberships.of(user_id)).get(room_id)
        if row is not None and row.membership == "invite" and row.sender == self.notices_user:
            raise CannotLeaveServerNoticeRoom("What the server has to say can be left, but not declined.")

    async def _require_invitable(self, user_id: str, sender: str) -> None:
        self._require_user_id(user_id)
        if not self._registry.memberships.is_local(user_id):
            if self._elsewhere is None:
                raise Forbidden("Users of other servers cannot be invited: this server does not federate.")
            self._elsewhere.require_invitable(user_id)
        elif await self._blocks_invites(user_id, sender):
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
