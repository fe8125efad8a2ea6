"""Another server, in the same process: the port RemoteRooms answered from a synthetic room.

`hidden` are event IDs it pretends not to know; `asked` the names of what it was asked.
"""

from collections.abc import Collection, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from homeserver.errors import RemoteError
from homeserver.protocol.events import Event
from homeserver.protocol.room_versions import RoomVersion
from homeserver.protocol.signing import SigningKey
from homeserver.rooms.remote import RemoteJoin
from tests.federation.synthetic_room import SyntheticRoom

THERE = "there"


class Neighbour:
    def __init__(self) -> None:
        self.key = SigningKey.generate()
        self.rooms: dict[str, SyntheticRoom] = {}
        self.asked: list[str] = []
        self.hidden: set[str] = set()
        self.hold_state = False
        self._held: list[Deferred[None]] = []

    def release_state(self) -> None:
        """Answers those who asked for a whole state meanwhile."""
        self.hold_state = False
        for waiter in self._held:
            waiter.callback(None)

    def make_room(self, version: str = "11", **options: Any) -> SyntheticRoom:
        room = SyntheticRoom.create(version, THERE, self.key, f"room{len(self.rooms)}", **options)
        self.rooms[room.room_id] = room
        return room

    def joined_by(
        self, room: SyntheticRoom, user_id: str, key: SigningKey, *, partial: bool = False
    ) -> RemoteJoin:
        """What a server gets whose user joins the room."""
        state = room.state
        _, _, server = user_id.partition(":")
        event = room.send(
            "m.room.member", {"membership": "join"}, user_id, sender=user_id, key=key, server_name=server
        )
        events = room.events_of(state)
        if partial:
            events = [each for each in events if each.type != "m.room.member"]
        chain = room.auth_chain([*state.values(), event.event_id])
        return RemoteJoin(event, events, chain, partial, room.servers(state), THERE)

    async def missing_events(
        self, server: str, room_id: str, version: RoomVersion, *,
        earliest: Collection[str], latest: Collection[str], limit: int, min_depth: int = 0,
    ) -> list[Event]:
        self.asked.append("missing_events")
        found = self.rooms[room_id].before(list(latest), limit, earliest=earliest)
        return self._shown(found)

    async def backfill(
        self, server: str, room_id: str, version: RoomVersion, event_ids: Collection[str], limit: int
    ) -> list[Event]:
        self.asked.append("backfill")
        return self._shown(self.rooms[room_id].before(list(event_ids), limit, including=True))

    async def state_ids(self, server: str, room_id: str, event_id: str) -> tuple[list[str], list[str]]:
        self.asked.append("state_ids")
        state, chain = self._state(room_id, event_id)
        return [each.event_id for each in state], [each.event_id for each in chain]

    async def state(
        self, server: str, room_id: str, version: RoomVersion, event_id: str
    ) -> tuple[list[Event], list[Event]]:
        self.asked.append("state")
        if self.hold_state:
            waiter: Deferred[None] = Deferred()
            self._held.append(waiter)
            await waiter
        return self._state(room_id, event_id)

    async def events(
        self, server: str, room_id: str, version: RoomVersion, event_ids: Collection[str]
    ) -> dict[str, Event]:
        self.asked.append("events")
        found = self._shown(list(self.rooms[room_id].fetch(event_ids).values()))
        return {each.event_id: each for each in found}

    async def event_auth(
        self, server: str, room_id: str, version: RoomVersion, event_id: str
    ) -> list[Event]:
        self.asked.append("event_auth")
        return self._shown(self.rooms[room_id].auth_chain([event_id]))

    def _state(self, room_id: str, event_id: str) -> tuple[list[Event], list[Event]]:
        room = self.rooms[room_id]
        if event_id not in room.events or event_id in self.hidden:
            raise RemoteError("not found")
        state = room.state_of(room.events[event_id].prev_events)
        return room.events_of(state), room.auth_chain(state.values())

    def _shown(self, events: Sequence[Event]) -> list[Event]:
        return [each for each in events if each.event_id not in self.hidden]
