"""State resolution of room version 1.

https://spec.matrix.org/v1.19/rooms/v1/#state-resolution

A key conflicts only where two sets hold *different* events for it; one set lacking it is no conflict.
The specification leaves two cases open, and both are filled as other servers fill them: the keys of one
pass do not see each other's outcome, and where no event for a key passes, the oldest stands.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha1

from homeserver.protocol.auth_rules import AuthError, auth_keys, check
from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.state_resolution.source import EventSource

_PASSES = ("m.room.power_levels", "m.room.join_rules", "m.room.member")


def resolve(state_sets: Sequence[Mapping[StateKey, str]], source: EventSource) -> dict[StateKey, str]:
    by_key: dict[StateKey, set[str]] = {}
    for state in state_sets:
        for key, event_id in state.items():
            by_key.setdefault(key, set()).add(event_id)
    resolved = {key: next(iter(ids)) for key, ids in by_key.items() if len(ids) == 1}
    conflicts = {key: ids for key, ids in by_key.items() if len(ids) > 1}
    source.load(event_id for ids in conflicts.values() for event_id in ids)
    ordered = {key: _by_depth(ids, source) for key, ids in conflicts.items()}

    for kind in _PASSES:
        outcome: dict[StateKey, str] = {}
        for key, events in ordered.items():
            is_power_levels = key == ("m.room.power_levels", "")
            if key[0] == kind and events and (kind != "m.room.power_levels" or is_power_levels):
                outcome[key] = _last_allowed(events, resolved, source).event_id
        resolved.update(outcome)

    others: dict[StateKey, str] = {}
    for key, events in ordered.items():
        if events and key not in resolved:
            others[key] = _deepest_allowed(events, resolved, source).event_id
    resolved.update(others)
    return resolved


def _by_depth(event_ids: set[str], source: EventSource) -> list[Event]:
    """By ascending depth, then descending SHA-1 of the ID."""
    events = [event for event in map(source.get, event_ids) if event is not None]
    events.sort(key=lambda e: sha1(e.event_id.encode(), usedforsecurity=False).digest(), reverse=True)
    events.sort(key=lambda event: event.depth)
    return events


def _last_allowed(events: list[Event], resolved: Mapping[StateKey, str], source: EventSource) -> Event:
    """Each event replaces the one before if it is allowed after it; the first that is not ends it."""
    accepted = events[0]
    for event in events[1:]:
        if not _is_allowed(event, accepted, resolved, source):
            break
        accepted = event
    return accepted


def _deepest_allowed(events: list[Event], resolved: Mapping[StateKey, str], source: EventSource) -> Event:
    for event in reversed(events):
        if _is_allowed(event, None, resolved, source):
            return event
    return events[0]


def _is_allowed(
    event: Event, accepted: Event | None, resolved: Mapping[StateKey, str], source: EventSource
) -> bool:
    keys = auth_keys(event.version, event.type, event.sender, event.state_key, event.content)
    auth_ids = [resolved[key] for key in keys if key in resolved]
    source.load(auth_ids)
    auth_events = (event for event in map(source.get, auth_ids) if event is not None)
    state = {event.key: event for event in auth_events if event.key is not None}
    if accepted is not None and accepted.key is not None:
        state[accepted.key] = accepted
    try:
        check(event, state)
    except AuthError:
        return False
    return True
