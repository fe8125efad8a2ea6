"""Upgrading a room: its replacement, the tombstone, the aliases, in one transaction.

https://spec.matrix.org/v1.19/client-server-api/#room-upgrades

The replacement is a draft that nobody sees while it is built, from the old room's state as it was at one
moment. What commits it is the tombstone: both rooms' events and the aliases are written together, and only if
the old room's state is still that one. So there is never half an upgrade, and of two at once one is first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred

from homeserver.errors import BadJson, Forbidden, InvalidParam, TooLarge, UnsupportedRoomVersion
from homeserver.protocol.events import Event
from homeserver.protocol.ids import is_valid_user_id
from homeserver.protocol.room_versions import ROOM_VERSIONS, RoomVersion
from homeserver.rooms.directory import CANONICAL_ALIAS
from homeserver.rooms.head import CREATE, MEMBER, POWER_LEVELS, Draft, Head, Proposal
from homeserver.rooms.membership import ProfileOf
from homeserver.rooms.registry import Registry
from homeserver.rooms.room import Room, RoomMovedOn
from homeserver.rooms.state import RoomState, StateKey
from homeserver.rooms.upgrade_state import (
    TOMBSTONE,
    closed_levels,
    create_content,
    power_levels,
    split_aliases,
    transferable,
    transferred,
)
from storage import directory
from storage.transaction import Transaction

ATTEMPTS = 10
# Each ban of the old room is an event to sign; others get their turn after so many.
_AT_A_TIME = 100


class Upgrades:
    def __init__(self, registry: Registry, profile_of: ProfileOf) -> None:
        self._registry = registry
        self._profile_of = profile_of

    async def upgrade(
        self, room_id: str, user_id: str, new_version: str, additional_creators: Sequence[str] = ()
    ) -> str:
        """The replacement's ID. Raises UnsupportedRoomVersion, InvalidParam, Forbidden."""
        room = await self._registry.get(room_id)
        if room.tip.membership(user_id) != "join":
            raise Forbidden("You are not in this room.")
        version = ROOM_VERSIONS.get(new_version)
        if version is None:
            raise UnsupportedRoomVersion("This server does not support that room version.")
        if version.creators_outrank_all and not all(map(is_valid_user_id, additional_creators)):
            raise InvalidParam("additional_creators is a list of user IDs.")
        before = room.tip.event_id(TOMBSTONE)
        for _ in range(ATTEMPTS):
            room = await self._registry.get(room_id)
            _require_power(room.tip, user_id)
            if room.tip.event_id(TOMBSTONE) != before:
                return await self._replacement(room, user_id, version)
            old = await self._look_at(room)
            try:
                return await self._upgrade(old, user_id, version, additional_creators)
            except _StateMoved:
                continue
        raise RoomMovedOn

    async def _upgrade(
        self, old: "_Old", user_id: str, version: RoomVersion, additional: Sequence[str]
    ) -> str:
        new = self._registry.drafting.new_room(version)
        moved = await self._registry.db.read(directory.aliases_of, old.create.room_id)
        canonical, staying = split_aliases(old.content(CANONICAL_ALIAS), moved)
        profile = await self._profile_of(user_id)
        proposals = _first_events(old, user_id, version, additional, canonical, profile)
        for number, proposal in enumerate(proposals):
            if number and number % _AT_A_TIME == 0:
                await self._pause()
            _add(new, proposal)
        replacement = new.room_id
        if replacement is None:
            raise ValueError("a room starts with its create event")

        def guard(tip: Head) -> None:
            if tip.state is not old.state:
                raise _StateMoved

        def also(tx: Transaction, room_id: str) -> None:
            directory.move(tx, room_id, replacement)

        last_events = _last_events(old, user_id, replacement, staying if canonical else None)
        await self._registry.append(
            old.create.room_id, last_events, guard=guard, created=new, also=also
        )
        return replacement

    async def _replacement(self, room: Room, user_id: str, version: RoomVersion) -> str:
        """What another request has just upgraded the room to, if it is what is asked for."""
        await self._registry.settled(room)
        event_id = (await self._registry.get(room.room_id)).head.event_id(TOMBSTONE)
        stored = await self._registry.events.get(event_id) if event_id is not None else None
        if stored is not None and stored.event.sender == user_id:
            replacement = stored.event.content.get("replacement_room")
            new = self._registry.cached(replacement) if isinstance(replacement, str) else None
            if new is not None and new.version is version:
                return new.room_id
        raise Forbidden("The room has just been upgraded.")

    async def _look_at(self, room: Room) -> "_Old":
        """The events the replacement is made from, as of now."""
        tip = room.tip
        if tip.create is None:
            raise ValueError("the room has no create event")
        entries = tip.state.entries
        keys = [*transferable(entries, tip.create), POWER_LEVELS, (CANONICAL_ALIAS, "")]
        banned = [
            key for key, entry in entries.items() if key[0] == MEMBER and entry.membership == "ban"
        ]
        wanted = {key: entries[key].event_id for key in [*keys, *banned] if key in entries}
        events = {
            key: stored.event
            for key, event_id in wanted.items()
            if (stored := room.pending.get(event_id)) is not None
        }
        found = await self._registry.events.many([wanted[key] for key in wanted if key not in events])
        events.update(
            (key, found[event_id].event) for key, event_id in wanted.items() if event_id in found
        )
        return _Old(room.version, tip, tip.create, events, banned)

    async def _pause(self) -> None:
        later: Deferred[None] = Deferred()
        self._registry.clock.call_later(0, later.callback, None)
        await later


