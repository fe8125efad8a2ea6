"""Events from other servers, inspected: parsed, in the right room, hashed and signed as they must be.

https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu
https://spec.matrix.org/v1.19/server-server-api/#validating-hashes-and-signatures-on-received-events

These are the first two checks of the list and need no room. They cost some 150 µs an event, most of it
ed25519, which lets go of the interpreter lock; so they run on the reactor's threads, a chunk at a time and
few chunks at once. A batch of ten thousand keeps both cores busy for a second, and a transaction that
arrives meanwhile waits for a few chunks, not for the batch. The keys of a whole batch are looked up at once.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import orjson
from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from federation.keyring import MAX_SIGNATURES, Keyring, Known, Wanted, keys_for, want
from homeserver.protocol import canonical_json
from homeserver.protocol.events import Event, InvalidEvent
from homeserver.protocol.hashing import signed_bytes
from homeserver.protocol.room_versions import RoomVersion
from homeserver.protocol.signing import SignatureError, check_hash_and_signatures, signatures_of

log = Logger()

CHUNK = 100
THREADS = 2
# An event has 64 KiB at most, but what it is sent as may be escaped, and its `unsigned` does not count.
MAX_SENT_BYTES = 1024 * 1024

Pdu = msgspec.Raw | dict[str, Any]
T = TypeVar("T")
U = TypeVar("U")


class Inspector:
    def __init__(self, reactor: Any, keyring: Keyring) -> None:
        self._reactor = reactor
        self._keyring = keyring
        self._turns = DeferredSemaphore(THREADS)
        self._alone = DeferredSemaphore(1)

    async def read(
        self, pdus: Sequence[Pdu], version: RoomVersion, room_id: str, *, unlimited: bool = False
    ) -> list[Event]:
        """Those that pass, in their order. `unlimited`: with any number of prev_events and auth_events.

        A Raw is an event's JSON as it came, which is parsed on a thread too.
        """
        parsed = await self._in_chunks(pdus, lambda chunk: _parse(chunk, version, room_id, unlimited))
        wanted: Wanted = {}
        for _, of_chunk in parsed:
            _merge(wanted, of_chunk)
        return await self._check([event for events, _ in parsed for event in events], wanted)

    async def verify(self, events: Sequence[Event]) -> list[Event]:
        """The same for events that were parsed already."""
        wanted: Wanted = {}
        for event in events:
            want(wanted, event)
        return await self._check(events, wanted)

    async def is_signed_by(self, event: Event, server: str) -> bool:
        """Whether a server that need not sign the event did so, as the one of an invited user does."""
        at = event.origin_server_ts if event.version.enforce_key_validity else 0
        signatures = dict(sorted(signatures_of(event.pdu, server).items())[:MAX_SIGNATURES])
        known = (await self._keyring.find({server: dict.fromkeys(signatures, at)}))[server]
        message = signed_bytes(event.pdu, event.version)
        return any(
            key_id in known and at <= known[key_id].valid_until and known[key_id].key.verifies(message, each)
            for key_id, each in signatures.items()
        )

    def apart(self, work: Callable[..., U], *args: Any) -> "Deferred[U]":
        """Does on a thread what takes as long as a remote wants it to; one such thing at a time."""
        pool = self._reactor.getThreadPool()
        return self._alone.run(deferToThreadPool, self._reactor, pool, work, *args)

    async def _check(self, events: Sequence[Event], wanted: Wanted) -> list[Event]:
        known = await self._keyring.find(wanted) if wanted else {}
        checked = await self._in_chunks(events, lambda chunk: _check(chunk, known))
        return [event for chunk in checked for event in chunk]

    async def _in_chunks(self, items: Sequence[T], work: Callable[[Sequence[T]], U]) -> list[U]:
        """Each lane takes the next chunk when it is done with one, so a batch never fills the queue."""
        chunks = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
        results: list[U | None] = [None] * len(chunks)
        todo = iter(range(len(chunks)))

        async def lane() -> None:
            for index in todo:
                results[index] = await self._in_thread(work, chunks[index])

        lanes = min(THREADS, len(chunks))
        await gatherResults([Deferred.fromCoroutine(lane()) for _ in range(lanes)], consumeErrors=True)
        return [result for result in results if result is not None]

    def _in_thread(self, work: Callable[[Sequence[T]], U], chunk: Sequence[T]) -> "Deferred[U]":
        pool = self._reactor.getThreadPool()
        return self._turns.run(deferToThreadPool, self._reactor, pool, work, chunk)


def _parse(
    pdus: Sequence[Pdu], version: RoomVersion, room_id: str, unlimited: bool
) -> tuple[list[Event], Wanted]:
    events: list[Event] = []
    wanted: Wanted = {}
    for pdu in pdus:
        try:
            event = Event.parse(_decode(pdu, version), version, unlimited=unlimited)
        except (InvalidEvent, ValueError, RecursionError) as error:
            log.debug("an event for {room_id} is none: {reason}", room_id=room_id, reason=str(error))
            continue
        if event.room_id != room_id:
            log.debug("{event_id} is not in {room_id}", event_id=event.event_id, room_id=room_id)
            continue
        want(wanted, event)
        events.append(event)
    return events, wanted


def _decode(pdu: Pdu, version: RoomVersion) -> Any:
    if isinstance(pdu, dict):
        return pdu
    sent = memoryview(pdu)
    if len(sent) > MAX_SENT_BYTES:
        raise InvalidEvent("It is too large.")
    return orjson.loads(sent) if version.strict_json else canonical_json.decode_lax(bytes(sent))


def _check(events: Sequence[Event], known: Mapping[str, Mapping[str, Known]]) -> list[Event]:
    passed = []
    for event in events:
        try:
            passed.append(check_hash_and_signatures(event, keys_for(event, known)))
        except SignatureError as error:
            log.debug("dropped: {reason}", reason=str(error))
    return passed


def _merge(wanted: Wanted, more: Wanted) -> None:
    for server, keys in more.items():
        of_server = wanted.setdefault(server, {})
        for key_id, at in keys.items():
            of_server[key_id] = max(of_server.get(key_id, 0), at)
