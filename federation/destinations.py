"""Which servers do not answer, and when each is tried again.

https://spec.matrix.org/v1.19/server-server-api/#transactions

The wait doubles from seconds to days with each failure after a wait, so a restart of the other side costs
seconds and a dead server next to nothing. Failures are stored: they outlive our own restart. A server that
asks us something is back at once.
"""

import random
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from federation.errors import BackedOff
from homeserver.clock import Clock
from storage import destinations
from storage.database import Database
from storage.destinations import Failing

log = Logger()

FIRST_MS = 10_000
MOST_MS = 2 * 24 * 3_600_000
SPREAD = 0.2
REMEMBERED = 20_000


class Destinations:
    """`on_recovered` is called with the name of each server that answers again."""

    def __init__(self, db: Database, clock: Clock, chance: Callable[[], float] = random.random) -> None:
        self._db = db
        self._clock = clock
        self._chance = chance
        # None: it answers. What is not in here is looked up.
        self._states: dict[str, Failing | None] = {}
        self._seen: dict[str, None] = {}
        self.on_recovered: list[Callable[[str], None]] = []

    async def retry_at(self, server_name: str) -> int:
        """When it may be asked, in milliseconds; 0 for a server that answers."""
        state = await self._state(server_name)
        return state.retry_at if state is not None else 0

    def is_real(self, server_name: str) -> bool:
        """Whether it has answered or asked anything since this server runs, and does not fail now."""
        return server_name in self._seen and self._states.get(server_name) is None

    async def check(self, server_name: str) -> None:
        """Raises BackedOff while it is not to be asked."""
        retry_at = await self.retry_at(server_name)
        if retry_at > self._clock.now_ms():
            raise BackedOff(server_name, retry_at)

    async def all_failing(self) -> dict[str, Failing]:
        return await self._db.read(destinations.all_failing)

    async def failed(self, server_name: str) -> None:
        state = await self._state(server_name)
        now = self._clock.now_ms()
        if state is not None and state.retry_at > now:
            return  # one of several requests of the same try
        interval = FIRST_MS if state is None else min(2 * state.interval, MOST_MS)
        wait = interval * (1 + SPREAD * (2 * self._chance() - 1))
        state = Failing(now if state is None else state.since, now + int(wait), interval)
        self._remember(server_name, state)
        await self._db.write(destinations.set_failing, server_name, state)

    def answered(self, server_name: str) -> None:
        """It answered, or asked us something with a valid signature."""
        if server_name not in self._seen:
            if len(self._seen) >= REMEMBERED:
                del self._seen[next(iter(self._seen))]
            self._seen[server_name] = None
        if server_name in self._states and self._states[server_name] is None:
            return
        looked_up = server_name in self._states
        self._remember(server_name, None)
        _in_background(self._recover(server_name, looked_up))

    async def _recover(self, server_name: str, looked_up: bool) -> None:
        if not looked_up and await self._db.read(destinations.failing, server_name) is None:
            return
        if await self._db.write(destinations.set_answering, server_name):
            log.info("{server} answers again", server=server_name)
            for call in self.on_recovered:
                call(server_name)

    async def _state(self, server_name: str) -> Failing | None:
        if server_name not in self._states:
            state = await self._db.read(destinations.failing, server_name)
            if server_name not in self._states:  # it may have answered or failed meanwhile
                self._remember(server_name, state)
        return self._states.get(server_name)

    def _remember(self, server_name: str, state: Failing | None) -> None:
        self._states.pop(server_name, None)
        if len(self._states) >= REMEMBERED:
            del self._states[next(iter(self._states))]
        self._states[server_name] = state


def _in_background(work: Coroutine[Any, Any, None]) -> None:
    running = Deferred.fromCoroutine(work)
    running.addErrback(lambda failure: log.failure("noting that a server answers failed", failure))
