"""Where a user stood in each room at a moment of the stream, and whether they have been there all along.

A membership row tells where a user stands now; where they stood before is read from their own membership
events, but only for the few rooms in which it changed.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from storage import sync as reads
from storage.database import Database
from storage.memberships import Membership
from storage.state_at import MemberEvent

PRESENT = ("join", "invite", "knock")


@dataclass(frozen=True, slots=True)
class Past:
    """A user's own membership events in a room, and what they were at `after`."""

    events: Sequence[MemberEvent]
    after: int

    @property
    def at_since(self) -> str | None:
        before = [event.membership for event in self.events if (event.position or 0) <= self.after]
        return before[-1] if before else None

    @property
    def since_then(self) -> list[str]:
        return [event.membership for event in self.events if (event.position or 0) > self.after]

    @property
    def stayed_joined(self) -> bool:
        return self.at_since == "join" and all(membership == "join" for membership in self.since_then)

    @property
    def began(self) -> int:
        """The position of the join that the present stay began with; 0 for those who are not in the room."""
        began = 0
        for event in self.events:
            if event.membership != "join":
                began = 0
            elif not began:
                began = event.position or 0
        return began

    @property
    def was_joined(self) -> bool:
        """Whether the user ever was in the room."""
        return any(event.membership == "join" for event in self.events)

    @property
    def had_joined(self) -> bool:
        """Whether that was at or before `after`."""
        return any(
            event.membership == "join" and (event.position or 0) <= self.after for event in self.events
        )

    @property
    def has_left(self) -> bool:
        """Whether being gone now is news; so is being free to come back."""
        passed = [self.at_since, *self.since_then[:-1]]
        banned = self.at_since == "ban"
        return any(membership in PRESENT for membership in passed) or (
            self.since_then[-1:] == (["leave"] if banned else ["ban"])
        )


async def rows_at(db: Database, rows: Collection[Membership], upto: int) -> list[Membership]:
    """The rows of a user as they were at a position.

    What came after it is for the next sync, which will ask where they stood here. Until then a room they
    were in goes on, lest what happened in it meanwhile is told to nobody.
    """
    later = {row.room_id: row for row in rows if row.position > upto}
    if not later:
        return list(rows)
    kept = [row for row in rows if row.room_id not in later]
    user_id = next(iter(later.values())).user_id
    found = await db.read(reads.own_memberships, user_id, list(later), upto)
    for room_id, events in found.items():
        if events and events[-1].membership == "join":
            then = events[-1]
            kept.append(
                replace(
                    later[room_id],
                    membership="join",
                    previous=events[-2].membership if len(events) > 1 else None,
                    event_id=then.event_id,
                    position=then.position or 0,
                )
            )
    return kept


async def pasts(
    db: Database, user_id: str, after: Mapping[str, int], upto: int
) -> dict[str, Past]:
    """What a user was in some rooms, each `after` a position of its own."""
    if not after:
        return {}
    found = await db.read(reads.own_memberships, user_id, list(after), upto)
    return {room_id: Past(events, after[room_id]) for room_id, events in found.items()}
