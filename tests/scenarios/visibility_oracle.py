"""Who may see which event, straight from the words of the specification: a room's events in order, no server.

https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility

None stands for what those words leave open: whether one sees what became of oneself after leaving, an invite
that one declined, say.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

VISIBILITY, MEMBER = "m.room.history_visibility", "m.room.member"
SETTINGS = ("world_readable", "shared", "invited", "joined")


@dataclass(frozen=True)
class Happened:
    """An event of the room, which is linear."""

    event_id: str
    type: str
    content: dict[str, Any]
    state_key: str | None = None


class Oracle:
    def __init__(self, events: Sequence[Happened], reader: str) -> None:
        self.events = events
        self.visibility = ["shared"]
        self.membership = ["leave"]
        """Each: before the first event, then after each."""
        for event in events:
            visibility, membership = self.visibility[-1], self.membership[-1]
            if (event.type, event.state_key) == (VISIBILITY, ""):
                given = event.content.get("history_visibility")
                visibility = given if given in SETTINGS else "shared"
            if (event.type, event.state_key) == (MEMBER, reader):
                membership = event.content["membership"]
            self.visibility.append(visibility)
            self.membership.append(membership)
        joins = [number for number in range(len(events)) if self._joins(number)]
        self.last_join = joins[-1] if joins else -1
        self.ever_joined = bool(joins)
        self.is_joined = self.membership[-1] == "join"
        self.is_open = self.visibility[-1] == "world_readable"
        stays = [number for number in range(len(events)) if self.membership[number] == "join"]
        self.left_at = None if self.is_joined or not stays else stays[-1]
        """The event that ended the last stay."""

    def _joins(self, number: int) -> bool:
        return self.membership[number] != "join" and self.membership[number + 1] == "join"

    @property
    def may_read(self) -> bool:
        return self.ever_joined or self.is_open

    def sees(self, number: int) -> bool | None:
        event = self.events[number]
        moments = {(self.visibility[number + 1], self.membership[number + 1])}
        if event.type == VISIBILITY:
            moments.add((self.visibility[number], self.membership[number + 1]))
        own = event.type == MEMBER and self.membership[number] != self.membership[number + 1]
        if own:
            moments.add((self.visibility[number + 1], self.membership[number]))
        allowed = any(self._allows(number, *moment) for moment in moments)
        if self.is_joined:
            return allowed
        later = self.left_at is None or number > self.left_at
        if own and later:
            return None
        if later and not self.is_open:
            return False
        return allowed and (not later or any(setting == "world_readable" for setting, _ in moments))

    def _allows(self, number: int, visibility: str, membership: str) -> bool:
        """Rule 4 read with what the section begins with: that one needs to join to view events."""
        joins_later = self.last_join > number
        return (
            visibility == "world_readable"
            or membership == "join"
            or (visibility == "shared" and joins_later)
            or (visibility == "invited" and membership == "invite" and joins_later)
        )

    def state_upto(self, number: int, *, open_now: bool = False) -> dict[tuple[str, str], str]:
        """Event IDs of the state after this event, or after the reader left if that was before.

        `open_now`: who asks for a moment of a room that is open to the world is told as strangers are.
        """
        if self.left_at is not None and not open_now:
            number = min(number, self.left_at)
        return {
            (event.type, event.state_key): event.event_id
            for event in self.events[: number + 1]
            if event.state_key is not None
        }
