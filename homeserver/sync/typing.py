"""Who is typing where: in memory only, gone after a timeout.

https://spec.matrix.org/v1.19/client-server-api/#typing-notifications

The subtle idea: an `m.typing` event replaces all a client knew, so only the list and the position of its
last change are kept; a client that has not seen that position gets the list. Typing on, which clients
repeat every few seconds, changes no list and wakes nobody.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from homeserver.clock import Clock, Timer
from storage.memberships import Membership

MAX_TIMEOUT_MS = 120_000


class Positions(Protocol):
    def next(self, rooms: Sequence[str] = (), users: Sequence[str] = ()) -> int:
        """A new ephemeral position; wakes the members of `rooms`, and `users`."""
        ...


class Typing:
    def __init__(self, clock: Clock, ephemeral: Positions) -> None:
        self._clock = clock
        self._ephemeral = ephemeral
        self._timers: dict[str, dict[str, Timer]] = {}
        self._positions: dict[str, int] = {}
        # Called with (room, user, whether they type), also when somebody goes on typing: other servers
        # forget sooner than clients.
        self.on_typing: list[Callable[[str, str, bool], None]] = []

    def set(self, room_id: str, user_id: str, typing: bool, timeout_ms: int = 30_000) -> None:
        if not typing or timeout_ms <= 0:
            self._stop(room_id, user_id)
            return
        typists = self._timers.setdefault(room_id, {})
        timer = typists.get(user_id)
        if timer is not None:
            timer.cancel()
        seconds = min(timeout_ms, MAX_TIMEOUT_MS) / 1000
        typists[user_id] = self._clock.call_later(seconds, self._expired, room_id, user_id)
        if timer is None:
            self._changed(room_id)
        self._tell(room_id, user_id, True)

    def membership_changed(self, row: Membership) -> None:
        """Whoever has left does not type."""
        if row.membership != "join":
            self._stop(row.room_id, row.user_id)

    def users(self, room_id: str) -> list[str]:
        """In the order in which they began."""
        return [*self._timers.get(room_id, ())]

    def position(self, room_id: str) -> int:
        """Of the last change; 0 where nobody ever typed."""
        return self._positions.get(room_id, 0)

    def stop_all(self) -> None:
        """Ends the timers, for a server that shuts down."""
        for typists in self._timers.values():
            for timer in typists.values():
                timer.cancel()
        self._timers.clear()

    def _stop(self, room_id: str, user_id: str) -> None:
        timer = self._timers.get(room_id, {}).get(user_id)
        if timer is not None:
            timer.cancel()
            self._expired(room_id, user_id)

    def _expired(self, room_id: str, user_id: str) -> None:
        typists = self._timers[room_id]
        del typists[user_id]
        if not typists:
            del self._timers[room_id]
        self._changed(room_id)
        self._tell(room_id, user_id, False)

    def _tell(self, room_id: str, user_id: str, typing: bool) -> None:
        for listener in self.on_typing:
            listener(room_id, user_id, typing)

    def _changed(self, room_id: str) -> None:
        # Those who wait read as soon as they are woken: the change must stand before.
        self._positions[room_id] = self._ephemeral.next()
        self._ephemeral.next(rooms=(room_id,))
