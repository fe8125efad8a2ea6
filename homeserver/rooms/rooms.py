"""Rooms as the rest of the server uses them: find, create, send, set state, redact.

Membership has a file of its own (`membership`), reading history too (`history`).

https://spec.matrix.org/v1.19/client-server-api/#sending-events-to-a-room
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, FirstError, gatherResults
from twisted.logger import Logger

from homeserver.errors import BadJson, Forbidden, InvalidParam, MatrixError, NotFound, RoomInUse
from homeserver.protocol.events import Event
from homeserver.protocol.ids import fits
from homeserver.protocol.relations import relation_of
from homeserver.rooms.children import append_child
from homeserver.rooms.create import CreateOptions, Plan, plan
from homeserver.rooms.directory import Directory
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.head import MEMBER, Head, Identity, Proposal
from homeserver.rooms.membership import BlocksInvites, MembershipVerbs, ProfileOf
from homeserver.rooms.memberships import Memberships
from homeserver.rooms.registry import Registry
from homeserver.rooms.remote_membership import RemoteMembership
from homeserver.rooms.room import Room, RoomMovedOn
from homeserver.rooms.templates import VOUCHER
from storage import events as event_rows
from storage.database import Database
from storage.transaction import Transaction as Tx

Transaction = tuple[str, str, str, str, str]
REMEMBERED_TRANSACTIONS = 50_000
log = Logger()


class Rooms(MembershipVerbs):
    def __init__(
        self,
        db: Database,
        registry: Registry,
        profile_of: ProfileOf,
        aliases: Directory,
        default_version: str,
        blocks_invites: BlocksInvites,
        elsewhere: RemoteMembership | None = None,
        notices_user: str | None = None,
        encrypted_presets: Collection[str] = (),
    ) -> None:
        super().__init__(registry, profile_of, blocks_invites, elsewhere, notices_user)
        self._db = db
        self._aliases = aliases
        self._default_version = default_version
        self._encrypted_presets = encrypted_presets
        self._sent: OrderedDict[Transaction, str] = OrderedDict()
        self._sending: dict[Transaction, list[Deferred[None]]] = {}

    @property
    def memberships(self) -> Memberships:
        return self._registry.memberships

    @property
    def events(self) -> EventStore:
        return self._registry.events

    def cached(self, room_id: str) -> Room | None:
        return self._registry.cached(room_id)

    def lacks_members(self, room_id: str) -> bool:
        """Whether members of a room that was just joined are still to come."""
        return room_id in self._registry.partial

    def completed_at(self, room_id: str) -> int:
        """The position at which they had come; 0 for all other rooms."""
        return self._registry.completed.get(room_id, 0)

    async def get(self, room_id: str) -> Room:
        """NotFound if this server does not know the room."""
        return await self._registry.get(room_id)

    async def get_all(self, room_ids: Sequence[str]) -> dict[str, Room]:
        """Several rooms by their IDs; those that are not in memory are loaded side by side."""
        rooms = {}
        loading = []
        for room_id in room_ids:
            room = self._registry.cached(room_id)
            if room is not None:
                rooms[room_id] = room
            else:
                loading.append(room_id)
        if loading:
            loads = [Deferred.fromCoroutine(self._registry.get(room_id)) for room_id in loading]
            try:
                rooms.update(zip(loading, await gatherResults(loads, consumeErrors=True), strict=True))
            except FirstError as error:
                error.subFailure.raiseException()
        return rooms

    @property
    def identity(self) -> Identity:
        return self._registry.identity

    async def propose(self, room_id: str, proposal: Proposal) -> tuple[Event, list[Event]]:
        """The signed event that the proposal would become now, without adding it, and what an invited user
        is shown of the room. Raises Forbidden."""
        return await self._registry.propose(room_id, proposal)

    async def endorsed(self, room_id: str, event: Event) -> Event:
        """Such an event with the signature of the room's policy server, if it needs one; or its refusal."""
        return await self._registry.policy.endorsed(await self._registry.get(room_id), event)

    async def require_joined(self, room_id: str, user_id: str) -> Room:
        """The room; Forbidden unless the user is joined to it."""
        return await self._room_of_member(room_id, user_id)

    async def create(self, user_id: str, options: CreateOptions) -> str:
        """Creates a room and returns its ID once it is committed, with all its first events.

        Users of other servers are invited when the room is there: their servers may ask for it at once.
        """
        alias = None
        if options.room_alias_name is not None:
            alias = self._aliases.local_alias(options.room_alias_name)
            if await self._aliases.is_taken(alias):
                raise RoomInUse("That alias is taken.")
        for invitee in options.invite:
            await self._require_invitable(invitee, user_id)
        local = [each for each in {user_id, *options.invite} if self.memberships.is_local(each)]
        profiles = {each: await self._profile_of(each) for each in local}
        encrypted = self._encrypted_presets if user_id != self.notices_user else ()
        planned = plan(user_id, options, self._default_version, profiles, alias, encrypted)

        def also(tx: Tx, room_id: str) -> None:
            if alias is not None:
                self._aliases.add(tx, alias, room_id, user_id)
            if options.visibility == "public":
                self._aliases.publish(tx, room_id)

        room_id = await self._registry.create(planned.version, planned.build, also)
        await self._invite_from_elsewhere(room_id, planned)
        return room_id

    async def _invite_from_elsewhere(self, room_id: str, planned: Plan) -> None:
        """Invites that fail undo nothing, as the room is there; if not one user was invited, it is said."""
        inviting = [
            Deferred.fromCoroutine(self._invite_elsewhere(room_id, planned.creator, user_id, content))
            for user_id, content in planned.invites_elsewhere
        ]
        outcomes: list[tuple[bool, Any]] = await DeferredList(inviting, consumeErrors=True)
        failures = [outcome.value for succeeded, outcome in outcomes if not succeeded]
        for failure in failures:
            if not isinstance(failure, MatrixError) or len(failures) == len(set(planned.options.invite)):
                raise failure
            log.info("an invite to {room} failed: {reason}", room=room_id, reason=failure.message)

    async def send(
        self,
        room_id: str,
        sender: str,
        type: str,
        content: dict[str, Any],
        *,
        device_id: str | None = None,
        txn_id: str | None = None,
        ts: int | None = None,
        admin: bool = False,
    ) -> str:
        """Sends a message event; its ID. Sending again under the same transaction ID gives the same ID."""
        if self.cached(room_id) is None:  # whether it is another one's, or nobody's, is not to be learned
            await self._room_of_member(room_id, sender)
        if type == "m.room.redaction":
            target = content.get("redacts")
            if not isinstance(target, str):
                raise BadJson("A redaction names the event it redacts.")
            rest = {key: value for key, value in content.items() if key != "redacts"}
            return await self._redact(room_id, sender, target, rest, device_id, txn_id, admin)
        proposal = Proposal(type, sender, content, None, None, device_id, txn_id, ts)
        append = self._append_child if "m.relates_to" in content else self._append_one
        return await self._send_once(room_id, proposal, append)

    async def redact(
        self,
        room_id: str,
        sender: str,
        event_id: str,
        reason: str | None,
        *,
        device_id: str | None = None,
        txn_id: str | None = None,
        admin: bool = False,
    ) -> str:
        """Redacts an event; the redaction's ID. Forbidden without the power, unless it is one's own.

        `admin`: an administrator of this server may redact whatever its users sent.
        """
        content = {"reason": reason} if reason is not None else {}
        return await self._redact(room_id, sender, event_id, content, device_id, txn_id, admin)

    async def _redact(
        self,
        room_id: str,
        sender: str,
        event_id: str,
        content: dict[str, Any],
        device_id: str | None,
        txn_id: str | None,
        admin: bool,
    ) -> str:
        proposal = Proposal("m.room.redaction", sender, content, None, event_id, device_id, txn_id)
        append = partial(self._append_redaction, admin=admin)
        return await self._send_once(room_id, proposal, append)

    async def set_state(
        self,
        room_id: str,
        sender: str,
        type: str,
        state_key: str,
        content: dict[str, Any],
        *,
        guest: bool = False,
        device_id: str | None = None,
        txn_id: str | None = None,
    ) -> str:
        """Sets state; the event's ID. The same state again by the same sender is no new event.

        With a transaction ID (of a delayed event, say) it is set once, whatever came after it.
        """
        room = await self.require_joined_or_event(room_id, sender, type)
        if type == "m.room.canonical_alias" and state_key == "":
            await self._aliases.validate_canonical_alias(content, room_id)
        if type == "m.room.create":
            raise Forbidden("A room is created once.")
        event_id = room.tip.event_id(type, state_key)
        if event_id is not None:
            # One that waits for its commit is no answer yet: it may still be lost.
            stored = await self.events.get(event_id) if event_id not in room.pending else None
            if stored is not None and stored.event.content == content and stored.event.sender == sender:
                return event_id
        if type == MEMBER:
            if guest and content.get("membership") == "join":
                await self._require_guests_welcome(room)
            return await self._set_member(room, sender, state_key, content)
        proposal = Proposal(type, sender, content, state_key, None, device_id, txn_id)
        return await self._send_once(room_id, proposal, self._append_one)

    async def require_joined_or_event(self, room_id: str, sender: str, type: str) -> Room:
        """The room a state event goes to; only membership may be set by somebody outside."""
        if type == MEMBER:
            room = await self._resident(room_id, sender)
            if room is None:
                raise Forbidden("You are not in this room.")
            return room
        return await self._room_of_member(room_id, sender)

    async def _set_member(self, room: Room, sender: str, target: str, content: dict[str, Any]) -> str:
        membership = content.get("membership")
        if not isinstance(membership, str):
            raise BadJson("A member event has a membership.")
        self._require_user_id(target)
        if membership == "invite":
            await self._require_invitable(target, sender)
        if membership == "leave" and sender == target and room.tip.membership(target) == "invite":
            await self._require_may_decline(room.room_id, target)
        content = {key: value for key, value in content.items() if key != VOUCHER}
        if membership == "invite" and not self.memberships.is_local(target):
            await self._room_of_member(room.room_id, sender)
            return await self._invite_elsewhere(room.room_id, sender, target, content)
        if membership == "join" and sender == target and room.tip.membership(target) != "join":
            content = {**content, **await self.vouching.by_member(room, target)}
        return await self._append_one(room.room_id, Proposal(MEMBER, sender, content, target))

    async def _append_one(self, room_id: str, proposal: Proposal) -> str:
        [stored] = await self._registry.append(room_id, [proposal], guard=_require_member(proposal))
        return stored.event_id

    async def _append_child(self, room_id: str, proposal: Proposal) -> str:
        relation = relation_of(proposal.content)
        if relation is None:
            return await self._append_one(room_id, proposal)
        return await append_child(self._registry, room_id, proposal, relation, _require_member(proposal))

    async def _append_redaction(self, room_id: str, proposal: Proposal, admin: bool) -> str:
        target_id = proposal.redacts or ""
        room = await self._room_of_member(room_id, proposal.sender)
        target = room.pending.get(target_id) or await self.events.get(target_id)
        if target is None or target.event.room_id != room_id:
            raise NotFound("There is no such event in this room.")

        def guard(tip: Head) -> None:
            _require_member(proposal)(tip)
            by_admin = admin and self.memberships.is_local(target.event.sender)
            if not by_admin and not _may_redact(tip, proposal.sender, target.event):
                raise Forbidden("You do not have the power to redact this event.")

        takes_effect = target.event if target.redacted_by is None else None
        [stored] = await self._registry.append(room_id, [proposal], redacted=takes_effect, guard=guard)
        return stored.event_id

    async def _send_once(
        self, room_id: str, proposal: Proposal, append: Callable[[str, Proposal], Awaitable[str]]
    ) -> str:
        """Appends, unless the device did so before under this transaction ID.

        Memory answers for what was sent since the start. Older ones are found by the database's unique
        index when the event is written, so that a first sending costs no look-up.
        """
        if proposal.device_id is None or proposal.txn_id is None:
            return await append(room_id, proposal)
        if not fits(proposal.txn_id):
            raise InvalidParam("The transaction ID is too long.")
        key = (proposal.sender, proposal.device_id, room_id, proposal.txn_id, proposal.type)
        while (waiters := self._sending.get(key)) is not None:
            waiter: Deferred[None] = Deferred()
            waiters.append(waiter)
            await waiter
        sent = self._sent.get(key)
        if sent is not None:
            return sent
        self._sending[key] = []
        try:
            event_id = await self._append_or_find(room_id, proposal, append)
            self._sent[key] = event_id
            if len(self._sent) > REMEMBERED_TRANSACTIONS:
                self._sent.popitem(last=False)
            return event_id
        finally:
            for waiter in self._sending.pop(key):
                waiter.callback(None)

    async def _append_or_find(
        self, room_id: str, proposal: Proposal, append: Callable[[str, Proposal], Awaitable[str]]
    ) -> str:
        while True:
            try:
                return await append(room_id, proposal)
            except Exception as error:
                moved_on = isinstance(error, RoomMovedOn)
                if not moved_on and not self._db.is_duplicate(error):
                    raise
                room = await self._registry.get(room_id)
                found = await self._db.read(
                    event_rows.by_transaction,
                    room.nid,
                    proposal.sender,
                    proposal.device_id or "",
                    proposal.txn_id or "",
                    proposal.type,
                )
                if found is not None:
                    return found
                if not moved_on:
                    raise


def _require_member(proposal: Proposal) -> Callable[[Head], None]:
    def guard(tip: Head) -> None:
        if proposal.type != MEMBER and tip.membership(proposal.sender) != "join":
            raise Forbidden("You are not in this room.")

    return guard


def _may_redact(head: Head, sender: str, target: Event) -> bool:
    return sender == target.sender or head.levels.user(sender) >= head.levels.redact
