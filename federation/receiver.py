"""Transactions from other servers: each taken once, one at a time for each server, room by room.

https://spec.matrix.org/v1.19/server-server-api/#transactions

The answer says of each event whether it was taken, which means committed. It does not wait for ever: where
a room has to ask others first and takes too long, its events are answered with an error, which is true of
that moment, and the work on them goes on. No server sends an event again because of an error; so what a
crash would lose just then comes back as a gap before the next event of the room.
"""

from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from federation.edus import FOR_DEVICES, IN_ROOMS, Handler, InvalidEdu, Recipients
from federation.shared import Expiring, SingleFlight
from homeserver.clock import Clock
from homeserver.errors import LimitExceeded, MatrixError, NotFound, RemoteError
from homeserver.protocol.events import Event, EventTooLarge, InvalidEvent
from homeserver.protocol.ids import is_hash, is_valid_event_id, is_valid_room_id
from homeserver.protocol.room_versions import ROOM_VERSIONS, RoomVersion
from homeserver.rooms.incoming import Incoming
from storage.database import Database
from storage.rooms import number_of

log = Logger()

# Servers send one transaction at a time, and some wait no longer than ten seconds for the answer.
DEADLINE_SECONDS = 8.0
WAITING_OF_A_SERVER = 5
TRANSACTIONS_AT_ONCE = 50
TRANSACTIONS_WAITING = 1000
# Of the bodies of all that wait or are worked on. Small ones are bounded by their number.
BYTES_OF_A_SERVER = 16 * 2**20
BYTES_IN_ALL = 128 * 2**20
SMALL = 128 * 1024
UNFINISHED_IN_A_ROOM = 500
"""Events of one server and room that may wait for a slow remote; more are refused."""
RETRY_MS = 10_000
REMEMBERED_ANSWERS = 2_000
REMEMBERED_MS = 3_600_000
MAX_ERROR = 500
LONGEST_BREATH_MS = 20

Results = dict[str, dict[str, str]]
Verify = Callable[[Sequence[Event]], Awaitable[Sequence[Event]]]


