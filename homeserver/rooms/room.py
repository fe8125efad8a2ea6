"""A room in memory, and what one write adds to it.

A `Room` has two heads. `tip` is what the next event is built on; it runs ahead of the database, so many
events of one room may share a commit. `head` is the last committed one: what readers see.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred

from homeserver.errors import Forbidden
from homeserver.protocol.room_versions import RoomVersion
from homeserver.rooms.event_store import apply_redaction
from homeserver.rooms.head import Committed, Draft, Head
from homeserver.rooms.state import NewSnapshot, RoomState
from storage import events, snapshots
from storage import rooms as store
from storage.database import Transaction
from storage.events import StoredEvent
from storage.writer import Job

TIMELINE_KEPT = 64
STATES_KEPT = 500
Also = Callable[[Transaction, str], None]


class Room:
    """A room in memory. `timeline` holds the last events of it, all those after `timeline_from`.

    `states` holds the states after the last events, and after each that is not committed yet; `unsaved` are
    snapshots that the next write brings along; `resolved` are states by the snapshots they were made of.
    While `held`, nothing new is built on the tip. `partial`: the members of the state are still to come.
    `gap` is the position of the last event of the timeline before which is a gap (`graph.after_gap`), or 0.
    `beside` grows when events are stored outside the timeline. `epoch` is another object once anything
    happened but a message that follows known ones.
    """

    def __init__(self, nid: int, room_id: str, version: RoomVersion, head: Head, position: int) -> None:
        self.nid = nid
        self.room_id = room_id
        self.version = version
        self.head = head
        self.tip = head
        self.last_job: Job | None = None
        self.pending: dict[str, StoredEvent] = {}
        self.position = position
        self.timeline: deque[StoredEvent] = deque()
        self.timeline_from = position
        self.states: dict[str, RoomState] = {}
        self.unsaved: list[NewSnapshot] = []
        self.resolved: dict[frozenset[int | None], RoomState] = {}
        self.held: list[Deferred[None]] | None = None
        self.partial = False
        self.gap = 0
        self.beside = 0
        self.epoch = object()

    @property
    def stamp(self) -> tuple[object, int]:
        """What was read of who may see the room's history holds as long as this stays the same."""
        return (self.epoch, self.beside)

    def is_resident(self, server_name: str) -> bool:
        """Whether the server has members here; if not, it does not hear what happens in the room."""
        return server_name in self.tip.servers

    def remember(self, states: Mapping[str, RoomState]) -> None:
        self.states.update(states)
        if len(self.states) > 2 * STATES_KEPT:
            for event_id in list(self.states)[:STATES_KEPT]:
                if event_id not in self.pending:
                    del self.states[event_id]

    def membership(self, user_id: str) -> str | None:
        return self.head.membership(user_id)

    def committed(self, committed: Committed) -> None:
        stored = committed.stored
        self.head = committed.head
        self.position = stored.position or self.position
        self.pending.pop(stored.event_id, None)
        if committed.after_gap:
            self.gap = self.position
        self.timeline.append(stored)
        if len(self.timeline) > TIMELINE_KEPT:
            self.timeline_from = self.timeline.popleft().position or self.timeline_from
        if stored.event.is_state or stored.event.redacts is not None:
            self.epoch = object()
        if committed.redacts is not None:
            for each in self.timeline:
                if each.event_id == committed.redacts:
                    apply_redaction(each, stored.event_id)

    def since(self, position: int, upto: int) -> list[StoredEvent] | None:
        """The events with position < p <= upto, or None where memory does not go back so far."""
        if position < self.timeline_from:
            return None
        return [stored for stored in self.timeline if position < (stored.position or 0) <= upto]


@dataclass(slots=True)
class Batch:
    """What one write adds to a room: events of its timeline, others beside it, and the head after them."""

    head: Head
    appends: list[store.Append] = field(default_factory=list)
    asides: list[events.Aside] = field(default_factory=list)
    events: dict[str, StoredEvent] = field(default_factory=dict)
    states: dict[str, RoomState] = field(default_factory=dict)

    @classmethod
    def of(cls, draft: Draft) -> "Batch":
        return cls(draft.head, draft.appends, [], draft.built, draft.states)


def write(
    tx: Transaction,
    room: tuple[int, str],
    unsaved: Sequence[NewSnapshot],
    asides: Sequence[events.Aside],
    appends: Sequence[store.Append],
    also: Also | None,
) -> None:
    nid, room_id = room
    for number, parent, delta in unsaved:
        snapshots.add(tx, number, nid, parent, delta)
    events.add_asides(tx, asides)
    if appends:
        store.append(tx, appends)
    if also is not None:
        also(tx, room_id)


class RoomMovedOn(Forbidden):
    """An event before this one in the same room could not be written; it may be tried again."""

    status, errcode = 503, "M_UNKNOWN"

    def __init__(self) -> None:
        super().__init__("The room could not be written to just now; please try again.")
