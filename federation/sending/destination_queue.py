"""What one other server is still to be told, sent in transactions, one at a time.

https://spec.matrix.org/v1.19/server-server-api/#transactions

The subtle idea: whatever must not be lost is in the database, so a queue may forget all it holds. While the
server keeps up, events come straight from memory. Once it does not answer, or too much waits, the queue only
keeps the position up to which everything was delivered, and reads on from there when its time comes. Typing
and presence, which are in no table, are lost then: they would be old.
"""

from collections.abc import Callable
from itertools import islice
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from federation.client import Limits, path_of
from federation.errors import Refused
from federation.sending import edus
from federation.sending.batch import MOST_EDUS, MOST_PDUS, Batch
from federation.sending.shared import Shared
from federation.sending.waiting_events import WaitingEvents
from federation.sending.waiting_others import WaitingOthers
from homeserver.clock import Timer
from homeserver.errors import RemoteError
from homeserver.sync.presence import PresenceState
from storage import to_device
from storage.outgoing import Lag
from storage.receipts import Receipt

log = Logger()

SEND = "/_matrix/federation/v1/send"
LIMITS = Limits(seconds=90.0, max_body=1024 * 1024)
MOST_TYPING = 200
MOST_PRESENCE = 2000
TO_DEVICE_A_TIME = 50
PRESENCE_A_TIME = 100
FIRST_WAIT_SECONDS = 10.0
LONGEST_WAIT_SECONDS = 6 * 3600.0
# Refusals that are about us, or about there being no Matrix: nothing in a transaction would change them.
UNCHANGING = frozenset({401, 403, 404, 405, 408, 429})


