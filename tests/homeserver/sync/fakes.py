"""A clock that stands still until told, a counter of ephemeral positions, and coroutines run to their end."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from twisted.internet import task
from twisted.internet.defer import Deferred

from homeserver.clock import Timer
from tests.storage.conftest import SynchronousDatabase

T = TypeVar("T")

START_MS = 1_700_000_000_000


class FakeClock:
    def __init__(self) -> None:
        self.reactor = task.Clock()

    def now_ms(self) -> int:
        return START_MS + round(self.reactor.seconds() * 1000)

    def call_later(self, seconds: float, call: Callable[..., Any], *args: Any) -> Timer:
        timer: Timer = self.reactor.callLater(seconds, call, *args)
        return timer

    def advance(self, seconds: float) -> None:
        self.reactor.advance(seconds)


class FakePositions:
    """Keeps what was woken, (rooms, users); those who wait read at once, by `on_wake`."""

    def __init__(self) -> None:
        self.position = 100
        self.woken: list[tuple[set[str], set[str]]] = []
        self.on_wake: Callable[[], object] = lambda: None

    def next(self, rooms: Sequence[str] = (), users: Sequence[str] = ()) -> int:
        self.position += 1
        if rooms or users:
            self.woken.append((set(rooms), set(users)))
            self.on_wake()
        return self.position


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Waits for a coroutine that awaits database threads."""
    result: T = SynchronousDatabase._wait(Deferred.fromCoroutine(coroutine))
    return result
