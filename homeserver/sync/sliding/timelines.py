"""The last events of many rooms at once, for rooms that are told afresh or with more of their past.

Most rooms have always shown their history to members: those are read together, a few statements for all of
them. The others are judged event by event, as /sync does it.
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import orjson

from homeserver.protocol import visibility
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.room import Room
from homeserver.rooms.sight import Reader
from homeserver.sync.filter_rules import Filter, RoomEventFilter, RoomFilter
from homeserver.sync.request import SyncRequest
from homeserver.sync.room_parts import Reading, Timeline, stored_timeline
from homeserver.sync.sliding.room_list import Entry
from storage import graph
from storage import sliding_sync as store
from storage.database import Transaction


class Past(NamedTuple):
    """A room to read, and how many of its last events."""

    nid: int
    room_id: str
    limit: int


def sync_request(user_id: str, device_id: str, limit: int) -> SyncRequest:
    """What /sync would be asked, to be told the same of a room."""
    return SyncRequest(user_id, device_id, None, _filter(limit), use_state_after=True)


@cache
def _filter(limit: int) -> Filter:
    return Filter(room=RoomFilter(timeline=RoomEventFilter(limit=limit)))


def recent(
    room: Room, entry: Entry, limit: int, upto: int, ignored: frozenset[str]
) -> Timeline | None:
    """The last events of a room from memory; None where they are not all there, or not all to be seen.

    The reader joined before the first of them, so was in the room at each.
    """
    if ignored or not entry.facts.open:
        return None
    events = [stored for stored in room.timeline if (stored.position or 0) <= upto]
    if len(events) <= limit and room.timeline_from > 0:
        return None
    kept = events[len(events) - limit :] if len(events) > limit else events
    if kept and (kept[0].position or 0) < max(entry.row.position, room.gap):
        return None
    return Timeline(kept, len(events) > limit, {}, {}, kept, upto)


def last_timelines(
    tx: Transaction, user_id: str, pasts: Sequence[Past], upto: int, ignored: frozenset[str]
) -> dict[str, Timeline]:
    """By room ID, for rooms the user is joined to."""
    numbers = [past.nid for past in pasts]
    settings = defaultdict(list)
    for room, json in store.visibility_settings(tx, numbers):
        settings[room].append(visibility.history_visibility(orjson.loads(json).get("content")))
    plain = [past for past in pasts if visibility.sees_all_while_joined(settings[past.nid])]
    arrivals = store.own_arrivals(tx, numbers, user_id)
    events = store.last_events(tx, [(past.nid, past.limit + 1) for past in plain], upto)
    found = {}
    gapped = graph.which_have_gaps(tx, numbers)
    for past in plain:
        last = events[past.nid]
        shown = [stored for stored in last if stored.event.is_state or stored.event.sender not in ignored]
        if len(shown) <= past.limit < len(last):
            continue  # somebody ignored hides how much there is
        limited = len(shown) > past.limit
        kept = shown[len(shown) - past.limit :] if limited else shown
        gap = graph.after_gap(tx, past.nid, kept) if past.nid in gapped else None
        if gap is not None:
            limited, kept = True, kept[gap:]
        memberships = {
            stored.nid: _at(arrivals.get(past.nid, ()), stored.position or 0) for stored in kept
        }
        found[past.room_id] = Timeline(kept, limited, {}, memberships, kept, upto)
    for past in pasts:
        if past.room_id not in found:
            reader = Reader(user_id, True, ignored)
            reading = Reading(past.nid, past.room_id, 0, upto, reader, sees_all=False)
            found[past.room_id] = stored_timeline(tx, reading, sync_request(user_id, "", past.limit))
    return found


def shared(timelines: dict[str, Timeline], events: EventStore) -> dict[str, Timeline]:
    """The same with each event as the one object in memory."""
    for timeline in timelines.values():
        timeline.events = events.share(timeline.events)
    return timelines


def _at(arrivals: Sequence[tuple[int, str]], position: int) -> str:
    """The user's membership at a position."""
    membership = "leave"
    for arrived, each in arrivals:
        if arrived > position:
            break
        membership = each
    return membership
