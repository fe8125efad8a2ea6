"""Membership across servers: getting into rooms that this server is not in, and inviting from elsewhere.

https://spec.matrix.org/v1.19/server-server-api/#joining-rooms
https://spec.matrix.org/v1.19/server-server-api/#inviting-to-a-room

All handshakes are alike: a resident server proposes an event, we make ours of it, sign it and give it back;
what the room becomes here then is not decided here (`Arrivals`). One handshake runs at a time in a room, so
of two users who join a new room at once the second finds this server in the room already.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import orjson
from twisted.logger import Logger

from homeserver.errors import Forbidden, MatrixError, NotFound, RemoteError
from homeserver.protocol.events import Event
from homeserver.protocol.ids import server_of
from homeserver.protocol.room_versions import RoomVersion
from homeserver.rooms.asking_around import ask_around, candidates, passed_on
from homeserver.rooms.head import MEMBER, Head, Proposal
from homeserver.rooms.registry import Registry
from homeserver.rooms.remote import RemoteJoin, RemoteRooms, Template
from homeserver.rooms.templates import event_from
from homeserver.rooms.turns import Turns
from homeserver.rooms.unheard_leaves import UnheardLeaves, is_no
from storage.events import StoredEvent
from storage.memberships import Membership

log = Logger()

# The user waits, and will have left in any case.
MOST_ASKED_TO_LEAVE = 5
LEAVE_MS = 30_000

Content = Mapping[str, Any]


class Arrivals(Protocol):
    """Where what other servers gave us enters rooms: `incoming.Incoming`."""

    async def begin(self, join: RemoteJoin) -> None: ...

    async def accept(self, room_id: str, event: Event) -> StoredEvent: ...

    async def out_of_band(
        self, event: Event, version: RoomVersion, stripped: Sequence[Mapping[str, Any]]
    ) -> None: ...


class RemoteMembership:
    """`speaks_with` tells whether this server federates with another at all."""

    def __init__(
        self, registry: Registry, remote: RemoteRooms, arrivals: Arrivals, speaks_with: Callable[[str], bool]
    ) -> None:
        self._registry = registry
        self._remote = remote
        self._arrivals = arrivals
        self._own = registry.identity.server_name
        self.speaks_with = speaks_with
        self.turns = Turns()
        """For a room's handshakes. Whoever's turn it is looks again at what is known."""
        self.unheard = UnheardLeaves(registry, self.turns, self._leave_through)

    async def join(self, room_id: str, user_id: str, content: Content, via: Iterable[str]) -> None:
        """Joins through one of these servers, or those that the user's invite or our memory names."""
        row = (await self._registry.memberships.of(user_id)).get(room_id)
        servers = self._candidates([*via, *_named_by(row), *await self._remembered(room_id)])

        async def through(server: str) -> None:
            template = await self._remote.make_join(server, room_id, user_id)
            event = self._event(template, room_id, user_id, content)
            await self._arrivals.begin(await self._remote.send_join(template, event))

        await ask_around(self._registry.clock, servers, through, "Joining the room")

    async def knock(self, room_id: str, user_id: str, content: Content, via: Iterable[str]) -> None:
        servers = self._candidates([*via, *await self._remembered(room_id)])

        async def through(server: str) -> None:
            template = await self._remote.make_knock(server, room_id, user_id)
            event = self._event(template, room_id, user_id, content)
            stripped = await self._remote.send_knock(server, event)
            await self._arrivals.out_of_band(event, template.version, stripped)

        await ask_around(self._registry.clock, servers, through, "Knocking on the room")

    async def leave(self, row: Membership, content: Content) -> None:
        """Declines an invite or withdraws a knock. The user is rid of it even if no server hears of it."""
        room_id, user_id = row.room_id, row.user_id
        servers = self._candidates([*_named_by(row), server_of(room_id)])[:MOST_ASKED_TO_LEAVE]

        silent = dict.fromkeys(servers)

        async def through(server: str) -> None:
            try:
                event = await self._leave_through(server, room_id, user_id, content)
            except RemoteError as error:
                if is_no(error):
                    del silent[server]
                raise
            await self._arrivals.out_of_band(event, event.version, [])

        try:
            await ask_around(self._registry.clock, servers, through, "Leaving the room", LEAVE_MS)
        except MatrixError as error:
            log.info("{user} leaves unheard: {reason}", user=user_id, reason=error.message)
            if silent:
                await self.unheard.keep(row, silent)
            await self._leave_unheard(row, content)

    async def invite(
        self, room_id: str, sender: str, target: str, content: Content, guard: Callable[[Head], None]
    ) -> str:
        """Invites a user of another server, once that server has agreed; the event's ID."""
        server = server_of(target)
        self.require_invitable(target)
        proposal = Proposal(MEMBER, sender, dict(content), target)
        event, shown = await self._registry.propose(room_id, proposal, guard)
        event = await self._registry.policy.endorsed(await self._registry.get(room_id), event)
        try:
            # What the room looks like is sent as whole events, so that the other server can check it.
            invite_state = [each.pdu for each in shown]
            signed = await self._remote.invite(server, event, event.version, invite_state)
        except RemoteError as error:
            raise passed_on(error, f"Inviting {target}") from error
        return (await self._arrivals.accept(room_id, signed)).event_id

    def require_invitable(self, user_id: str) -> None:
        if not self.speaks_with(server_of(user_id)):
            raise Forbidden(f"This server does not federate with {server_of(user_id)}.")

    async def exchange_third_party_invite(
        self, room_id: str, sender: str, signed: Mapping[str, Any], display_name: str = ""
    ) -> None:
        """Has the server of `sender`, who invited an address, invite the user whose address it is.

        `signed` is the identity server's word on who that is. The invite arrives on its own.
        """
        claim = {"display_name": display_name, "signed": dict(signed)}
        invite = {
            "type": MEMBER,
            "room_id": room_id,
            "sender": sender,
            "state_key": signed["mxid"],
            "content": {"membership": "invite", "third_party_invite": claim},
        }
        try:
            await self._remote.exchange_third_party_invite(server_of(sender), room_id, invite)
        except RemoteError as error:
            raise passed_on(error, "Claiming the invite") from error

    # how it is done

    def _candidates(self, names: Iterable[str]) -> list[str]:
        return candidates(names, self._own, self.speaks_with)

    async def _remembered(self, room_id: str) -> list[str]:
        """The server in the room's ID, and those that were in the room when we last heard of it."""
        try:
            room = await self._registry.get(room_id)
        except NotFound:
            return [server_of(room_id)]
        return [server_of(room_id), *room.tip.servers]

    def _event(self, template: Template, room_id: str, user_id: str, content: Content) -> Event:
        return event_from(
            template,
            self._registry.identity,
            room_id=room_id,
            user_id=user_id,
            content=content,
            now_ms=self._registry.clock.now_ms(),
        )

    async def _leave_through(self, server: str, room_id: str, user_id: str, content: Content) -> Event:
        template = await self._remote.make_leave(server, room_id, user_id)
        event = self._event(template, room_id, user_id, content)
        await self._remote.send_leave(server, event)
        return event

    async def _leave_unheard(self, row: Membership, content: Content) -> None:
        """Ends the membership here with an event that nobody else will see."""
        left = await self._registry.events.get(row.event_id)
        if left is None:
            raise RuntimeError(f"the membership event {row.event_id} is not in the database")
        identity = self._registry.identity
        event = Event.build(
            left.event.version,
            room_id=row.room_id,
            sender=row.user_id,
            type=MEMBER,
            content=dict(content),
            state_key=row.user_id,
            prev_events=[row.event_id],
            auth_events=[row.event_id],
            depth=left.event.depth + 1,
            origin_server_ts=self._registry.clock.now_ms(),
            server_name=identity.server_name,
            signing_key=identity.signing_key,
        )
        await self._arrivals.out_of_band(event, event.version, [])


def _named_by(row: Membership | None) -> list[str]:
    """The servers of who invited the user, or put them out, and of whose events an invite or knock shows."""
    if row is None:
        return []
    shown = orjson.loads(row.invite_state) if row.invite_state is not None else []
    return [server_of(user_id) for user_id in (row.sender, *(each["sender"] for each in shown))]
