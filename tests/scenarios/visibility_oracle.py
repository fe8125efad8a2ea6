"""Who may see which event through which endpoint, from the words of the specification alone.

https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility

Written without sight of any server. It knows nothing but a room's events, oldest first, and who reads;
where the specification is silent or contradicts itself the answer is `EITHER`, and the comment says why.
"""

from collections.abc import Iterable, Sequence
from enum import IntEnum
from functools import cached_property
from typing import Any

Json = dict[str, Any]
Key = tuple[str, str]

SETTINGS = ("world_readable", "shared", "invited", "joined")

# "Guest users … will only have access to a subset of the API": the endpoints here that are on that list.
FOR_GUESTS = {"messages", "context", "event", "state", "state_event", "members", "initialSync"}


class Verdict(IntEnum):
    NO = 0
    EITHER = 1
    YES = 2


NO, EITHER, YES = Verdict.NO, Verdict.EITHER, Verdict.YES

# The status of a refusal, where the description of the endpoint lists one; `context` and
# `timestamp_to_event` list none for somebody who may not look.
REFUSALS = {
    "messages": {403},
    "threads": {403},
    "state": {403},
    "state_event": {403},
    "members": {403},
    "joined_members": {403},
    "initialSync": {403},
    "event": {404},
    "relations": {404},
    "context": {403, 404},
    "timestamp_to_event": {403, 404},
}


