"""Positions for what is never stored: typing and presence.

They start from the clock, so they grow across restarts and a client's token never lies ahead of them.
"""

from collections.abc import Callable, Sequence

from homeserver.clock import Clock

Wake = Callable[[Sequence[str], Sequence[str]], None]


class Ephemeral:
    """A counter of its own beside the stream's; `on_change(rooms, users)` wakes the syncs."""

    def __init__(self, clock: Clock) -> None:
        self.position = clock.now_ms()
        self._listeners: list[Wake] = []

    def on_change(self, listener: Wake) -> None:
        self._listeners.append(listener)

    def next(self, rooms: Sequence[str] = (), users: Sequence[str] = ()) -> int:
        """Takes the next position; wakes `users` and the local members of `rooms` afterwards."""
        self.position += 1
        for listener in self._listeners:
            listener(rooms, users)
        return self.position