class DestinationQueue:
    """`waiting`: it sleeps until its turn comes. `on_idle(queue)` is called when nothing is left to send."""

    __slots__ = (
        "_attempt", "_events", "_limit", "_on_idle", "_others", "_presence", "_proven", "_refusals",
        "_running", "_shared", "_timer", "_to_device", "_typing", "name", "stopped", "waiting",
        "waits_for_them",
    )  # fmt: skip

    def __init__(self, name: str, shared: Shared, on_idle: Callable[["DestinationQueue"], None]) -> None:
        self.name = name
        self._shared = shared
        self._on_idle = on_idle
        self._events = WaitingEvents(name, shared)
        self._others = WaitingOthers(name, shared)
        self._to_device = False
        self._typing: dict[tuple[str, str], bool] = {}
        self._presence: dict[str, PresenceState] = {}
        self._limit = MOST_PDUS + MOST_EDUS
        self._refusals = 0
        self._attempt: tuple[bytes, str] | None = None
        # Anybody may name a server that is not there, or thousands.
        self._proven = shared.destinations.is_real(name)
        self._running: Deferred[None] | None = None
        self._timer: Timer | None = None
        self.waiting = False
        self.waits_for_them = False
        self.stopped = False

    # What is to be sent

    def add_event(self, position: int, json: bytes) -> None:
        self._events.add(position, json)

    def devices_changed(self, position: int) -> None:
        """Something about device lists, from this position on, is for this server."""
        self._others.devices_changed(position)

    def add_receipt(self, receipt: Receipt) -> None:
        self._others.add_receipt(receipt, keep=not self.waiting)

    def to_device_added(self) -> None:
        self._to_device = True

    def add_typing(self, room_id: str, user_id: str, typing: bool) -> None:
        if not self.waiting and len(self._typing) < MOST_TYPING:
            self._typing[room_id, user_id] = typing

    def add_presence(self, state: PresenceState) -> None:
        if not self.waiting and len(self._presence) < MOST_PRESENCE:
            self._presence[state.user_id] = state

    def restore(self, lag: Lag) -> None:
        """After a start of this server: everything up to there was delivered; the rest is to be looked up."""
        self._events.restart_at(lag.events)
        self._others.restart_at(lag.others)

    # How far it is

    def lag(self, position: int) -> Lag:
        """Delivered up to there, `position` being where the stream is."""
        events, others = self._events.delivered_upto, self._others.delivered_upto
        return Lag(
            position if events is None else min(events, position),
            position if others is None else min(others, position),
        )

    @property
    def held(self) -> int:
        """Events that wait in memory."""
        return self._events.held

    @property
    def has_more(self) -> bool:
        return bool(self._events or self._others or self._to_device or self._typing or self._presence)

    # When it is sent

    @property
    def at_rest(self) -> bool:
        """Neither sending nor waiting for its turn."""
        return self._running is None and not self.waiting

    def wake(self) -> None:
        """Sends what there is, if it is at rest."""
        if self.at_rest and not self.stopped:
            self._start()

    def wake_in(self, seconds: float) -> None:
        """The same, a little later: more may come until then."""
        if self._running is None and self._timer is None and not self.stopped:
            self._timer = self._shared.clock.call_later(seconds, self._start)

    def recovered(self) -> None:
        """The server answers again: what waits for that goes at once."""
        if self.waiting and self.waits_for_them:
            self._start()

    def sleep_until(self, at_ms: int) -> None:
        """Not before that, or before the server shows that it is back."""
        self._sleep((at_ms - self._shared.clock.now_ms()) / 1000, for_them=True)

    async def stop(self, grace_seconds: float) -> None:
        """Starts nothing more; what is under way has so long to end."""
        self.stopped = True
        self._stop_timer()
        running = self._running
        if running is not None:
            limit = self._shared.clock.call_later(grace_seconds, running.cancel)
            await running
            if limit.active():
                limit.cancel()

    def _start(self) -> None:
        self._stop_timer()
        if self.stopped or self._running is not None:
            return
        self.waiting = False
        self._running = running = Deferred.fromCoroutine(self._run())
        running.addErrback(self._failed)
        running.addCallback(self._ended)

    def _ended(self, result: None) -> None:
        self._running = None
        if self.stopped or self.waiting:
            return
        if self.has_more:
            self._start()
        else:
            self._on_idle(self)

    def _failed(self, failure: Any) -> None:
        if failure.check(CancelledError) and self.stopped:
            return
        log.failure("sending to {server} failed", failure, server=self.name)
        self._wait_longer()

    def _sleep(self, seconds: float, *, for_them: bool) -> None:
        self._forget()
        self._stop_timer()
        self.waiting, self.waits_for_them, self._proven = True, for_them, False
        if not self.stopped:
            self._timer = self._shared.clock.call_later(max(seconds, 0.1), self._start)

    def _wait_longer(self) -> None:
        seconds = min(FIRST_WAIT_SECONDS * 2**self._refusals, LONGEST_WAIT_SECONDS)
        self._refusals = min(self._refusals + 1, 20)
        self._sleep(seconds, for_them=False)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _forget(self) -> None:
        """Keeps no more than positions."""
        self._events.forget()
        self._others.forget()
        self._to_device = True  # there may be some
        self._typing.clear()
        self._presence.clear()

    # Sending

    async def _run(self) -> None:
        while self.has_more and not self.waiting and not self.stopped:
            if self._proven:
                await self._send_one()
            else:
                await self._shared.slots.acquire()
                try:
                    await self._send_one()
                finally:
                    self._shared.slots.release()

    async def _send_one(self) -> None:
        batch = await self._next_batch()
        if not batch.size:
            await self._delivered_batch(batch)
            return
        try:
            answer = await self._put(batch)
        except RemoteError as error:
            await self._not_taken(batch, error)
            return
        self._attempt = None
        self._refusals = 0
        self._proven = True
        self._limit = min(self._limit * 2, MOST_PDUS + MOST_EDUS)
        self._report(answer)
        await self._delivered_batch(batch)

    async def _put(self, batch: Batch) -> dict[str, Any]:
        shared = self._shared
        if self._attempt is not None and self._attempt[0] == batch.digest():
            txn_id = self._attempt[1]
        else:
            txn_id = shared.new_txn_id()
            self._attempt = None
        body = batch.body(shared.server_name, shared.clock.now_ms())
        try:
            return await shared.client.put(self.name, path_of(SEND, txn_id), body, limits=LIMITS)
        except RemoteError:
            self._attempt = (batch.digest(), txn_id)
            raise

    async def _not_taken(self, batch: Batch, error: RemoteError) -> None:
        shared = self._shared
        retry_at = await shared.destinations.retry_at(self.name)
        if retry_at > shared.clock.now_ms():
            self.sleep_until(retry_at)
            return
        status = error.status if isinstance(error, Refused) else 0
        if 400 <= status < 500 and status not in UNCHANGING:
            if self._limit > 1:
                self._limit = max(1, min(self._limit, batch.size) // 2)
                return
            if await self._takes_empty():
                log.warn("{server} will never take this, it is left out: {what} ({error})",
                         server=self.name, what=(batch.pdus or batch.edus)[0][:500], error=str(error))
                await self._delivered_batch(batch)
                return
        log.warn("{server} refuses what it is sent: {error}", server=self.name, error=str(error))
        self._wait_longer()

    async def _takes_empty(self) -> bool:
        """Whether the server takes transactions at all: if not, what was refused may still be good."""
        try:
            await self._put(Batch())
        except RemoteError:
            return False
        return True

    def _report(self, answer: dict[str, Any]) -> None:
        results = answer.get("pdus")
        for event_id, result in results.items() if isinstance(results, dict) else ():
            if isinstance(result, dict) and "error" in result:
                log.info("{server} did not accept {event_id}: {error}",
                         server=self.name, event_id=event_id[:255], error=str(result["error"])[:500])

    async def _delivered_batch(self, batch: Batch) -> None:
        if batch.to_device:
            await self._shared.db.write(to_device.delete_from_outbox, self.name, batch.to_device)
        self._events.delivered(batch.events)
        self._others.delivered(batch)

    # What is in a transaction

    async def _next_batch(self) -> Batch:
        batch = Batch()
        most_edus = min(MOST_EDUS, self._limit)
        await self._add_to_device(batch, most_edus)
        await self._others.add_devices(batch, most_edus)
        self._add_passing(batch, most_edus)
        self._others.add_receipts(batch, most_edus)
        await self._events.add_to(batch, max(0, min(MOST_PDUS, self._limit - len(batch.edus))))
        return batch

    async def _add_to_device(self, batch: Batch, most: int) -> None:
        if not self._to_device:
            return
        self._to_device = False  # what is added while this is read says so again
        rows = await self._shared.db.read(to_device.outbox, self.name, min(TO_DEVICE_A_TIME, most))
        for _, message_id, content in rows:
            if not batch.add_edu(edus.direct_to_device(content), most):
                break
            batch.to_device.append(message_id)
        self._to_device = self._to_device or bool(rows)

    def _add_passing(self, batch: Batch, most: int) -> None:
        """Typing and presence. What has no room now is sent next time."""
        while self._typing and batch.add_edu(edus.typing(*self._first_typing()), most):
            del self._typing[next(iter(self._typing))]
        some = list(islice(self._presence.values(), PRESENCE_A_TIME))
        for made, states in edus.presence(some, self._shared.clock.now_ms()):
            if not batch.add_edu(made, most):
                break
            for state in states:
                del self._presence[state.user_id]

    def _first_typing(self) -> tuple[str, str, bool]:
        (room_id, user_id), typing = next(iter(self._typing.items()))
        return room_id, user_id, typing
