"""Invites declined and knocks withdrawn of which no server could be told: they are told again.

https://spec.matrix.org/v1.19/server-server-api/#leaving-rooms-rejecting-invites

The user is out of it at once. Such a leave cannot wait in the queue of events for its server: it has to name
state of the room, which only a server in the room knows. So the whole handshake is tried again, until one
server took it, all have refused it, the user has come back to the room or a month has passed.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from homeserver.clock import Timer
from homeserver.errors import RemoteError, RemoteRefused
from homeserver.rooms.registry import Registry
from homeserver.rooms.turns import Turns
from storage import unheard_leaves as store
from storage.memberships import Membership
from storage.unheard_leaves import UnheardLeave

AGAIN_SECONDS = 60.0
"""A server that is known not to answer is not really asked each time."""
KEPT_MS = 30 * 24 * 3600 * 1000
PAGE = 100
log = Logger()

Tell = Callable[[str, str, str, Mapping[str, Any]], Awaitable[object]]


def is_no(error: RemoteError) -> bool:
    """Whether the server has answered, and asking it again is of no use."""
    return isinstance(error, RemoteRefused) and error.status < 500 and error.status != 429


class UnheardLeaves:
    """`tell(server, room_id, user_id, content)` does the handshake, or raises RemoteError."""

    def __init__(self, registry: Registry, turns: Turns, tell: Tell) -> None:
        self._registry = registry
        self._turns = turns
        self._tell = tell
        self._timer: Timer | None = None
        self._running = False
        self._stopped = False

    async def keep(self, row: Membership, servers: Iterable[str]) -> None:
        """To be called in the room's turn, before the membership ends here."""
        leave = UnheardLeave(row.user_id, row.room_id, tuple(servers), self._registry.clock.now_ms())
        await self._registry.db.write(store.put, leave)
        self.start()

    def start(self) -> None:
        if self._timer is None and not self._running and not self._stopped:
            self._timer = self._registry.clock.call_later(AGAIN_SECONDS, self._try_all_now)

    def stop(self) -> None:
        self._stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _try_all_now(self) -> None:
        self._timer, self._running = None, True
        trying = Deferred.fromCoroutine(self._try_all())
        trying.addErrback(lambda failure: log.failure("telling others of a leave failed", failure))

    async def _try_all(self) -> None:
        some = False
        user_id = room_id = ""
        try:
            while page := await self._registry.db.read(store.after, user_id, room_id, PAGE):
                for leave in page:
                    some = await self._try(leave) or some
                    if self._stopped:
                        return
                user_id, room_id = page[-1].user_id, page[-1].room_id
        finally:
            self._running = False
        if some:
            self.start()

    async def _try(self, leave: UnheardLeave) -> bool:
        """Whether it is to be tried again."""
        silent: list[str] = []
        for server in leave.servers:
            async with self._turns.of(leave.room_id):
                content = await self._content(leave)
                if content is None:
                    silent = []
                    break
                try:
                    await self._tell(server, leave.room_id, leave.user_id, content)
                except RemoteError as error:
                    if not is_no(error):
                        silent.append(server)
                else:
                    silent = []
                    break
        if not silent:
            await self._registry.db.write(store.delete, leave.user_id, leave.room_id)
        elif len(silent) < len(leave.servers):
            await self._registry.db.write(store.put, leave._replace(servers=tuple(silent)))
        return bool(silent)

    async def _content(self, leave: UnheardLeave) -> Mapping[str, Any] | None:
        """None if nobody is to be told any more."""
        row = (await self._registry.memberships.of(leave.user_id)).get(leave.room_id)
        if row is None or row.membership != "leave":
            return None
        if self._registry.clock.now_ms() - leave.ts > KEPT_MS:
            return None
        left = await self._registry.events.get(row.event_id)
        return left.event.content if left is not None else None
