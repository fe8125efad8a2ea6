"""An event graph walked backwards: what other servers ask for when they lack a room's history.

https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events

Only events with a known state are answered: outliers have no place in the graph, and neither has an invite
into a room that this server joined later. Soft-failed events are part of it, since others may have built on
them. The walk passes through rejected events, but they are not told.
"""

import heapq
from collections.abc import Collection, Iterable, Sequence

from storage import timeline
from storage.events import REJECTED, StoredEvent, by_id
from storage.timeline import Window
from storage.transaction import Transaction

# Rejected events cost steps without giving anything.
STEPS_FOR_EACH = 5


def before_and_including(
    tx: Transaction, room: int, event_ids: Collection[str], limit: int
) -> list[StoredEvent]:
    """These events and those before them, the deepest first, as many as `limit`."""
    known = _in_graph(by_id(tx, event_ids).values(), room)
    if known:
        known.update(_likely(tx, room, known.values(), limit))
    walk: list[tuple[int, int, str]] = []
    reached: set[str] = set()
    _reach(tx, room, event_ids, known, reached, walk)
    found: list[StoredEvent] = []
    for _step in range(limit * STEPS_FOR_EACH):
        if not walk or len(found) == limit:
            break
        _, _, event_id = heapq.heappop(walk)
        stored = known[event_id]
        if stored.status != REJECTED:
            found.append(stored)
        _reach(tx, room, stored.event.prev_events, known, reached, walk)
    return found


def between(
    tx: Transaction,
    room: int,
    earliest: Collection[str],
    latest: Collection[str],
    limit: int,
    min_depth: int,
) -> list[StoredEvent]:
    """The events before `latest` that are not `earliest` or before them, breadth first; oldest first."""
    seen = {*earliest, *latest}
    found: list[StoredEvent] = []
    layer = [stored for stored in by_id(tx, latest).values() if stored.room == room]
    steps = limit * STEPS_FOR_EACH
    while layer and steps > 0 and len(found) < limit:
        wanted = dict.fromkeys(each for stored in layer for each in stored.event.prev_events)
        fresh = [event_id for event_id in wanted if event_id not in seen][:steps]
        if not fresh:
            break
        steps -= len(fresh)
        seen.update(fresh)
        known = _in_graph(by_id(tx, fresh).values(), room)
        layer = [known[each] for each in fresh if each in known and known[each].event.depth >= min_depth]
        found.extend(stored for stored in layer if stored.status != REJECTED)
    del found[limit:]
    return sorted(found, key=lambda stored: (stored.event.depth, stored.position or 0))


def _reach(
    tx: Transaction,
    room: int,
    event_ids: Iterable[str],
    known: dict[str, StoredEvent],
    reached: set[str],
    walk: list[tuple[int, int, str]],
) -> None:
    """Puts those that were not reached before, and are known, into the walk."""
    fresh = [event_id for event_id in event_ids if event_id not in reached]
    reached.update(fresh)
    missing = [event_id for event_id in fresh if event_id not in known]
    if missing:
        known.update(_in_graph(by_id(tx, missing).values(), room))
    for event_id in dict.fromkeys(fresh):
        stored = known.get(event_id)
        if stored is not None:
            heapq.heappush(walk, (-stored.event.depth, -(stored.position or 0), event_id))


def _likely(
    tx: Transaction, room: int, start: Iterable[StoredEvent], limit: int
) -> dict[str, StoredEvent]:
    """The page of the timeline that the walk will mostly go through: one read instead of one a step."""
    placed: Sequence[StoredEvent] = [stored for stored in start if stored.position is not None]
    if not placed:
        return {}
    upto = max(timeline.place_of(stored) for stored in placed)
    page = timeline.page(tx, Window(room, upto=upto), backwards=True, limit=limit)
    return {stored.event_id: stored for stored in page}


def _in_graph(events: Iterable[StoredEvent], room: int) -> dict[str, StoredEvent]:
    return {
        stored.event_id: stored
        for stored in events
        if stored.room == room and (stored.state_after is not None or stored.status == REJECTED)
    }
