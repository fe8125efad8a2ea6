"""Following the stream some way behind: woken now and again, one pass at a time."""

from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from homeserver.clock import Clock, Timer

GATHER_SECONDS = 0.5
log = Logger()


class Trailing:
    """`catch_up` takes in what there is, and should look at `running` between its steps."""

    def __init__(self, clock: Clock, catch_up: Callable[[], Awaitable[None]]) -> None:
        self._clock = clock
        self._catch_up = catch_up
        self._lock = DeferredLock()
        self._timer: Timer | None = None
        self.running = False

    def start(self) -> None:
        self.running = True
        self._wake_in(0)

    async def stop(self) -> None:
        """Returns once nothing is being written any more."""
        self.running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._lock.acquire()
        self._lock.release()

    def wake(self) -> None:
        if self.running and self._timer is None:
            self._wake_in(GATHER_SECONDS)

    def now(self) -> "Deferred[None]":
        """A pass of its own; fires when it is done."""
        done: Deferred[None] = self._lock.run(self._pass)
        return done

    def _wake_in(self, seconds: float) -> None:
        self._timer = self._clock.call_later(seconds, self._woken)

    def _woken(self) -> None:
        self._timer = None
        self.now().addErrback(lambda failure: log.failure("an index for searching fell behind", failure))

    def _pass(self) -> "Deferred[None]":
        async def run() -> None:
            if self.running:
                await self._catch_up()

        return Deferred.fromCoroutine(run())
