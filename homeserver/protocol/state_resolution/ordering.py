"""The two orders in which conflicting events are applied.

https://spec.matrix.org/v1.19/rooms/v12/#definitions

*Reverse topological power ordering* lets the powerful speak first among events that do not depend on each
other; *mainline ordering* sorts the rest by the power levels event they stood on.
"""

import heapq
import math
from collections.abc import Collection, Iterable

from homeserver.protocol.events import Event
from homeserver.protocol.power_levels import PowerLevels
from homeserver.protocol.state_resolution.source import EventSource


def is_power_event(event: Event) -> bool:
    if event.type in ("m.room.power_levels", "m.room.join_rules", "m.room.create"):
        return event.state_key == ""
    return event.membership in ("leave", "ban") and event.sender != event.state_key


def with_auth_chains(event_ids: Iterable[str], within: Collection[str], source: EventSource) -> set[str]:
    """The events and what of their auth chains lies in `within`, without leaving `within` on the way."""
    seen = set(event_ids)
    queue = list(seen)
    while queue:
        for auth_id in source.auth_events(queue.pop()):
            if auth_id in within and auth_id not in seen:
                seen.add(auth_id)
                queue.append(auth_id)
    return seen


def power_ordering(events: Collection[Event], create: Event | None, source: EventSource) -> list[Event]:
    """Earliest first, each event after those of its auth events that are among `events`."""
    by_id = {event.event_id: event for event in events}
    waiting: dict[str, int] = {}
    dependants: dict[str, list[Event]] = {}
    ready: list[tuple[int, int, str]] = []
    source.load(auth_id for event in events for auth_id in event.auth_events)
    for event in events:
        needs = {auth_id for auth_id in event.auth_events if auth_id in by_id}
        waiting[event.event_id] = len(needs)
        for auth_id in needs:
            dependants.setdefault(auth_id, []).append(event)
        if not needs:
            ready.append(_power_key(event, create, source))
    heapq.heapify(ready)
    ordered = []
    while ready:
        event = by_id[heapq.heappop(ready)[2]]
        ordered.append(event)
        for dependant in dependants.get(event.event_id, ()):
            waiting[dependant.event_id] -= 1
            if not waiting[dependant.event_id]:
                heapq.heappush(ready, _power_key(dependant, create, source))
    return ordered


def mainline_ordering(
    events: Collection[Event], power_levels: Event | None, source: EventSource
) -> list[Event]:
    """By the mainline of `power_levels`, oldest position first."""
    positions: dict[str, float] = {}
    step = power_levels
    while step is not None and step.event_id not in positions:
        positions[step.event_id] = len(positions)
        step = _power_levels_of(step, source)
    source.load(auth_id for event in events for auth_id in event.auth_events)

    def key(event: Event) -> tuple[float, int, str]:
        return -_mainline_position(event, positions, source), event.origin_server_ts, event.event_id

    return sorted(events, key=key)


def _mainline_position(event: Event, positions: dict[str, float], source: EventSource) -> float:
    """Where the event's line of power levels meets the mainline; every step on the way is remembered."""
    path: list[str] = []
    position = math.inf
    step = _power_levels_of(event, source)
    while step is not None:
        known = positions.get(step.event_id)
        if known is not None:
            position = known
            break
        positions[step.event_id] = math.inf
        path.append(step.event_id)
        step = _power_levels_of(step, source)
    for event_id in path:
        positions[event_id] = position
    return position


def _power_levels_of(event: Event, source: EventSource) -> Event | None:
    return _auth_event(event, "m.room.power_levels", source)


def _auth_event(event: Event, kind: str, source: EventSource) -> Event | None:
    for auth_id in event.auth_events:
        auth_event = source.get(auth_id)
        if auth_event is not None and auth_event.type == kind and auth_event.state_key == "":
            return auth_event
    return None


def _power_key(event: Event, create: Event | None, source: EventSource) -> tuple[int, int, str]:
    """Orders by the sender's power as the event's own auth events tell it."""
    if not event.version.room_id_is_create_id:
        create = _auth_event(event, "m.room.create", source) or create
    power = 0
    if create is not None:
        power = PowerLevels.of(event.version, create, _power_levels_of(event, source)).user(event.sender)
    return -power, event.origin_server_ts, event.event_id
