"""Time as an argument: services take a Clock, only the edge reads the real one."""

import time
from collections.abc import Callable
from typing import Any, Protocol


class Timer(Protocol):
    """A pending call, as Twisted's `IDelayedCall` offers it."""

    def cancel(self) -> None: ...

    def active(self) -> bool: ...


class Clock(Protocol):
    def now_ms(self) -> int:
        """Wall clock, milliseconds since the Unix epoch."""
        ...

    def call_later(self, seconds: float, call: Callable[..., Any], *args: Any) -> Timer: ...


class ReactorClock:
    """The real clock, on Twisted's reactor."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def now_ms(self) -> int:
        return int(time.time() * 1000)

    def call_later(self, seconds: float, call: Callable[..., Any], *args: Any) -> Timer:
        timer: Timer = self._reactor.callLater(seconds, call, *args)
        return timer
