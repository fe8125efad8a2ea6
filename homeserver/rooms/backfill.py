"""History from before this server took part in a room, or that it missed: fetched when somebody reads there.

https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events

`missing_event` knows where history goes on elsewhere. A page that reaches such a place has a hundred events
more fetched, judged like any others, by the state they stood on (the server that has them is asked for the
state before the oldest), and put into the timeline under negative positions: nobody's sync hears of them.
Who may read them is decided by that state, as ever.

While a room's members are still to come (`partial_state`), asking for old states would take as long as they
do. Where history is shared, its events are then taken without a state, by what authorises them alone.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from homeserver.errors import RemoteError
from homeserver.protocol.auth_rules import AuthError
from homeserver.protocol.events import Event
from homeserver.protocol.redaction import redact_event
from homeserver.protocol.relations import relation_of
from homeserver.protocol.visibility import VISIBILITY_KEY, history_visibility, sees_all_while_joined
from homeserver.rooms import judgement
from homeserver.rooms.begin import servers_to_ask
from homeserver.rooms.gaps import causes_first
from homeserver.rooms.head import POWER_LEVELS
from homeserver.rooms.incoming import Incoming
from homeserver.rooms.placement import Known
from homeserver.rooms.placing import MissingEvents
from homeserver.rooms.registry import Registry
from homeserver.rooms.remote import RemoteRooms
from homeserver.rooms.room import Batch, Room
from homeserver.rooms.state import EMPTY, Entries, RoomState, StateEntry
from storage import events as event_rows
from storage import graph
from storage.database import Transaction
from storage.events import REJECTED, Aside, StoredEvent

log = Logger()

EVENTS_AT_ONCE = 100
MOST_STARTS = 10
MOST_SERVERS = 4
MOST_ROUNDS = 3
NEAREST_MS = 20_000
# How often a chunk may ask for state, or for what authorises an event.
MOST_QUESTIONS = 20
MOST_AUTH_EVENTS = 200


class Backfill:
    def __init__(
        self, registry: Registry, remote: RemoteRooms, incoming: Incoming, server_name: str
    ) -> None:
        self._registry = registry
        self._remote = remote
        self._incoming = incoming
        self._server_name = server_name
        self._fetching: dict[str, list[Deferred[None]]] = {}

    async def down_to(self, room: Room, depth: int) -> bool:
        """Fetches some of what is missing above this depth or where history below it begins.

        Whether anything came, this way or another. Several who ask at once for the same room wait for the
        same answer.
        """
        room = await self._registry.get(room.room_id)  # it may have become whole meanwhile
        if not room.is_resident(self._server_name):
            return False
        waiting = self._fetching.get(room.room_id)
        if waiting is not None:
            waiter: Deferred[None] = Deferred()
            waiting.append(waiter)
            await waiter
            return True
        self._fetching[room.room_id] = []
        try:
            return await self._fetch(room, depth)
        finally:
            for waiter in self._fetching.pop(room.room_id):
                waiter.callback(None)

    async def nearest(self, room: Room, ts: int, nearer_than: int | None, *, backwards: bool) -> bool:
        """Fetches an event of the past that is nearer to a moment than what is known, with some before it.

        Whether one came. Servers are asked until one knows such an event, within a time limit.
        """
        if not room.is_resident(self._server_name) or room.partial:
            return False
        deadline = self._registry.clock.now_ms() + NEAREST_MS
        for server in servers_to_ask(room, self._server_name)[:MOST_SERVERS]:
            if self._registry.clock.now_ms() > deadline:
                break
            try:
                event_id, at = await self._remote.timestamp_to_event(
                    server, room.room_id, ts, backwards=backwards
                )
                if not _is_nearer(at, ts, nearer_than, backwards=backwards):
                    continue
                found = await self._remote.backfill(
                    server, room.room_id, room.version, [event_id], EVENTS_AT_ONCE
                )
                if await self._take(server, room, [event_id], found):
                    return True
            except RemoteError as error:
                log.info("{server} knows no event of {room} at {ts}: {error}", server=server,
                         room=room.room_id, ts=ts, error=error)  # fmt: skip
        return False

    async def _fetch(self, room: Room, depth: int) -> bool:
        missing = await self._registry.db.read(graph.missing, room.nid, depth, MOST_STARTS)
        if not missing:
            return False
        if room.partial and not await self._is_shared(room):
            await self._incoming.partial.whole(room.room_id)
            room = await self._registry.get(room.room_id)
        starts = [event_id for event_id, _ in missing]
        for server in servers_to_ask(room, self._server_name)[:MOST_SERVERS]:
            try:
                found = await self._remote.backfill(
                    server, room.room_id, room.version, starts, EVENTS_AT_ONCE
                )
                if found and await self._take(server, room, starts, found):
                    return True
            except RemoteError as error:
                log.info("{server} gives no history of {room}: {error}", server=server, room=room.room_id,
                         error=error)  # fmt: skip
        return False

    async def _take(self, server: str, room: Room, starts: Sequence[str], found: Sequence[Event]) -> bool:
        chunk = await self._wanted(starts, found)
        if not chunk:
            return False
        await self._fetch_auth_events(server, room, chunk)
        known = await self._incoming.placing.know(room, chunk, past=True)
        work = _Chunk(known)
        stateless = room.partial
        questions = 0
        for event in chunk:
            try:
                await known.load([*event.prev_events, *event.auth_events])
                if any(known.stored(auth_id) is None for auth_id in event.auth_events):
                    questions += 1
                    await self._incoming.gaps.auth_events(server, room, event)
                    await known.load(event.auth_events)
                before = None if stateless else await self._state_before(work, event)
                if before is None and not stateless:
                    questions += 1
                    entries = await self._incoming.gaps.state_before(server, room, event)
                    before, new = room.tip.state.changed_to(entries, self._registry.db.ids.snapshot())
                    if new is not None:
                        room.unsaved.append(new)
                await self._place(work, event, before)
            except RemoteError as error:
                log.info("{event} of the past was not taken: {error}", event=event, error=error)
            if questions > MOST_QUESTIONS:
                break
        return await self._write(room, work, starts)

    async def _fetch_auth_events(self, server: str, room: Room, chunk: Sequence[Event]) -> None:
        """What authorises the events, all at once: their senders' memberships, mostly."""
        among = {event.event_id for event in chunk}
        named = {auth_id for event in chunk for auth_id in event.auth_events} - among
        known = await self._registry.events.many(named)
        unknown = [auth_id for auth_id in named if auth_id not in known]
        if 1 < len(unknown) <= MOST_AUTH_EVENTS:
            found = await self._remote.events(server, room.room_id, room.version, unknown)
            async with self._incoming.turns.of(room.room_id):
                await self._incoming.outliers.add(room.nid, room.room_id, list(found.values()))

    async def _wanted(self, starts: Sequence[str], found: Sequence[Event]) -> list[Event]:
        """What leads back from the starts and has no place yet, causes first."""
        given = {event.event_id: event for event in found}
        stored = await self._registry.events.many(list(given))
        wanted: dict[str, Event] = {}
        queue = list(starts)
        while queue:
            event = given.get(queue.pop())
            if event is None or event.event_id in wanted:
                continue
            at = stored.get(event.event_id)
            if at is not None and at.state_before is not None and (at.position is not None or at.status):
                continue
            wanted[event.event_id] = event
            queue.extend(event.prev_events)
        return causes_first(wanted)

    async def _state_before(self, work: "_Chunk", event: Event) -> RoomState | None:
        if not event.prev_events:
            return EMPTY if event.type == "m.room.create" else None
        try:
            return await self._incoming.placing.state_before(work.known, event)
        except MissingEvents:
            return None

    async def _is_shared(self, room: Room) -> bool:
        """Whether history is open to whoever joins."""
        event_id = room.tip.event_id(*VISIBILITY_KEY)
        stored = await self._registry.events.get(event_id) if event_id is not None else None
        return sees_all_while_joined([history_visibility(stored.event.content if stored else None)])

    async def _place(self, work: "_Chunk", event: Event, before: RoomState | None) -> None:
        known, ids = work.known, self._registry.db.ids
        room, create = known.room, known.room.tip.create
        auth_events = [each for auth_id in event.auth_events if (each := known.event(auth_id)) is not None]
        if create is None or len(auth_events) < len(event.auth_events):
            raise RemoteError("What authorises it is not known.")
        entries: Entries = before.entries if before is not None else {}
        await known.load_state([*judgement.keys_of(event), POWER_LEVELS], entries)
        stored = known.stored(event.event_id)
        if stored is not None and not judgement.is_same(event, stored.event):
            raise RemoteError("Another event is known under its ID.")
        nid = stored.nid if stored is not None else ids.event()
        position = stored.position if stored is not None else None
        after, status = before, event_rows.ACCEPTED
        try:
            judgement.by_auth_events(event, auth_events, create)
            if before is not None:
                judgement.by_state(event, entries, known.event, create)
        except AuthError as error:
            log.info("{event} of the past rejected: {reason}", event=event, reason=error)
            status = REJECTED
            event = Event(event.version, event.event_id, event.pdu, event.json, rejected=True)
        replaced = entries.get(event.key) if event.key is not None else None
        redacted_by = None
        if status != REJECTED:
            if event.key is not None and before is not None:
                entry = StateEntry(nid, event.event_id, event.membership)
                after, new = before.with_event(event.key, entry, ids.snapshot())
                room.unsaved.append(new)
            redacted_by = stored.redacted_by if stored is not None else None
            redacted_by = redacted_by or self._redaction_of(work, event, entries)
            if redacted_by is not None:
                event = redact_event(event)
        placed = StoredEvent(
            event, nid, room.nid, position,
            before.snapshot if before is not None else None, after.snapshot if after is not None else None,
            status, replaces=replaced.event_id if replaced is not None else None, redacted_by=redacted_by,
        )  # fmt: skip
        if status != REJECTED:
            _, placed.thread, _ = self._registry.outcomes(event, room.tip)
        work.add(Aside(placed, known=stored is not None), after)
        if after is not None:
            room.remember({event.event_id: after})
        if event.redacts is not None and status != REJECTED:
            await self._redact(work, event, entries)

    def _redaction_of(self, work: "_Chunk", event: Event, entries: Entries) -> str | None:
        create = work.known.room.tip.create
        for redaction_id in work.known.redactions.get(event.event_id, ()):
            redaction = work.known.event(redaction_id)
            if redaction is None or create is None:
                continue
            if judgement.may_redact(redaction, event, entries, work.known.event, create):
                return redaction_id
        return None

    async def _redact(self, work: "_Chunk", redaction: Event, entries: Entries) -> None:
        create, target_id = work.known.room.tip.create, redaction.redacts or ""
        await work.known.load([target_id])
        target = work.known.stored(target_id)
        if target is None or create is None:
            work.pending_redactions[target_id] = redaction.event_id
        elif target.redacted_by is None and judgement.may_redact(
            redaction, target.event, entries, work.known.event, create
        ):
            work.redacted[target_id] = (redaction.event_id, redact_event(target.event).json)

    def _came_meanwhile(self, room: Room, made_ready: StoredEvent) -> bool:
        """Whether the event got its row, or its place, in another way since it was judged."""
        event_id = made_ready.event_id
        known = room.pending.get(event_id) or self._registry.events.cached(event_id)
        return known is not None and (known.nid, known.position) != (made_ready.nid, made_ready.position)

    async def _write(self, room: Room, work: "_Chunk", starts: Sequence[str]) -> bool:
        async with self._incoming.turns.of(room.room_id):
            if self._registry.cached(room.room_id) is not room:
                return True  # what was made ready belongs to the room as it was: look again
            if any(self._came_meanwhile(room, aside.stored) for aside in work.asides):
                return True
            placed = [aside for aside in work.asides if aside.stored.status != REJECTED]
            for aside in reversed(placed):  # the older, the lower
                if aside.stored.position is None:
                    aside.stored.position = self._registry.db.ids.old_position()
            asked = set(starts).intersection(work.ids)
            missing: dict[int, list[str]] = {}
            for aside in work.asides:
                event = aside.stored.event
                gone = [each for each in event.prev_events if each not in work.ids]
                missing.setdefault(event.depth, []).extend(filter(work.known.lacks_place, gone))

            def also(tx: Transaction, room_id: str) -> None:
                graph.forget_missing(tx, room.nid, [*asked, *work.ids])
                for depth, event_ids in missing.items():
                    graph.add_missing(tx, room.nid, event_ids, depth)
                for target, redaction in work.pending_redactions.items():
                    graph.add_pending_redaction(tx, target, redaction)
                for target, (redaction, json) in work.redacted.items():
                    event_rows.mark_redacted(tx, target, redaction, json)
                for target in work.ids:
                    graph.forget_pending_redactions(tx, target)

            batch = Batch(room.tip, asides=work.asides, events=work.events, states=work.states)
            await self._registry.submit(room, batch, also)
        for target, (redaction, _) in work.redacted.items():
            self._registry.events.redact(target, redaction)
        for aside in placed:
            if relation_of(aside.stored.event.content) is not None:
                self._registry.no_longer_childless(aside.stored.event)
        return bool(work.asides)


def _is_nearer(at: int, ts: int, than: int | None, *, backwards: bool) -> bool:
    if backwards:
        return at <= ts and (than is None or at > than)
    return at >= ts and (than is None or at < than)


@dataclass(slots=True)
class _Chunk:
    """Events of the past that are being placed."""

    known: Known
    asides: list[Aside] = field(default_factory=list)
    states: dict[str, RoomState] = field(default_factory=dict)
    redacted: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    pending_redactions: dict[str, str] = field(default_factory=dict)

    def add(self, aside: Aside, after: RoomState | None) -> None:
        self.asides.append(aside)
        if after is not None:
            self.states[aside.stored.event_id] = after
        self.known.events[aside.stored.event_id] = aside.stored

    @property
    def ids(self) -> Collection[str]:
        return self.events.keys()

    @property
    def events(self) -> dict[str, StoredEvent]:
        return {aside.stored.event_id: aside.stored for aside in self.asides}
