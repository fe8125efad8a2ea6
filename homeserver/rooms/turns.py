"""One at a time for each room: events from elsewhere are placed in turn."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from twisted.internet.defer import DeferredLock


class Turns:
    def __init__(self) -> None:
        self._locks: dict[str, DeferredLock] = {}

    @asynccontextmanager
    async def of(self, room_id: str) -> AsyncIterator[None]:
        lock = self._locks.setdefault(room_id, DeferredLock())
        await lock.acquire()
        try:
            yield
        finally:
            lock.release()
            if not lock.locked and self._locks.get(room_id) is lock:
                del self._locks[room_id]
