"""Fetching what is out of date, until it works: a few servers at a time, and of each one user at a time.

https://spec.matrix.org/v1.19/server-server-api/#device-management

A server that cannot be reached is asked again later and later, and at once (almost) when it shows signs of
life. What is to be fetched stands in the database; here is only whose turn it is.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from homeserver.clock import Clock, Timer
from homeserver.errors import RemoteError
from homeserver.protocol.ids import domain_of

SERVERS_AT_ONCE = 8
USERS_IN_A_TURN = 20
GATHER_SECONDS = 1.0
"""Changes come in bursts: one fetch after them is enough."""
FIRST_RETRY_SECONDS = 15.0
LAST_RETRY_SECONDS = 3600.0
log = Logger()


@dataclass(slots=True)
class _Lane:
    """The users of one server. It has a timer, is in line, or has its turn."""

    users: dict[str, None] = field(default_factory=dict)
    retry_seconds: float = FIRST_RETRY_SECONDS
    failed: bool = False
    timer: Timer | None = None


class Resync:
    """`fetch(user_id)` says whether that is settled; RemoteError if the server did not answer."""

    def __init__(self, clock: Clock, fetch: Callable[[str], Awaitable[bool]]) -> None:
        self._clock = clock
        self._fetch = fetch
        self._lanes: dict[str, _Lane] = {}
        self._in_line: deque[str] = deque()
        self._running = 0
        self._stopped = False

    def __contains__(self, user_id: str) -> bool:
        lane = self._lanes.get(domain_of(user_id))
        return lane is not None and user_id in lane.users

    def add(self, user_ids: Iterable[str], *, alive: bool = False) -> None:
        """`alive`: their server was heard of just now, so it is worth asking even if it failed before."""
        for user_id in user_ids:
            server = domain_of(user_id)
            lane = self._lanes.get(server)
            if lane is None:
                lane = self._lanes[server] = _Lane()
                self._wait(server, lane, GATHER_SECONDS)
            lane.users[user_id] = None
            if alive and lane.failed:
                lane.failed, lane.retry_seconds = False, FIRST_RETRY_SECONDS
                if lane.timer is not None:
                    lane.timer.cancel()
                    self._wait(server, lane, FIRST_RETRY_SECONDS)

    def stop(self) -> None:
        self._stopped = True
        self._in_line.clear()
        for lane in self._lanes.values():
            if lane.timer is not None:
                lane.timer.cancel()
        self._lanes.clear()

    def _wait(self, server: str, lane: _Lane, seconds: float) -> None:
        lane.timer = self._clock.call_later(seconds, self._line_up, server, lane)

    def _line_up(self, server: str, lane: _Lane) -> None:
        lane.timer = None
        self._in_line.append(server)
        self._next()

    def _next(self) -> None:
        while self._in_line and self._running < SERVERS_AT_ONCE:
            server = self._in_line.popleft()
            self._running += 1
            turn = Deferred.fromCoroutine(self._turn(server, self._lanes[server]))
            turn.addErrback(self._broken, server)
            turn.addBoth(self._turn_ended)

    def _turn_ended(self, result: None) -> None:
        self._running -= 1
        self._next()

    def _broken(self, failure: Failure, server: str) -> None:
        # Our own fault, and no reason to give up on the server's other users.
        log.failure("fetching device lists failed", failure)
        if (lane := self._lanes.get(server)) is not None:
            self._retry_later(server, lane)

    async def _turn(self, server: str, lane: _Lane) -> None:
        for user_id in list(lane.users)[:USERS_IN_A_TURN]:
            try:
                settled = await self._fetch(user_id)
            except RemoteError:
                if not self._stopped:
                    self._retry_later(server, lane)
                return
            if self._stopped:
                return
            lane.failed, lane.retry_seconds = False, FIRST_RETRY_SECONDS
            del lane.users[user_id]
            if not settled:
                lane.users[user_id] = None  # after the others
        if lane.users:
            self._wait(server, lane, GATHER_SECONDS)
        else:
            del self._lanes[server]

    def _retry_later(self, server: str, lane: _Lane) -> None:
        lane.failed = True
        self._wait(server, lane, lane.retry_seconds)
        lane.retry_seconds = min(2 * lane.retry_seconds, LAST_RETRY_SECONDS)