@dataclass(frozen=True, slots=True)
class _Old:
    """The room that is replaced, at one moment: `events` are those of its state that matter."""

    version: RoomVersion
    tip: Head
    create: Event
    events: dict[StateKey, Event]
    banned: Sequence[StateKey]

    @property
    def state(self) -> RoomState:
        return self.tip.state

    def content(self, type: str) -> dict[str, Any]:
        event = self.events.get((type, ""))
        return event.content if event is not None else {}


class _StateMoved(Exception):
    """The old room's state changed while its replacement was built."""


def _require_power(tip: Head, user_id: str) -> None:
    if tip.membership(user_id) != "join":
        raise Forbidden("You are not in this room.")
    if tip.levels.user(user_id) < tip.levels.event(TOMBSTONE, True):
        raise Forbidden("You do not have the power to upgrade this room.")


def _first_events(
    old: _Old,
    user_id: str,
    version: RoomVersion,
    additional: Sequence[str],
    canonical: dict[str, Any],
    profile: dict[str, Any],
) -> list[Proposal]:
    """The power levels come last: before them the creator may do everything that is to be copied."""

    def state(type: str, content: dict[str, Any], state_key: str = "") -> Proposal:
        return Proposal(type, user_id, content, state_key)

    create = create_content(old.create, version, user_id, additional, old.tip.extremities[-1])
    proposals = [state(*CREATE[:1], create), state(MEMBER, {"membership": "join", **profile}, user_id)]
    for key in transferable(old.state.entries, old.create):
        event = old.events.get(key)
        content = transferred(key, event.content, version) if event is not None else None
        if content is not None:
            proposals.append(state(key[0], content, key[1]))
    if canonical:
        proposals.append(state(CANONICAL_ALIAS, canonical))
    for key in old.banned:
        reason = old.events[key].content.get("reason") if key in old.events else None
        content = {"membership": "ban", **({"reason": reason} if isinstance(reason, str) else {})}
        proposals.append(state(MEMBER, content, key[1]))
    creators = {user_id, *create.get("additional_creators", ())}
    levels = power_levels(old.version, old.tip.levels, old.content(POWER_LEVELS[0]), version, creators)
    return [*proposals, state(POWER_LEVELS[0], levels)]


def _add(new: Draft, proposal: Proposal) -> None:
    """Adds an event to the replacement; a copy that its version does not admit is left out."""
    try:
        new.add(proposal)
    except (BadJson, TooLarge, Forbidden):
        if proposal.type in (CREATE[0], POWER_LEVELS[0]) or new.head.create is None or not new.head.joined:
            raise


def _last_events(
    old: _Old, user_id: str, replacement: str, canonical: dict[str, Any] | None
) -> list[Proposal]:
    content = {"body": "This room has been replaced.", "replacement_room": replacement}
    events = [Proposal(TOMBSTONE, user_id, content, "")]
    levels = old.tip.levels
    if canonical is not None and levels.user(user_id) >= levels.event(CANONICAL_ALIAS, True):
        events.append(Proposal(CANONICAL_ALIAS, user_id, canonical, ""))
    closed = closed_levels(levels, old.content(POWER_LEVELS[0]), user_id)
    if closed is not None:
        events.append(Proposal(POWER_LEVELS[0], user_id, closed, ""))
    return events
