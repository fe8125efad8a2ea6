"""Delayed events: sent later, unless they are cancelled; put off again and again as a sign of life.

MSC4140, https://github.com/matrix-org/matrix-spec-proposals/pull/4140

The subtle idea: the event is sent from a device of this name (`DELAYED`) under the `delay_id` as its
transaction ID. So a server that stopped between sending an event and noting that it did sends it once all
the same, and `unsigned` can tell the sender which delayed event this was.

All that is done to one user's delayed events is done one after another. What a user may do in the room is
judged when the event is sent. How many a user may have scheduled is bounded, and so is what may be sent at
one moment: no more than a burst of messages, as the limit of messages allows it.
"""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

import orjson
from twisted.internet.defer import Deferred, DeferredLock, gatherResults
from twisted.logger import Logger

from homeserver.clock import Clock, Timer
from homeserver.errors import Forbidden, InvalidParam, LimitExceeded, MatrixError, NotFound, TooLarge
from homeserver.protocol import canonical_json
from homeserver.protocol.ids import fits
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.serialize import DELAYED
from storage import delayed_events as store
from storage.database import Database, Transaction
from storage.delayed_events import DelayedEvent

Action = Literal["cancel", "restart", "send"]

MOST_SCHEDULED = 100
MOST_AT_ONCE = 500
MAX_CONTENT = 65_536
RETRY_SECONDS = 5.0
LONGEST_TIMER_MS = 3_600_000
log = Logger()


def capability(max_delay_ms: int | None) -> dict[str, int]:
    """The limits, as clients are told of them."""
    if max_delay_ms is None:
        return {"max_scheduled": 0}
    return {"max_delay_ms": max_delay_ms, "max_scheduled": MOST_SCHEDULED}


class Finalised(MatrixError):
    """What is asked for contradicts what became of the event."""

    status = 409


@dataclass(frozen=True, slots=True)
class Standing:
    """What an account may do just now: nothing more if `refusal` says so."""

    is_guest: bool
    is_admin: bool
    refusal: MatrixError | None


