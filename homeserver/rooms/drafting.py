"""Events in the making: what somebody proposes, built and judged on a room's tip.

A draft must be submitted before anything else happens in its room. So all that building it will look at is
fetched first, and then it is built without a pause.
"""

import secrets
import string
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from homeserver.protocol.events import Event
from homeserver.protocol.room_versions import RoomVersion
from homeserver.rooms.head import BEFORE_CREATION, Draft, Head, Proposal, needed_keys
from homeserver.rooms.policy import POLICY
from homeserver.rooms.room import Room
from homeserver.rooms.state import StateKey

if TYPE_CHECKING:
    from homeserver.rooms.registry import Registry


class Drafting:
    def __init__(self, registry: "Registry") -> None:
        self._registry = registry
        self._last_creation = 0

    def new_room(self, version: RoomVersion) -> Draft:
        """The empty draft of a room that is to be created."""
        room_id = None if version.room_id_is_create_id else self._new_room_id()
        draft = self._empty(BEFORE_CREATION, self._registry.db.ids.room(), room_id, version, {})
        # Where the room ID is a hash, two rooms made alike in one millisecond would be the same room.
        draft.now_ms = self._last_creation = max(draft.now_ms, self._last_creation + 1)
        return draft

    async def made(
        self,
        room_id: str,
        proposals: Sequence[Proposal],
        redacted: Event | None,
        guard: Callable[[Head], None] | None,
    ) -> "tuple[Room, Draft]":
        """The proposals on the room's tip; to be submitted before anything else happens."""
        while True:
            room, held = await self._with_events_at_hand(room_id, proposals)
            if room.held is None:
                break
            released: Deferred[None] = Deferred()
            room.held.append(released)
            await released
        if guard is not None:
            guard(room.tip)
        draft = self._empty(room.tip, room.nid, room_id, room.version, held)
        for proposal in proposals:
            draft.add(proposal, redacted)
        return room, draft

    async def endorsed(
        self,
        room_id: str,
        proposals: Sequence[Proposal],
        redacted: Event | None,
        guard: Callable[[Head], None] | None,
    ) -> "tuple[Room, Draft]":
        """The same, with the signatures of the room's policy server.

        It is the room's turn, so the tip stays where it is unless the room changes its policy server: then
        all is made once more.
        """
        while True:
            room, draft = await self.made(room_id, proposals, redacted, guard)
            tip = room.tip
            for stored in draft.built.values():
                stored.event = await self._registry.policy.endorsed(room, stored.event)
            if self._registry.cached(room_id) is room and room.tip is tip and room.held is None:
                return room, draft

    async def _with_events_at_hand(
        self, room_id: str, proposals: Sequence[Proposal]
    ) -> tuple[Room, dict[str, Event]]:
        """The room, and the events that adding the proposals will look at; both as of this moment."""
        held: dict[str, Event] = {}
        while True:
            room = self._registry.cached(room_id) or await self._registry.get(room_id)
            missing = []
            for event_id in self._needed(room, proposals):
                if event_id not in held and event_id not in room.pending:
                    stored = self._registry.events.cached(event_id)
                    if stored is None:
                        missing.append(event_id)
                    else:
                        held[event_id] = stored.event
            if not missing:
                return room, held
            found = await self._registry.events.many(missing)
            if len(found) < len(missing):
                raise RuntimeError(f"state events of {room_id} are not in the database")
            held.update((event_id, stored.event) for event_id, stored in found.items())

    def _needed(self, room: Room, proposals: Sequence[Proposal]) -> list[str]:
        entries = room.tip.state.entries
        keys: list[StateKey] = []
        for proposal in proposals:
            keys.extend(needed_keys(room.version, proposal))
        needed = [entry.event_id for key in keys if (entry := entries.get(key)) is not None]
        if not room.version.hashed_event_ids:
            needed.extend(room.tip.extremities)
        return list(dict.fromkeys(needed))

    def _new_room_id(self) -> str:
        opaque = "".join(secrets.choice(string.ascii_letters) for _ in range(18))
        return f"!{opaque}:{self._registry.identity.server_name}"

    def _empty(
        self, head: Head, nid: int, room_id: str | None, version: RoomVersion, held: dict[str, Event]
    ) -> Draft:
        room = self._registry.cached(room_id) if room_id is not None else None
        pending = room.pending if room is not None else {}

        def lookup(event_id: str) -> Event | None:
            event = held.get(event_id)
            if event is None and (stored := pending.get(event_id)) is not None:
                return stored.event
            return event

        return Draft(
            head,
            nid,
            room_id,
            version,
            self._registry.identity,
            self._registry.db.ids,
            self._registry.clock.now_ms(),
            lookup,
            self._registry.outcomes,
        )


def is_policed(room: Room, draft: Draft) -> bool:
    """Whether a policy server may have to be asked for something in the draft."""
    if room.tip.event_id(*POLICY) is None:
        return False
    return any(stored.event.key != POLICY for stored in draft.built.values())
