"""Work shared by those who want the same: bounded memory of answers, one question at a time for each key."""

from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from homeserver.errors import MatrixError, RemoteError

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
log = Logger()


class Expiring(Generic[K, T]):
    """Values with an end each, in milliseconds; when full, the one set longest ago goes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: dict[K, tuple[T, int]] = {}

    def get(self, key: K, now: int) -> T | None:
        found = self._values.get(key)
        if found is None or found[1] <= now:
            return None
        return found[0]

    def put(self, key: K, value: T, until: int) -> None:
        self._values.pop(key, None)
        if len(self._values) >= self._size:
            del self._values[next(iter(self._values))]
        self._values[key] = (value, until)

    def forget(self, key: K) -> None:
        self._values.pop(key, None)

    def __len__(self) -> int:
        return len(self._values)


class SingleFlight(Generic[K, T]):
    """Runs the work for a key once, however many ask for it meanwhile.

    The work belongs to nobody: an asker who gives up takes nothing away from the others, so it must end by
    itself in bounded time.
    """

    def __init__(self) -> None:
        self._flights: dict[K, list[Deferred[T]]] = {}

    def has(self, key: K) -> bool:
        return key in self._flights

    def run(self, key: K, work: Callable[[], Coroutine[Any, Any, T]]) -> "Deferred[T]":
        waiting = self._flights.get(key)
        mine: Deferred[T] = Deferred(lambda deferred: self._give_up(key, deferred))
        if waiting is not None:
            waiting.append(mine)
            return mine
        self._flights[key] = [mine]
        flight = Deferred.fromCoroutine(work())
        flight.addBoth(self._land, key)
        flight.addErrback(lambda failure: log.failure("sharing an answer failed", failure))
        return mine

    def _give_up(self, key: K, deferred: "Deferred[T]") -> None:
        waiting = self._flights.get(key, [])
        if deferred in waiting:
            waiting.remove(deferred)

    def _land(self, outcome: Any, key: K) -> None:
        waiting = self._flights.pop(key)
        expected = (RemoteError, MatrixError, CancelledError)
        if isinstance(outcome, Failure) and not waiting and not isinstance(outcome.value, expected):
            log.failure("work that nobody waits for any more failed", outcome)
        for deferred in waiting:
            if isinstance(outcome, Failure):
                # An exception of its own for each, or tracebacks would grow into one another.
                deferred.errback(outcome.value)
            else:
                deferred.callback(outcome)