class DelayedEvents:
    """`max_delay_ms`: None if nobody may delay events. `standing_of`: the account behind a user ID."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        rooms: Rooms,
        standing_of: Callable[[str], Awaitable[Standing]],
        max_delay_ms: int | None,
    ) -> None:
        self._db = db
        self._clock = clock
        self._rooms = rooms
        self._standing_of = standing_of
        self._max_delay_ms = max_delay_ms
        self._locks: dict[str, DeferredLock] = {}
        self._timer: Timer | None = None
        self._timer_at = 0

    async def schedule(
        self,
        room_id: str,
        user_id: str,
        type: str,
        state_key: str | None,
        content: dict[str, Any],
        delay_ms: int,
        *,
        device_id: str | None,
        txn_id: str | None = None,
    ) -> str:
        """The `delay_id`; the same again for the same transaction ID."""
        if self._max_delay_ms is None:
            raise Forbidden("Events cannot be delayed on this server.")
        if delay_ms <= 0:
            raise InvalidParam("The delay must be positive.")
        if delay_ms > self._max_delay_ms:
            raise Forbidden(f"The delay is longer than {self._max_delay_ms} ms.")
        if not fits(type) or not fits(state_key or "") or not fits(txn_id or ""):
            raise TooLarge("The type, the state key or the transaction ID is too long.")
        encoded = _encode(content)
        await self._rooms.require_joined(room_id, user_id)
        now = self._clock.now_ms()
        row = DelayedEvent(
            secrets.token_urlsafe(24), user_id, device_id or "", txn_id, room_id, type, state_key, encoded,
            delay_ms, now, now + delay_ms,
        )  # fmt: skip
        delay_id = await self._db.write(_schedule, row)
        self._wake_at(row.send_at)
        return delay_id

    async def scheduled(self, user_id: str) -> list[DelayedEvent]:
        return await self._db.read(store.scheduled, user_id)

    async def finalised(self, user_id: str) -> list[DelayedEvent]:
        return await self._db.read(store.finalised, user_id)

    async def get(self, delay_id: str, user_id: str | None) -> DelayedEvent:
        """`user_id`: None for somebody who knows the ID and nothing else (see the endpoints)."""
        row = await self._db.read(store.get, delay_id)
        if row is None or (user_id is not None and row.user_id != user_id):
            raise NotFound("There is no such delayed event.")
        return row

    async def manage(self, delay_id: str, user_id: str | None, action: Action) -> None:
        """Cancels, restarts or sends; nothing if that is what became of it before."""
        owner = (await self.get(delay_id, user_id)).user_id
        await self._alone(owner, self._manage, delay_id, action)

    async def forget(self, user_id: str, erased: bool) -> None:
        """Nobody will use this account again."""
        await self._db.write(store.forget_user, user_id)

    async def resume(self) -> None:
        """Sends what fell due while the server was stopped, and goes on from there."""
        self._wake_at(await self._db.read(store.next_due))

    def stop(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    # how it is done

    async def _manage(self, delay_id: str, action: Action) -> None:
        row = await self.get(delay_id, None)
        now = self._clock.now_ms()
        if row.finalised_ts is not None:
            became: Action = "send" if row.event_id is not None else "cancel"
            if became != action:
                raise Finalised(f"The event was {'sent' if became == 'send' else 'cancelled'} already.")
        elif action == "cancel":
            await self._db.write(store.finalise, row, now, None, None)
        elif action == "restart":
            await self._db.write(store.restart, delay_id, now)
            self._wake_at(now + row.delay_ms)
        else:
            event_id = await self._send(row)
            await self._db.write(store.finalise, row, self._clock.now_ms(), event_id, None)

    async def _send(self, row: DelayedEvent) -> str:
        standing = await self._standing_of(row.user_id)
        if standing.refusal is not None:
            raise standing.refusal
        content = orjson.loads(row.content)
        if row.state_key is not None:
            return await self._rooms.set_state(
                row.room_id, row.user_id, row.type, row.state_key, content, guest=standing.is_guest,
                device_id=DELAYED, txn_id=row.delay_id,
            )  # fmt: skip
        return await self._rooms.send(
            row.room_id, row.user_id, row.type, content, device_id=DELAYED, txn_id=row.delay_id,
            admin=standing.is_admin,
        )  # fmt: skip

    async def _send_due(self, delay_id: str) -> None:
        """Sends one whose time has come, unless it was cancelled or put off meanwhile."""
        row = await self._db.read(store.get, delay_id)
        if row is None or row.finalised_ts is not None or row.send_at > self._clock.now_ms():
            return
        event_id, error = None, None
        try:
            event_id = await self._send(row)
        except MatrixError as failure:
            if failure.status >= 500:
                raise  # the server's trouble: it is tried again
            error = orjson.dumps(failure.body())
        await self._db.write(store.finalise, row, self._clock.now_ms(), event_id, error)

    async def _send_in_turn(self, rows: Sequence[DelayedEvent]) -> None:
        for row in rows:
            await self._alone(row.user_id, self._send_due, row.delay_id)

    async def _send_all_due(self) -> None:
        rows = await self._db.read(store.due, self._clock.now_ms(), MOST_AT_ONCE)
        by_user = sorted(rows, key=lambda row: row.user_id)  # stable: each user's in order of time
        users = [list(mine) for _, mine in groupby(by_user, key=lambda row: row.user_id)]
        sending = [Deferred.fromCoroutine(self._send_in_turn(mine)) for mine in users]
        await gatherResults(sending, consumeErrors=True)
        self._wake_at(await self._db.read(store.next_due))

    async def _alone(self, user_id: str, call: Callable[..., Awaitable[None]], *args: Any) -> None:
        lock = self._locks.setdefault(user_id, DeferredLock())
        await lock.acquire()
        try:
            await call(*args)
        finally:
            lock.release()
            if not lock.locked:
                self._locks.pop(user_id, None)

    def _wake_at(self, send_at: int | None) -> None:
        """Has the timer fire no later than then."""
        if send_at is None:
            return
        if self._timer is not None and self._timer.active():
            if self._timer_at <= send_at:
                return
            self._timer.cancel()
        wait_ms = min(max(0, send_at - self._clock.now_ms()), LONGEST_TIMER_MS)
        self._timer_at = self._clock.now_ms() + wait_ms
        self._timer = self._clock.call_later(wait_ms / 1000, self._wake)

    def _wake(self) -> None:
        Deferred.fromCoroutine(self._send_all_due()).addErrback(self._failed)

    def _failed(self, failure: Any) -> None:
        """What stays scheduled is tried again shortly."""
        log.failure("delayed events could not be sent just now", failure)
        self._timer_at = self._clock.now_ms() + round(RETRY_SECONDS * 1000)
        self._timer = self._clock.call_later(RETRY_SECONDS, self._wake)


def _schedule(tx: Transaction, row: DelayedEvent) -> str:
    if row.txn_id is not None:
        known = store.by_transaction(tx, row)
        if known is not None:
            return known
    count, next_at = store.count_scheduled(tx, row.user_id)
    if count >= MOST_SCHEDULED:
        wait = max(0, (next_at or 0) - row.scheduled_at)
        raise LimitExceeded(wait, "You have scheduled as many delayed events as you may.")
    store.add(tx, row)
    return row.delay_id


def _encode(content: dict[str, Any]) -> bytes:
    try:
        encoded = canonical_json.encode(content)
    except canonical_json.NotCanonical as error:
        raise MatrixError(str(error), errcode="M_BAD_JSON") from error
    if len(encoded) > MAX_CONTENT:
        raise TooLarge("The event is too large.")
    return encoded
