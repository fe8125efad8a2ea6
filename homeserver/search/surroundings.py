"""What stood around a result, and what the people in it were called then.

https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3search
"""

from dataclasses import dataclass

from homeserver.rooms.aggregations import Bundle, aggregate
from homeserver.rooms.history import EVERYTHING
from homeserver.rooms.paging import members_at, scan, token
from homeserver.search.page import Eyes
from storage import timeline
from storage.events import StoredEvent
from storage.timeline import Window
from storage.transaction import Transaction


@dataclass(frozen=True, slots=True)
class AskedContext:
    before: int
    after: int
    profiles: bool


@dataclass(slots=True)
class Surroundings:
    """Events before are given from the nearest on. `members`: the senders' member events at the result."""

    before: list[StoredEvent]
    after: list[StoredEvent]
    start: str
    end: str
    members: list[StoredEvent]
    bundles: dict[str, Bundle]


def surroundings(tx: Transaction, eyes: Eyes, asked: AskedContext, stored: StoredEvent) -> Surroundings:
    room, room_id = stored.room, stored.event.room_id
    sight, upto = eyes.sight(room), eyes.arrived_upto(room)
    older = Window(room, upto=timeline.before(stored), arrived_upto=upto)
    newer = Window(room, above=timeline.place_of(stored), arrived_upto=upto)
    before = scan(tx, sight, older, room_id, EVERYTHING, backwards=True, limit=asked.before)
    after = scan(tx, sight, newer, room_id, EVERYTHING, backwards=False, limit=asked.after)
    around = [*before.events, *after.events]
    members: list[StoredEvent] = []
    if asked.profiles:
        senders = {each.event.sender for each in (*around, stored)}
        members = members_at(tx, room, stored.state_after, senders)
    return Surroundings(
        before.events,
        after.events,
        token(timeline.before(before.last or stored)),
        token(timeline.place_of(after.last or stored)),
        members,
        aggregate(tx, sight, room, around, upto),
    )