class Reading:
    """One reader's view of one room, now that all of `events` have happened.

    `forgot` is the ID of the membership event after which the reader last forgot the room.
    """

    def __init__(self, events: Sequence[Json], reader: str, forgot: str = "", guest: bool = False) -> None:
        self.events = events
        self.reader = reader
        self.guest = guest
        self.index = {event["event_id"]: i for i, event in enumerate(events)}
        self._forgot_at = self.index.get(forgot, -1) + 1  # nothing from before this counts without doubt
        self.own = [i for i, event in enumerate(events) if key_of(event) == ("m.room.member", reader)]
        self._visibility = self._values("m.room.history_visibility", "", "history_visibility", "shared")
        self._membership = self._values("m.room.member", reader, "membership", "leave")
        self._verdicts: dict[int, Verdict] = {}
        self._children: dict[str, list[tuple[str, str]]] = {}
        for event in events:
            if relation := event["content"].get("m.relates_to"):
                siblings = self._children.setdefault(relation["event_id"], [])
                siblings.append((event["event_id"], relation["rel_type"]))

    def _values(self, event_type: str, state_key: str, field: str, default: str) -> list[str]:
        """The value before the first event, and then after each."""
        values = [default]
        for event in self.events:
            hit = key_of(event) == (event_type, state_key)
            values.append(event["content"].get(field, default) if hit else values[-1])
        return values

    # --- the reader now

    @property
    def membership(self) -> str:
        return self._membership[-1]

    @property
    def world_readable_now(self) -> bool:
        return self._visibility[-1] == "world_readable"

    @property
    def was_member(self) -> bool:
        return "join" in self._membership

    @property
    def forgotten(self) -> bool:
        """Forgotten, and no invite, knock or join since."""
        return self._forgot_at > 0 and self.own[-1] < self._forgot_at

    @cached_property
    def departure(self) -> int | None:
        """The event with which somebody who once was joined and now is not ceased to be."""
        if self.membership == "join":
            return None
        leaving = [i for i in self.own if self._membership[i] == "join" != self._membership[i + 1]]
        return leaving[-1] if leaving else None

    @cached_property
    def arrival(self) -> int:
        """The event with which they last became joined; -1 for those who never did."""
        joining = [i for i in self.own if self._membership[i] != "join" == self._membership[i + 1]]
        return joining[-1] if joining else -1

    # --- events

    def may_see(self, event_id: str) -> Verdict:
        """By "Server behaviour" of the module, for one event asked for by its ID."""
        i = self.index[event_id]
        if i not in self._verdicts:
            self._verdicts[i] = self._may_see(i)
        return self._verdicts[i]

    def _may_see(self, i: int) -> Verdict:
        if "world_readable" in self._visibilities_at(i):
            # "A banned user … will not be able to send or receive events in the room", but anybody may
            # read this; "after [forget] a user will no longer be able to retrieve history", but anybody may.
            doubtful = self.membership == "ban" or self.forgotten
            return max(EITHER if doubtful else YES, self._as_member(i))
        return self._as_member(i)

    def _as_member(self, i: int) -> Verdict:
        if self.forgotten:
            return NO
        verdict = self._by_membership(i, 0)
        if self._forgot_at and verdict > self._by_membership(i, self._forgot_at):
            # "No longer able to retrieve history": whether coming back gives back what one saw as a
            # member before forgetting is not said.
            return EITHER
        return verdict

    def _by_membership(self, i: int, since: int) -> Verdict:
        """Rules 2 to 5, from the reader's memberships at `since` and later."""
        joins_later = any(self._membership[j + 1] == "join" for j in self.own if j > i and j >= since)
        verdict = NO
        for visibility in self._visibilities_at(i):
            for membership in self._memberships_at(i, since):
                if membership == "join" or (visibility == "shared" and joins_later):
                    return YES
                if membership == "invite" and visibility == "invited":
                    # Rule 4 allows it; but "in all cases except world_readable, a user needs to join a
                    # room to view events in that room".
                    verdict = max(verdict, YES if joins_later else EITHER)
        return verdict

    def _visibilities_at(self, i: int) -> set[str]:
        """Before *or* after, for the visibility's own event; of others both are the same."""
        return set(self._visibility[i : i + 2])

    def _memberships_at(self, i: int, since: int) -> set[str]:
        before, after = self._membership[i : i + 2]
        return ({before} if i > since or not since else set()) | ({after} if i >= since else set())

    def lists(self, event_id: str) -> Verdict:
        """As `may_see`, but among other events and not asked for by its ID."""
        verdict = self.may_see(event_id)
        if self.departure is not None and self.index[event_id] > self.departure:
            # "No events received after they left", even if anybody else may read them.
            return min(verdict, EITHER)
        return verdict

    # --- endpoints as a whole

    def may_ask(self, endpoint: str) -> Verdict:
        """Whether an endpoint about the whole room answers at all."""
        if self.guest and endpoint not in FOR_GUESTS:
            return NO
        if endpoint == "joined_members":  # "the current user must be in the room for it to work"
            return YES if self.membership == "join" else NO
        if endpoint in ("state", "state_event", "members", "initialSync"):
            return self._may_ask_for_state()
        verdict = self._may_page()
        if endpoint == "threads" and self.membership == "ban":
            return min(verdict, EITHER)  # "example reasons for rejection: … has been banned"
        return verdict

    def _may_ask_for_state(self) -> Verdict:
        """ "You aren't a member of the room and weren't previously a member of the room" is refused.

        `initialSync` says so too and is there for those who never joined: peeking is not excluded by it.
        """
        if self.was_member:
            return EITHER if self._forgot_at and self.membership != "join" else YES
        if self.world_readable_now:
            return EITHER if self.membership == "ban" or self.forgotten else YES
        if self.membership == "invite" and self._visibility[-1] == "invited":
            return EITHER  # by rule 4 what is sent now may be seen
        return NO

    def _may_page(self) -> Verdict:
        if self.membership == "join" or (self.was_member and not self._forgot_at):
            return YES  # "still … allowed to retrieve history … which they were previously allowed to see"
        if self.world_readable_now:
            return EITHER if self.membership == "ban" or self.forgotten else YES
        # "403: You aren't a member of the room", though there are events that one may see.
        return EITHER if any(self.may_see(event_id) for event_id in self.index) else NO

    # --- state

    def state_at(self, i: int) -> dict[Key, str]:
        """The IDs of the state after event `i`."""
        return {key: event["event_id"] for event in self.events[: i + 1] if (key := key_of(event))}

    def is_state(self, event_ids: Iterable[str], *only: str) -> bool:
        """Whether these are the state, or its part of the type `only`, that the reader is to get."""
        given = set(event_ids)
        now = len(self.events) - 1
        if self.membership == "join":
            return given == self._ids(now, only)
        acceptable = []
        if self.departure is not None:  # "the state of the room when they left": before or after leaving
            acceptable = [self._ids(self.departure, only), self._ids(self.departure - 1, only)]
        invited = self.membership == "invite" and self._visibility[-1] == "invited"
        if self.world_readable_now or invited:
            acceptable.append(self._ids(now, only))
            if not self.was_member or self.forgotten:
                # "The current state", but "for clients which have not joined a room, servers are required
                # to only return events where … the event had … world_readable".
                current = self._ids(now, only)
                return given in acceptable or self._certain(current) <= given <= current
        return given in acceptable

    def is_state_at(self, last: int, event_ids: set[str]) -> bool:
        """Whether these are "the state of the room at the last event returned": before or after it."""
        for i in (last, last - 1):
            whole = self._ids(i, ())
            # To those who never joined only what was sent while the room was world readable is sure to go.
            certain = whole if self.was_member and not self.forgotten else self._certain(whole)
            if certain <= event_ids <= whole:
                return True
        return False

    def is_member_list_at(self, i: int, event_ids: set[str]) -> bool:
        """Whether these are the members after event `i`, or, if that was before, when the reader left."""
        whole = self._ids(i, ("m.room.member",))
        acceptable = [whole]
        if self.departure is not None and self.departure < i:
            left = [self._ids(at, ("m.room.member",)) for at in (self.departure, self.departure - 1)]
            # To anybody else a room that is world readable now tells what it was then.
            acceptable = [*left, whole] if self.world_readable_now else left
        if self.world_readable_now and (not self.was_member or self.forgotten):
            return event_ids in acceptable or self._certain(whole) <= event_ids <= whole
        return event_ids in acceptable

    def _certain(self, event_ids: set[str]) -> set[str]:
        return {event_id for event_id in event_ids if self.may_see(event_id) is YES}

    def _ids(self, i: int, only: tuple[str, ...]) -> set[str]:
        return {event_id for key, event_id in self.state_at(i).items() if not only or key[0] in only}

    # --- sync

    def section(self, since: int) -> tuple[str, Verdict]:
        """The part of `rooms` in a sync with `include_leave`, and whether the room must be in it.

        The sync tells what followed the first `since` events.
        """
        if not self.own:
            return "", NO
        if self.membership not in ("leave", "ban"):
            return self.membership, YES if self.membership == "join" or self.own[-1] >= since else EITHER
        if self.forgotten:
            # "Rooms which have been forgotten will never appear"; but then a leave that was followed by
            # forgetting, before a client synced or as one ("just as if"), would never be told.
            return "leave", NO if since > self.own[-1] or not since else EITHER
        # "The rooms that the user has left or been banned from": whether one leaves a room by declining
        # an invite to it is not said.
        if not self.was_member:
            return "leave", EITHER
        return "leave", YES if self.departure is not None and self.departure >= since else EITHER

    def syncs(self, event_id: str) -> Verdict:
        """In a timeline of sync; that of a room left goes "up to the point when the user left"."""
        i = self.index[event_id]
        if self.departure is not None and i > self.departure:
            return EITHER if i in self.own else NO
        if i in self.own and i == self.own[-1] and (self.forgotten or not self.was_member):
            return EITHER  # how else should a client learn that its invite was taken back?
        verdict = self.lists(event_id)
        return verdict if self.was_member else min(verdict, EITHER)

    def finds(self, event_id: str) -> Verdict:
        """By search: "in all rooms that the user has been in, including those that they have left"."""
        verdict = self.lists(event_id)
        return verdict if self.was_member else min(verdict, EITHER)

    def stretch(self, event_id: str) -> tuple[str, int]:
        """The same for events between which neither the setting nor the reader's membership changes."""
        i = self.index[event_id]
        return self._visibility[i], sum(j < i for j in self.own)

    # --- what stands beside an event

    def membership_after(self, event_id: str) -> str:
        return self._membership[self.index[event_id] + 1]

    def may_see_replaced(self, event_id: str, replaced: str) -> Verdict:
        """Whether prev_content may come, "only … if the client has permission to see the previous event"."""
        verdict = self.may_see(replaced)
        if self._membership[self.index[event_id]] != "join" or self.forgotten:
            return verdict
        # Who was joined just before had that event in the state of the room, which is not held back from
        # members; whether this is a permission to see it is not said.
        return max(verdict, EITHER)

    def children(self, event_id: str, rel_type: str = "") -> list[str]:
        children = self._children.get(event_id, ())
        return [child for child, child_type in children if rel_type in ("", child_type)]


def key_of(event: Json) -> Key | None:
    return (event["type"], event["state_key"]) if "state_key" in event else None
