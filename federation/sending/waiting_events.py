"""The events that wait for one server: in memory while it keeps up, else in the database.

https://spec.matrix.org/v1.19/server-server-api/#pdus
"""

from collections import deque
from itertools import islice

from federation.sending.batch import Batch
from federation.sending.shared import Shared
from homeserver.protocol.ids import server_of
from storage import outgoing

MOST_HELD = 500
"""So many events wait in memory; more are left to the database."""
PAGE = 1000


class WaitingEvents:
    """Each event held is (position, JSON or, read ahead, number). `_behind`: there are more after `_end`."""

    __slots__ = ("_behind", "_end", "_events", "_fresh", "_name", "_shared")

    def __init__(self, name: str, shared: Shared) -> None:
        self._name = name
        self._shared = shared
        self._events: deque[tuple[int, bytes | int]] = deque()
        self._behind = False
        self._end = 0
        self._fresh: list[tuple[int, bytes | int]] | None = None  # what comes while a page is read

    def __bool__(self) -> bool:
        return bool(self._events) or self._behind

    @property
    def held(self) -> int:
        return len(self._events)

    @property
    def delivered_upto(self) -> int | None:
        """None if nothing waits."""
        if self._events:
            return self._events[0][0] - 1
        return self._end if self._behind else None

    def add(self, position: int, json: bytes) -> None:
        if self._behind:
            if self._fresh is not None:
                self._fresh.append((position, json))
        elif len(self._events) >= MOST_HELD:
            self._behind, self._end = True, self._events[-1][0]
        else:
            self._events.append((position, json))

    def restart_at(self, position: int) -> None:
        """Whatever is after it, the database has."""
        self._events.clear()
        self._behind, self._end = True, position

    def forget(self) -> None:
        upto = self.delivered_upto
        self.restart_at(self._shared.position() if upto is None else upto)

    def delivered(self, count: int) -> None:
        for _ in range(count):
            self._end, _json = self._events.popleft()

    async def add_to(self, batch: Batch, most: int) -> None:
        if self._behind and not self._events:
            await self._read()
        some = list(islice(self._events, most))
        numbers = [each for _, each in some if isinstance(each, int)]
        loaded = await self._shared.db.read(outgoing.load_events, numbers) if numbers else {}
        for _, each in some:
            if isinstance(each, bytes):
                batch.pdus.append(each)
            elif each in loaded:
                sender, json = loaded[each]
                if server_of(sender) != self._name:
                    batch.pdus.append(json)
        batch.events = len(some)

    async def _read(self) -> None:
        """The next page; after the last one, what came meanwhile follows from memory."""
        self._fresh = []
        try:
            page = await self._shared.db.read(
                outgoing.events_for, self._name, self._end, self._shared.position(), PAGE
            )
            self._events.extend(page)
            if len(page) < PAGE and len(self._fresh) < MOST_HELD:
                self._events.extend(self._fresh)
                self._behind = False
            elif page:
                self._end = page[-1][0]
        finally:
            self._fresh = None
