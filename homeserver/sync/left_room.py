"""One room of a sync that the reader has left, was kicked or banned from, or whose invite they declined.

https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync_response-200_left-room

History stops where the last stay in the room ended. What the reader is now is always shown, whether it
ended that stay or an invite that came after it.
"""

from typing import Any, NamedTuple

from homeserver.rooms.event_store import EventStore
from homeserver.rooms.sight import Reader
from homeserver.rooms.sight import departure as stay_end
from homeserver.sync.event_format import EventFormat
from homeserver.sync.request import SyncRequest
from homeserver.sync.room_parts import (
    Reading,
    Timeline,
    has_url,
    hidden_in,
    previous_batch,
    snapshot_at_start,
    state_of,
    stored_timeline,
)
from homeserver.sync.tokens import StreamToken
from storage import snapshots
from storage import sync as reads
from storage.database import Database, Transaction
from storage.events import StoredEvent, by_id
from storage.memberships import Membership
from storage.snapshots import StateEntry

MEMBER = "m.room.member"


class Left(NamedTuple):
    """`state_ids`: the whole state, where the reader gets it afresh."""

    timeline: Timeline
    state_ids: list[str]


class LeftRooms:
    def __init__(self, db: Database, events: EventStore, event_format: EventFormat) -> None:
        self._db = db
        self._events = events
        self._format = event_format

    async def part(
        self,
        request: SyncRequest,
        row: Membership,
        since: int,
        ignored: frozenset[str],
        account_data: list[dict[str, Any]],
    ) -> dict[str, Any]:
        """`since`: from where the reader, who knows what was before, follows on; 0 for all they may see."""
        left = await self._db.read(read_left, request, row, since, ignored)
        timeline = left.timeline
        if left.state_ids:
            found = await self._events.many(left.state_ids)
            state = list(found.values())
        else:
            changed = dict(timeline.hidden_state)
            if request.use_state_after:
                changed.update(state_of(timeline.events))
            state = list(changed.values())
        state_filter = request.filter.room.state
        state = [
            stored
            for stored in state
            if state_filter.matches(stored.event.type, stored.event.sender, has_url(stored), row.room_id)
        ]
        part: dict[str, Any] = {
            "timeline": {
                "events": await self._format.timeline(request, timeline, row.position),
                # What is told afresh may overlap what the client had of an earlier stay.
                "limited": timeline.limited or (request.since is not None and not since),
                "prev_batch": str(previous_batch(timeline) or StreamToken(row.position)),
            },
            "account_data": {"events": account_data},
        }
        state_events = await self._format.events(request, state, None)
        if request.use_state_after:
            part["state_after"] = part["org.matrix.msc4222.state_after"] = {"events": state_events}
        else:
            part["state"] = {"events": state_events}
        return part


def read_left(
    tx: Transaction, request: SyncRequest, row: Membership, since: int, ignored: frozenset[str]
) -> Left:
    room = reads.room_numbers(tx, [row.room_id])[row.room_id]
    reader = Reader(request.user_id, False, ignored)
    # Of a room that was forgotten since, no more is told than that it was left.
    stay = stay_end(tx, room, row.user_id) if not row.forgotten else None
    upto = stay.position if stay is not None else 0
    reading = Reading(room, row.room_id, since, upto, reader, sees_all=False)
    timeline = stored_timeline(tx, reading, request)
    departure = by_id(tx, [row.event_id])[row.event_id]
    state_ids = []
    if stay is not None and not since:
        state_ids = _whole_state(tx, request, timeline, stay.snapshot, departure)
    if all(stored.nid != departure.nid for stored in timeline.events):
        timeline.hidden_state[MEMBER, row.user_id] = departure
        if _wants(request, departure):
            timeline.events.append(departure)
            timeline.memberships[departure.nid] = row.membership
            timeline.replaced_unseen |= {departure.nid}
            del timeline.hidden_state[MEMBER, row.user_id]
    return Left(timeline, state_ids)


def _whole_state(
    tx: Transaction, request: SyncRequest, timeline: Timeline, last: int, departure: StoredEvent
) -> list[str]:
    """The IDs of the state before the timeline or after it. `last`: as it was when the stay ended."""
    if request.use_state_after:
        entries = snapshots.read(tx, last)
    else:
        start = snapshot_at_start(timeline) if timeline.events else last
        entries = snapshots.read(tx, start) if start is not None else {}
        entries.update(hidden_in(timeline))
    told = any(stored.event.key == departure.event.key for stored in timeline.events)
    if departure.event.key is not None and (request.use_state_after or not told):
        entries[departure.event.key] = StateEntry(departure.nid, departure.event_id, None)
    return [entry.event_id for entry in entries.values()]


def _wants(request: SyncRequest, departure: StoredEvent) -> bool:
    event = departure.event
    limit = request.timeline_limit
    return limit > 0 and request.filter.room.timeline.matches(event.type, event.sender, None, event.room_id)
