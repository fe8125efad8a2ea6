"""How much each other server may ask of this one, whatever it asks.

https://spec.matrix.org/v1.19/server-server-api/#api-standards

The numbers are Synapse's `rc_federation`, with its meaning: who sends more than `sleep_limit` requests in a
window waits with each further one for `sleep_ms`; of one server `concurrent` requests run at once, and one
that comes when `reject_limit` wait already is refused. A busy server never meets them; what they hold off is
one that asks for states and histories as fast as it can.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred

from homeserver.clock import Clock
from homeserver.errors import LimitExceeded

SWEEP_ABOVE = 1000


@dataclass(frozen=True, slots=True)
class OriginRate:
    window_ms: int = 1000
    sleep_limit: int = 500
    sleep_ms: int = 500
    reject_limit: int = 100
    concurrent: int = 50


@dataclass(slots=True)
class _Origin:
    window_began: int
    in_window: int = 0
    sleeping: int = 0
    running: int = 0
    waiting: deque["Deferred[None]"] = field(default_factory=deque)


class OriginLimits:
    def __init__(self, clock: Clock, rate: OriginRate) -> None:
        self._clock = clock
        self._rate = rate
        self._origins: dict[str, _Origin] = {}

    async def enter(self, server_name: str) -> Callable[[], None]:
        """Returns when the request may go on; call what it returns when it is done. LimitExceeded."""
        rate, now = self._rate, self._clock.now_ms()
        origin = self._origins.get(server_name)
        if origin is None:
            self._sweep(now)
            origin = self._origins[server_name] = _Origin(now)
        if now - origin.window_began >= rate.window_ms:
            origin.window_began, origin.in_window = now, 0
        if origin.sleeping + len(origin.waiting) >= rate.reject_limit:
            raise LimitExceeded(rate.window_ms, "Your server asks for too much at once.")
        origin.in_window += 1
        if origin.in_window > rate.sleep_limit:
            origin.sleeping += 1
            rest: Deferred[None] = Deferred()
            self._clock.call_later(rate.sleep_ms / 1000, rest.callback, None)
            await rest
            origin.sleeping -= 1
        if origin.running < rate.concurrent:
            origin.running += 1
        else:
            turn: Deferred[None] = Deferred()
            origin.waiting.append(turn)
            await turn  # whoever was done handed their place over
        return lambda: self._leave(origin)

    @staticmethod
    def _leave(origin: _Origin) -> None:
        if origin.waiting:
            origin.waiting.popleft().callback(None)
        else:
            origin.running -= 1

    def _sweep(self, now: int) -> None:
        """Forgets those whose window is over and of whom nothing is here."""
        if len(self._origins) < SWEEP_ABOVE:
            return
        self._origins = {
            name: origin for name, origin in self._origins.items()
            if now - origin.window_began < self._rate.window_ms or origin.sleeping or origin.running
        }  # fmt: skip
