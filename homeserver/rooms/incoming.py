"""Events from elsewhere enter rooms here.

https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu

They come verified (signatures, hashes) and in the order in which their server sent them. What each refers
to is fetched first where it is missing, without keeping anybody waiting; then the events of a room are
placed one after another (`placing`). Everything that is reported as taken is committed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from homeserver.errors import Forbidden, MatrixError, NotFound, RemoteError
from homeserver.protocol.events import Event
from homeserver.protocol.room_versions import RoomVersion
from homeserver.protocol.server_acl import ACL_KEY, ServerAcl
from homeserver.rooms.begin import begin
from homeserver.rooms.gaps import Gaps
from homeserver.rooms.out_of_band import OutOfBandMembership
from homeserver.rooms.outliers import Outliers
from homeserver.rooms.partial_state import PartialState
from homeserver.rooms.placement import Known
from homeserver.rooms.placing import MissingEvents, Placing
from homeserver.rooms.registry import Registry
from homeserver.rooms.remote import RemoteJoin, RemoteRooms
from homeserver.rooms.room import Room, RoomMovedOn
from homeserver.rooms.state import Entries
from homeserver.rooms.states import States
from storage.events import StoredEvent

log = Logger()

ATTEMPTS = 3

Written = dict[str, "Deferred[Any]"]
"""Event ID → what fires when the event is committed."""


class Incoming:
    def __init__(self, registry: Registry, remote: RemoteRooms, server_name: str) -> None:
        self._registry = registry
        self._server_name = server_name
        self.turns = registry.turns
        self.states = States(registry.db)
        self.outliers = Outliers(registry.db)
        self.placing = Placing(registry, self.states, server_name)
        self.gaps = Gaps(registry, remote, self.outliers, self.turns)
        self.partial = PartialState(registry, remote, self.outliers, self.turns, server_name)
        self._out_of_band = OutOfBandMembership(registry)

    async def receive(self, origin: str, room_id: str, events: Sequence[Event]) -> dict[str, str | None]:
        """Takes the events of one room that a server sent. Event ID → None, or why it was not taken.

        Rejected and soft-failed events count as taken: they are stored, and sending them again helps nobody.
        """
        outcomes: dict[str, str | None] = {}
        room = await self._room(room_id)
        if room is None or not room.is_resident(self._server_name):
            for event in events:
                outcomes[event.event_id] = await self._hear(event)
            return outcomes
        again = list(events)
        for _ in range(ATTEMPTS):
            written: Written = {}
            known = await self.placing.know(await self._registry.get(room_id), again)
            waiting = again
            while waiting:
                waiting = await self._take(origin, known, waiting, written, outcomes, bridging=True)
            moved_on = await _settle(written, outcomes)
            again = [event for event in again if event.event_id in moved_on]
            if not again:
                break
        return outcomes

    async def accept(self, room_id: str, event: Event) -> StoredEvent:
        """Takes an event that enters the room through this server, which will tell the others.

        Raises Forbidden, and nothing is stored, unless the room's rules allow it now; NotFound for a room
        that this server is not in.
        """
        room = await self._registry.get(room_id)
        if not room.is_resident(self._server_name):
            raise NotFound("This server is not in the room.")
        event = await self._registry.policy.endorsed(room, event)
        async with self.turns.of(room_id):
            known = await self.placing.know(await self._registry.get(room_id), [event])
            try:
                async with self.placing.group(known) as group:
                    await group.place(event, strict=True)
            except MissingEvents:
                raise Forbidden("The event stands on events that this server does not know.") from None
            for done in group.written.values():
                await done
        stored = await self._registry.events.get(event.event_id)
        if stored is None or stored.position is None:
            raise Forbidden("The event was refused before.")
        return stored

    async def begin(self, join: RemoteJoin) -> None:
        """This server's first join into a room, or the first after it had left."""
        room_id = join.event.room_id
        room = await self._room(room_id)
        if room is not None and room.is_resident(self._server_name):
            await self.receive(join.server, room_id, [join.event])
            return
        async with self.turns.of(room_id):
            await begin(self._registry, self.outliers, join)
        if join.partial:
            servers = dict.fromkeys([join.server, *join.servers])
            servers.pop(self._server_name, None)
            self.partial.complete_later(room_id, join.event.event_id, list(servers))

    async def out_of_band(
        self, event: Event, version: RoomVersion, stripped: Sequence[Mapping[str, Any]]
    ) -> None:
        """An invite, knock or leave of one of our users in a room that this server is not in.

        `stripped`: what the user is shown of the room. Should this server have got into the room meanwhile,
        the event comes the way of all others. Raises Forbidden.
        """
        async with self.turns.of(event.room_id):
            room = await self._room(event.room_id)
            if room is not None and room.is_resident(self._server_name):
                return
            if room is not None and room.version is not version:
                raise Forbidden("The room is of another version.")
            await self._out_of_band.add(event, version, stripped)

    async def acl_allows(self, room_id: str, server_name: str) -> bool:
        """By the room's server ACL, if it has one and we know the room."""
        room = await self._room(room_id)
        return room is None or await self.admits(room, server_name)

    async def admits(self, room: Room, server_name: str) -> bool:
        event_id = room.tip.event_id(*ACL_KEY)
        if event_id is None:
            return True
        stored = room.pending.get(event_id) or await self._registry.events.get(event_id)
        return stored is None or ServerAcl.of(stored.event).allows(server_name)

    async def state_before(self, room_id: str, event_id: str) -> Entries | None:
        """The state an event stands on; None where it is not known."""
        return await self._state_at(room_id, event_id, after=False)

    async def state_after(self, room_id: str, event_id: str) -> Entries | None:
        return await self._state_at(room_id, event_id, after=True)

    # how it is done

    async def _hear(self, event: Event) -> str | None:
        """Of an event in a room that this server is not in: why it was not taken."""
        try:
            async with self.turns.of(event.room_id):
                taken = await self._out_of_band.receive(event)
        except MatrixError as error:
            return str(error)
        return None if taken else "This server is not in the room."

    async def _room(self, room_id: str) -> Room | None:
        try:
            return await self._registry.get(room_id)
        except NotFound:
            return None

    async def _take(
        self,
        origin: str,
        known: Known,
        events: Sequence[Event],
        written: Written,
        outcomes: dict[str, str | None],
        *,
        bridging: bool,
    ) -> list[Event]:
        """Places the first events, up to one for which something was missing; the rest, for another round.

        `bridging`: events before a gap may be asked for, where they themselves are not such events.
        """
        failed = await self._place(known, events, written, outcomes)
        if failed is None:
            return []
        event, lacking = events[failed[0]], failed[1]
        rest = list(events[failed[0] + 1 :])
        for attempt in range(ATTEMPTS):
            try:
                if lacking:
                    await self.gaps.auth_events(origin, known.room, event)
                    await known.load(event.auth_events)
                await self._bridge(origin, known, event, written, bridging=bridging)
                again = await self._place(known, [event], written, outcomes)
                if again is not None:
                    raise RemoteError(f"{origin} does not tell what the event stands on.")
            except RoomMovedOn as error:
                # The room was loaded afresh meanwhile, as when the rest of its state came after a join.
                if attempt + 1 < ATTEMPTS:
                    await known.start_over(await self._registry.get(known.room.room_id), [event])
                    continue
                self._refuse(origin, event, error, outcomes)
            except (RemoteError, MatrixError) as error:
                self._refuse(origin, event, error, outcomes)
            break
        return rest

    async def _place(
        self, known: Known, events: Sequence[Event], written: Written, outcomes: dict[str, str | None]
    ) -> tuple[int, list[str]] | None:
        """Places events in one turn; the number of the first that lacks something, if one does, with those of
        its authorisation events that are not known."""
        missing = None
        async with self.turns.of(known.room.room_id):
            room = await self._registry.get(known.room.room_id)
            if room is not known.room:
                await known.start_over(room, events)
            async with self.placing.group(known) as group:
                for number, event in enumerate(events):
                    try:
                        await group.place(event)
                        outcomes[event.event_id] = None
                    except MissingEvents as error:
                        missing = number, [each for each in error.event_ids if each in event.auth_events]
                        break
                    except (RemoteError, MatrixError) as error:
                        self._refuse(known.room.room_id, event, error, outcomes)
        written.update(group.written)
        return missing

    async def _bridge(
        self, origin: str, known: Known, event: Event, written: Written, *, bridging: bool
    ) -> None:
        """Sees to it that the events before this one are known, with their state."""
        missing = await self._missing(known, event)
        if missing and bridging:
            earlier = await self.gaps.earlier_events(origin, known.room, event)
            if earlier:
                between = await self.placing.know(known.room, earlier)
                between.states_asked = known.states_asked
                while earlier:
                    # Only the first ones lack something, and asking once more would not help them.
                    earlier = await self._take(origin, between, earlier, written, {}, bridging=False)
                known.events.update(between.events)
                known.states_asked = between.states_asked
                missing = await self._missing(known, event)
        if missing:
            await self.gaps.state_at(origin, known, missing)

    def _refuse(
        self, origin: str, event: Event, error: Exception, outcomes: dict[str, str | None]
    ) -> None:
        log.info("{origin}: {event} was not taken: {error}", origin=origin, event=event, error=error)
        outcomes[event.event_id] = str(error)

    async def _missing(self, known: Known, event: Event) -> list[str]:
        """The previous events whose state is not known."""
        await known.load(event.prev_events)
        missing = []
        for event_id in event.prev_events:
            stored = known.stored(event_id)
            if stored is None or (stored.state_after is None and event_id not in known.room.states):
                missing.append(event_id)
        return missing

    async def _state_at(self, room_id: str, event_id: str, *, after: bool) -> Entries | None:
        room = await self._room(room_id)
        stored = await self._registry.events.get(event_id)
        if room is None or stored is None or stored.event.room_id != room_id:
            return None
        snapshot = stored.state_after if after else stored.state_before
        if snapshot is None:
            return None
        return (await self.states.of_snapshot(room, snapshot)).entries


async def _settle(written: Written, outcomes: dict[str, str | None]) -> set[str]:
    """Waits for all, and names in `outcomes` what could not be written; returns what may be tried again."""
    moved_on = set()
    for event_id, done in written.items():
        try:
            await done
        except RoomMovedOn as error:
            # What it was to follow could not be written, or the room was loaded afresh.
            moved_on.add(event_id)
            outcomes[event_id] = str(error)
        except Exception:
            log.failure("{event_id} could not be written", event_id=event_id)
            outcomes[event_id] = "It could not be stored."
    return moved_on