class Receiver:
    """`verify` inspects hashes and signatures, and leaves out what fails."""

    def __init__(
        self,
        clock: Clock,
        incoming: Incoming,
        verify: Verify,
        db: Database,
        recipients: Recipients,
    ) -> None:
        self._clock = clock
        self._incoming = incoming
        self._verify = verify
        self._db = db
        self._recipients = recipients
        self._flights: SingleFlight[tuple[str, str], Results] = SingleFlight()
        self._answers: Expiring[tuple[str, str], Results] = Expiring(REMEMBERED_ANSWERS)
        # Servers whose transaction is worked on or waits for a place, with what they sent meanwhile.
        self._queues: dict[str, deque[Deferred[None]]] = {}
        self._sizes: Counter[str] = Counter()
        self._working = 0
        self._in_line: deque[Deferred[None]] = deque()
        # The last work on a room's events from a server, and how many events are unfinished.
        self._last: dict[tuple[str, str], Deferred[None]] = {}
        self._unfinished: dict[tuple[str, str], int] = {}

    async def receive(
        self, origin: str, txn_id: str, pdus: Sequence[Any], edus: Sequence[Any], size: int = 0
    ) -> Results:
        """Event ID → {} or {"error": …}. The same transaction again gets the same answer.

        `size`: of the request's body, which says how much memory it takes to wait.
        """
        key = (origin, txn_id)
        answer = self._answers.get(key, self._clock.now_ms())
        if answer is not None:
            return answer
        if not self._flights.has(key) and self._is_full(origin, size):
            raise LimitExceeded(RETRY_MS, "Too many transactions wait.")
        return await self._flights.run(key, lambda: self._in_turn(key, pdus, edus, size))

    def _is_full(self, origin: str, size: int) -> bool:
        if size > SMALL and self._sizes.total() + size > BYTES_IN_ALL:
            return True
        of_server = self._queues.get(origin)
        if of_server is None:
            return len(self._in_line) >= TRANSACTIONS_WAITING
        return len(of_server) >= WAITING_OF_A_SERVER or self._sizes[origin] + size > BYTES_OF_A_SERVER

    async def _in_turn(
        self, key: tuple[str, str], pdus: Sequence[Any], edus: Sequence[Any], size: int
    ) -> Results:
        origin = key[0]
        self._sizes[origin] += size
        waiting = self._queues.get(origin)
        if waiting is None:
            self._queues[origin] = deque()
        else:
            turn: Deferred[None] = Deferred()
            waiting.append(turn)
            await turn
        try:
            await self._place()
            try:
                results = await self._receive(origin, pdus, edus)
            finally:
                self._leave_place()
        finally:
            self._sizes[origin] -= size
            if self._queues[origin]:
                self._queues[origin].popleft().callback(None)
            else:
                del self._queues[origin], self._sizes[origin]
        now = self._clock.now_ms()
        self._answers.put(key, results, now + REMEMBERED_MS)
        return results

    async def _place(self) -> None:
        """Each server has at most one transaction here, so none can crowd out the others."""
        if self._working < TRANSACTIONS_AT_ONCE:
            self._working += 1
            return
        place: Deferred[None] = Deferred()
        self._in_line.append(place)
        await place  # whoever left handed theirs over

    def _leave_place(self) -> None:
        if self._in_line:
            self._in_line.popleft().callback(None)
        else:
            self._working -= 1

    async def _receive(self, origin: str, pdus: Sequence[Any], edus: Sequence[Any]) -> Results:
        results: Results = {}
        by_room = await self._read(pdus, results)
        for_devices = self._start(self._take_edus(origin, edus, FOR_DEVICES))
        rooms = [
            self._within(self._room(origin, room_id, events, results)) for room_id, events in by_room.items()
        ]
        await DeferredList(rooms)
        # From here on the answer stands, whatever becomes of the rooms that took too long.
        answer = {event_id: dict(result) for event_id, result in results.items()}
        await self._within(self._start(self._take_edus(origin, edus, IN_ROOMS)))
        await self._within(for_devices)
        return answer

    # events

    async def _read(self, pdus: Sequence[Any], results: Results) -> dict[str, dict[str, Event]]:
        """The events by room. What is none, or is in no room we know, gets its result at once."""
        by_room: dict[str, dict[str, Event]] = {}
        since = self._clock.now_ms()
        for pdu in pdus:
            if self._clock.now_ms() - since > LONGEST_BREATH_MS:
                # What is made to take long to read must not keep others waiting.
                breath: Deferred[None] = Deferred()
                self._clock.call_later(0, breath.callback, None)
                await breath
                since = self._clock.now_ms()
            room_id = pdu.get("room_id") if isinstance(pdu, dict) else None
            if not isinstance(room_id, str) or not is_valid_room_id(room_id):
                continue
            try:
                version = await self._version_of(room_id)
                event = Event.parse(pdu, version)
            except NotFound as error:
                _refuse(results, _likely_id(pdu), str(error))
                continue
            except (InvalidEvent, EventTooLarge) as error:
                _refuse(results, _likely_id(pdu), str(error))
                continue
            by_room.setdefault(room_id, {})[event.event_id] = event
        for room_id, events in by_room.items():
            for event_id in events:
                results[event_id] = {"error": f"The event waits for others of {room_id[:100]} still."}
        return by_room

    async def _version_of(self, room_id: str) -> RoomVersion:
        """Also of a room that is known by an invite only. NotFound for all others."""
        try:
            return (await self._recipients.rooms.get(room_id)).version
        except NotFound:
            known = await self._db.read(number_of, room_id)
            if known is None:
                raise
            return ROOM_VERSIONS[known[1]]

    def _room(
        self, origin: str, room_id: str, events: Mapping[str, Event], results: Results
    ) -> "Deferred[None]":
        """Takes a room's events after those that the server sent before; what happens is put in `results`."""
        key = (origin, room_id)
        unfinished = self._unfinished.get(key, 0)
        if unfinished + len(events) > UNFINISHED_IN_A_ROOM:
            for event_id in events:
                results[event_id] = {"error": "Too many events wait for others of this room."}
            done: Deferred[None] = Deferred()
            done.callback(None)
            return done
        self._unfinished[key] = unfinished + len(events)
        before = self._last.get(key)

        async def take() -> None:
            if before is not None:
                await _end_of(before)
            outcomes = await self._take(origin, room_id, events)
            for event_id in events:
                error = outcomes.get(event_id, "A signature is missing or wrong.")
                results[event_id] = {} if error is None else {"error": error[:MAX_ERROR]}

        work = self._start(take())

        def finished(result: None) -> None:
            self._unfinished[key] -= len(events)
            if not self._unfinished[key]:
                del self._unfinished[key]
            if self._last.get(key) is work:
                del self._last[key]

        self._last[key] = work
        work.addBoth(finished)
        return work

    async def _take(self, origin: str, room_id: str, events: Mapping[str, Event]) -> dict[str, str | None]:
        """Event ID → None, or why it was not taken. Those whose signatures are wrong are left out."""
        if not await self._incoming.acl_allows(room_id, origin):
            return dict.fromkeys(events, f"{origin} is kept out by the room's server ACL.")
        try:
            verified = await self._verify(list(events.values()))
            return await self._incoming.receive(origin, room_id, verified)
        except (RemoteError, MatrixError) as error:
            return dict.fromkeys(events, str(error))

    # EDUs

    async def _take_edus(self, origin: str, edus: Sequence[Any], handlers: Mapping[str, Handler]) -> None:
        """Those of one type one after another, for their order counts; the types side by side."""
        by_type: dict[str, list[Any]] = {}
        for edu in edus:
            edu_type = edu.get("edu_type") if isinstance(edu, dict) else None
            if isinstance(edu_type, str) and edu_type in handlers:
                by_type.setdefault(edu_type, []).append(edu.get("content"))
        await DeferredList(
            [
                self._start(self._take_each(origin, edu_type, contents, handlers[edu_type]))
                for edu_type, contents in by_type.items()
            ]
        )

    async def _take_each(
        self, origin: str, edu_type: str, contents: Sequence[Any], handler: Handler
    ) -> None:
        for content in contents:
            try:
                if not isinstance(content, dict):
                    raise InvalidEdu("The content is no object.")
                await handler(self._recipients, origin, content)
            except (InvalidEdu, MatrixError, RemoteError) as error:
                log.debug("{type} of {origin}: {error}", type=edu_type, origin=origin, error=error)
            except Exception:
                # Our own fault; the EDUs after this one have none in it.
                log.failure("{type} of {origin} failed", type=edu_type, origin=origin)

    # time

    @staticmethod
    def _start(work: Coroutine[Any, Any, None]) -> "Deferred[None]":
        """Runs it, whoever waits; its failure is our own fault and ends here."""
        started = Deferred.fromCoroutine(work)
        started.addErrback(lambda failure: log.failure("receiving a transaction failed", failure))
        return started

    def _within(self, work: "Deferred[None]") -> "Deferred[None]":
        """Fires when the work is done or the time is up. The work goes on."""
        waiting: Deferred[None] = Deferred()

        def fire(_: object = None) -> None:
            if timer.active():
                timer.cancel()
            if not waiting.called:
                waiting.callback(None)

        timer = self._clock.call_later(DEADLINE_SECONDS, fire)
        work.addBoth(fire)
        return waiting


def _end_of(work: "Deferred[None]") -> "Deferred[None]":
    """A Deferred of its own, for several wait for the end of one work."""
    ended: Deferred[None] = Deferred()
    work.addBoth(lambda _: ended.callback(None))
    return ended


def _refuse(results: Results, event_id: str | None, error: str) -> None:
    if event_id is not None:
        results[event_id] = {"error": error[:MAX_ERROR]}


def _likely_id(pdu: dict[str, Any]) -> str | None:
    """The ID of an event whose room version we do not know, or that breaks its rules; None if it has none."""
    given = pdu.get("event_id")
    if isinstance(given, str):
        return given if is_valid_event_id(given) else None
    version = ROOM_VERSIONS["12" if is_hash(pdu["room_id"][1:]) else "11"]
    try:
        return Event.parse(pdu, version).event_id
    except (InvalidEvent, EventTooLarge):
        return None
