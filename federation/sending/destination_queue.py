"""What one other server is still to be told, sent in transactions, one at a time.

https://spec.matrix.org/v1.19/server-server-api/#transactions

The subtle idea: whatever must not be lost is in the database, so a queue may forget all it holds. While the
server keeps up, events come straight from memory. Once it does not answer, or too much waits, the queue only
keeps the position up to which everything was delivered, and reads on from there when its time comes. Typing
and presence, which are in no table, are lost then: they would be old.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.logger import Logger

from federation.client import FederationClient, Limits, path_of
from federation.destinations import Destinations
from federation.errors import Refused
from federation.sending import edus
from federation.sending.batch import MOST_EDUS, MOST_PDUS, Batch, ReceiptKey, key_of
from homeserver.clock import Clock, Timer
from homeserver.errors import RemoteError
from homeserver.protocol.ids import server_of
from homeserver.sync.presence import PresenceState
from storage import cross_signing, outgoing, to_device
from storage.database import Database, Transaction
from storage.device_lists import CROSS_SIGNING
from storage.outgoing import DeviceDetails, DeviceNews, Lag
from storage.receipts import Receipt

log = Logger()

SEND = "/_matrix/federation/v1/send"
LIMITS = Limits(seconds=90.0, max_body=1024 * 1024)
MOST_HELD = 500
"""So many events wait in memory; more are left to the database."""
PAGE = 1000
MOST_RECEIPTS = 2000
MOST_TYPING = 200
MOST_PRESENCE = 2000
TO_DEVICE_A_TIME = 50
DEVICES_A_TIME = 40
PRESENCE_A_TIME = 100
RECEIPTS_A_TIME = 500
FIRST_WAIT_SECONDS = 10.0
LONGEST_WAIT_SECONDS = 6 * 3600.0
# Refusals that are about us, or about there being no Matrix: nothing in a transaction would change them.
UNCHANGING = frozenset({401, 403, 404, 405, 408, 429})


@dataclass(slots=True)
class Shared:
    """What all queues have in common. `position`: up to where the stream was handed out to the queues."""

    server_name: str
    db: Database
    clock: Clock
    client: FederationClient
    destinations: Destinations
    slots: DeferredSemaphore
    position: Callable[[], int]
    new_txn_id: Callable[[], str]


class DestinationQueue:
    """`waiting`: it sleeps until its turn comes. `on_idle(queue)` is called when nothing is left to send."""

    __slots__ = (
        "_attempt", "_behind", "_devices", "_end", "_events", "_fresh", "_limit", "_on_idle",
        "_others_behind", "_others_since", "_others_upto", "_presence", "_proven", "_receipts",
        "_receipts_behind", "_refusals", "_running", "_shared", "_timer", "_to_device", "_typing", "name",
        "stopped", "waiting", "waits_for_them",
    )  # fmt: skip

    def __init__(self, name: str, shared: Shared, on_idle: Callable[["DestinationQueue"], None]) -> None:
        self.name = name
        self._shared = shared
        self._on_idle = on_idle
        # Events: (position, JSON or, read ahead, number). `_behind`: the database holds more after `_end`.
        self._events: deque[tuple[int, bytes | int]] = deque()
        self._behind = False
        self._end = 0
        self._fresh: list[tuple[int, bytes | int]] | None = None  # what comes while the last page is read
        # Device lists and receipts: delivered up to `_others_since` if any wait, read up to `_others_upto`.
        self._others_behind = False
        self._receipts_behind = False
        self._others_since: int | None = None
        self._others_upto = 0
        self._devices: deque[DeviceNews] = deque()
        self._receipts: dict[ReceiptKey, Receipt] = {}
        self._to_device = False
        self._typing: dict[tuple[str, str], bool] = {}
        self._presence: dict[str, PresenceState] = {}
        self._limit = MOST_PDUS + MOST_EDUS
        self._refusals = 0
        self._attempt: tuple[bytes, str] | None = None
        self._proven = True
        self._running: Deferred[None] | None = None
        self._timer: Timer | None = None
        self.waiting = False
        self.waits_for_them = False
        self.stopped = False

    # What is to be sent

    def add_event(self, position: int, json: bytes) -> None:
        if self._behind:
            if self._fresh is not None:
                self._fresh.append((position, json))
        elif len(self._events) >= MOST_HELD:
            self._behind, self._end = True, self._events[-1][0]
        else:
            self._events.append((position, json))

    def devices_changed(self, position: int) -> None:
        """Something about device lists, from this position on, is for this server."""
        self._others_behind = True
        self._others_from(position)

    def add_receipt(self, receipt: Receipt) -> None:
        self._others_from(receipt.position)
        if self.waiting or len(self._receipts) >= MOST_RECEIPTS:
            self._others_behind = self._receipts_behind = True
        else:
            self._receipts.pop(key_of(receipt), None)
            self._receipts[key_of(receipt)] = receipt

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
        self._events.clear()
        self._behind, self._end = True, lag.events
        self._devices.clear()
        self._others_behind = self._receipts_behind = True
        self._others_since, self._others_upto = lag.others, 0
        self._proven = False

    # How far it is

    def lag(self, position: int) -> Lag:
        """Delivered up to there, `position` being where the stream is."""
        events = self._delivered()
        others = self._others_since
        return Lag(
            position if events is None else min(events, position),
            position if others is None else min(others, position),
        )

    def _delivered(self) -> int | None:
        if self._events:
            return self._events[0][0] - 1
        return self._end if self._behind else None

    @property
    def held(self) -> int:
        """Events that wait in memory."""
        return len(self._events)

    @property
    def has_more(self) -> bool:
        return bool(
            self._events or self._behind or self._others_behind or self._devices or self._receipts
            or self._to_device or self._typing or self._presence
        )  # fmt: skip

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
        delivered = self._delivered()
        self._end = self._shared.position() if delivered is None else delivered
        self._behind = True
        self._events.clear()
        self._others_from(self._shared.position() + 1)
        self._others_behind = self._receipts_behind = True
        self._others_upto = 0
        self._devices.clear()
        self._receipts.clear()
        self._to_device = True  # there may be some
        self._typing.clear()
        self._presence.clear()

    def _others_from(self, position: int) -> None:
        before = position - 1
        if self._others_since is None or before < self._others_since:
            self._others_since = before

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
        for _ in range(batch.events):
            position, _json = self._events.popleft()
            self._end = position
        for _ in range(batch.devices):
            self._devices.popleft()
        for key, receipt in batch.receipts.items():
            if self._receipts.get(key) is receipt:
                del self._receipts[key]
        if not self._devices:
            since = [receipt.position - 1 for receipt in self._receipts.values()]
            if self._others_behind:
                since.append(max(self._others_since or 0, self._others_upto))
            self._others_since = min(since, default=None)

    # What is in a transaction

    async def _next_batch(self) -> Batch:
        batch = Batch()
        most_edus = min(MOST_EDUS, self._limit)
        await self._add_to_device(batch, most_edus)
        await self._add_devices(batch, most_edus)
        self._add_passing(batch, most_edus)
        await self._add_events(batch, max(0, min(MOST_PDUS, self._limit - len(batch.edus))))
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

    async def _add_devices(self, batch: Batch, most: int) -> None:
        shared = self._shared
        if self._others_behind and not self._devices:
            await self._read_others()
        some = list(islice(self._devices, min(DEVICES_A_TIME, (most - len(batch.edus) + 1) // 2)))
        for details, keys in await shared.db.read(_details, some) if some else ():
            news = details.news
            if news.device_id == CROSS_SIGNING:
                made = edus.signing_key_updates(news.user_id, keys)
            else:
                update = edus.device_list_update(details)
                made = [update] if update is not None else []
            if sum(map(len, made)) > batch.left:
                break
            for each in made:
                batch.add_edu(each, MOST_EDUS)
            batch.devices += 1

    async def _read_others(self) -> None:
        shared, since, upto = self._shared, self._others_since, self._shared.position()
        self._others_behind = False  # what comes while this is read says so again
        if since is None or since >= upto:
            return
        where = (self.name, shared.server_name, since, upto)
        self._devices.extend(await shared.db.read(outgoing.device_news, *where))
        self._others_upto = upto
        if self._receipts_behind:
            self._receipts_behind = False
            for receipt in await shared.db.read(outgoing.receipts_for, *where, MOST_RECEIPTS):
                self._receipts.setdefault(key_of(receipt), receipt)

    def _add_passing(self, batch: Batch, most: int) -> None:
        """Typing, presence and receipts. What has no room now is sent next time."""
        while self._typing and batch.add_edu(edus.typing(*self._first_typing()), most):
            del self._typing[next(iter(self._typing))]
        some = list(islice(self._presence.values(), PRESENCE_A_TIME))
        for made, states in edus.presence(some, self._shared.clock.now_ms()):
            if not batch.add_edu(made, most):
                break
            for state in states:
                del self._presence[state.user_id]
        for made, receipts in edus.receipts(list(islice(self._receipts.values(), RECEIPTS_A_TIME))):
            if not batch.add_edu(made, most):
                break
            batch.receipts.update({key_of(each): each for each in receipts})

    def _first_typing(self) -> tuple[str, str, bool]:
        (room_id, user_id), typing = next(iter(self._typing.items()))
        return room_id, user_id, typing

    async def _add_events(self, batch: Batch, most: int) -> None:
        if self._behind and not self._events:
            await self._read_events()
        some = list(islice(self._events, most))
        numbers = [each for _, each in some if isinstance(each, int)]
        loaded = await self._shared.db.read(outgoing.load_events, numbers) if numbers else {}
        for _, each in some:
            if isinstance(each, bytes):
                batch.pdus.append(each)
            elif each in loaded:
                sender, json = loaded[each]
                if server_of(sender) != self.name:
                    batch.pdus.append(json)
        batch.events = len(some)

    async def _read_events(self) -> None:
        """The next page; after the last one, what came meanwhile follows from memory."""
        self._fresh = []
        try:
            page = await self._shared.db.read(
                outgoing.events_for, self.name, self._end, self._shared.position(), PAGE
            )
            self._events.extend(page)
            if len(page) < PAGE and len(self._fresh) < MOST_HELD:
                self._events.extend(self._fresh)
                self._behind = False
            elif page:
                self._end = page[-1][0]
        finally:
            self._fresh = None


def _details(
    tx: Transaction, news: Sequence[DeviceNews]
) -> list[tuple[DeviceDetails, list[cross_signing.CrossSigningKey]]]:
    signing = {each.user_id for each in news if each.device_id == CROSS_SIGNING}
    keys = cross_signing.keys_of(tx, signing) if signing else []
    return [
        (each, [key for key in keys if key.user_id == each.news.user_id])
        for each in outgoing.device_details(tx, news)
    ]
