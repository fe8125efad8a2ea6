"""Who may see an event: the room's history visibility and the reader's membership, both at the event.

https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility

What counts is the state in which the event was sent, not today's. The one subtlety are events that change
that state themselves: a reader sees their own membership event, and a change of the visibility, if the
state before *or* after it would let them.

Whether a reader may look at the room at all (joined it, left it, or it is world readable now) is a question
for the caller; so are ignored senders, and that somebody who left reads no further than the leave.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

WORLD_READABLE: Final = "world_readable"
SHARED: Final = "shared"
INVITED: Final = "invited"
JOINED: Final = "joined"

_KNOWN = frozenset((WORLD_READABLE, SHARED, INVITED, JOINED))
# From open to closed, for choosing the more generous of two.
_OPENNESS = {WORLD_READABLE: 3, SHARED: 2, INVITED: 1, JOINED: 0}

VISIBILITY_KEY: Final = ("m.room.history_visibility", "")


class VisibleEvent(Protocol):
    """What visibility reads of an event; `homeserver.protocol.events.Event` has it."""

    @property
    def type(self) -> str: ...
    @property
    def state_key(self) -> str | None: ...
    @property
    def content(self) -> Mapping[str, Any]: ...


def history_visibility(content: Mapping[str, Any] | None) -> str:
    """The setting that the content of an `m.room.history_visibility` event makes; None: no such event."""
    value = content.get("history_visibility") if content is not None else None
    return value if isinstance(value, str) and value in _KNOWN else SHARED


def may_see(visibility: str, membership: str | None, *, joined_later: bool) -> bool:
    """The specification's rules 1 to 5, for the state at one event.

    `membership` is the reader's at the event, None where there was none; `joined_later`: did the reader
    join at any time after the event, whether or not they left again? Rule 4 is read with the sentence
    that the section begins with: whoever never accepts the invite sees nothing (docs/decisions, 0009).
    """
    if membership == "join" or visibility == WORLD_READABLE:
        return True
    return joined_later and (visibility == SHARED or (visibility == INVITED and membership == "invite"))


def may_see_event(
    event: VisibleEvent, user_id: str, visibility: str, membership: str | None, *, joined_later: bool
) -> bool:
    """Whether the reader may see this event.

    `visibility` (from `history_visibility`) and `membership` belong to the state *before* the event; what
    the event itself makes of them is taken from its content. With the state after the event in hand the
    answer is the same for all events but those two kinds.
    """
    if may_see(visibility, membership, joined_later=joined_later):
        return True
    after_visibility, after_membership = state_after(event, user_id, visibility, membership)
    if (after_visibility, after_membership) == (visibility, membership):
        return False
    return may_see(after_visibility, after_membership, joined_later=joined_later)


def state_after(
    event: VisibleEvent, user_id: str, visibility: str, membership: str | None
) -> tuple[str, str | None]:
    """(visibility, membership of the user) after the event: to walk along a timeline, oldest first."""
    if event.state_key is None:
        return visibility, membership
    if event.type == "m.room.member" and event.state_key == user_id:
        value = event.content.get("membership")
        return visibility, value if isinstance(value, str) else None
    if event.type == "m.room.history_visibility" and event.state_key == "":
        return history_visibility(event.content), membership
    return visibility, membership


def sees_all_while_joined(visibilities: Iterable[str]) -> bool:
    """Whether membership never matters to someone who is joined now: a shortcut for whole pages.

    True when all settings that were ever in force over the page are `shared` or `world_readable`.
    """
    return all(visibility in (SHARED, WORLD_READABLE) for visibility in visibilities)


def server_may_see(visibility: str, memberships: Iterable[str | None]) -> bool:
    """Whether a server may have an event over federation, by the memberships of its users at the event.

    https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events
    Where it may not, it gets the redacted form. That the server takes part in the room now is checked
    by the caller; then `shared` history is open to it.
    """
    if visibility in (WORLD_READABLE, SHARED):
        return True
    allowed = ("join", "invite") if visibility == INVITED else ("join",)
    return any(membership in allowed for membership in memberships)


def server_may_see_event(event: VisibleEvent, visibility: str, memberships: Iterable[str | None]) -> bool:
    """As `server_may_see`, with the before-or-after rule for changes of the visibility.

    `memberships` are those before the event, joined by what the event makes of one of the server's users.
    """
    if event.type == "m.room.history_visibility" and event.state_key == "":
        after = history_visibility(event.content)
        visibility = max(visibility, after, key=_OPENNESS.__getitem__)
    return server_may_see(visibility, memberships)
