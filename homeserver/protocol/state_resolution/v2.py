"""State resolution of room versions 2 to 11, and its revision 2.1 of room version 12.

https://spec.matrix.org/v1.19/rooms/v12/#state-resolution

2.1 differs in two places: the checks start from an empty state instead of the unconflicted one, and the
conflicted state subgraph joins the full conflicted set; together they replay how the conflicting events
came about instead of trusting what one side lost. Events that were rejected are never admitted into the
state, though the specification would let some of them come back: no server that hides rejected events
from its clients could then show its own state.
"""

from collections.abc import Iterable, Mapping, Sequence

from homeserver.protocol.auth_rules import AuthError, auth_keys, check
from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.room_versions import RoomVersion
from homeserver.protocol.state_resolution.auth_chains import auth_difference, conflicted_subgraph
from homeserver.protocol.state_resolution.ordering import (
    is_power_event,
    mainline_ordering,
    power_ordering,
    with_auth_chains,
)
from homeserver.protocol.state_resolution.source import EventSource

_CREATE: StateKey = ("m.room.create", "")
_POWER_LEVELS: StateKey = ("m.room.power_levels", "")


def resolve(
    version: RoomVersion, state_sets: Sequence[Mapping[StateKey, str]], source: EventSource
) -> dict[StateKey, str]:
    unconflicted, conflicted = separate(state_sets)
    if not conflicted:
        return unconflicted
    full = conflicted | auth_difference(state_sets, conflicted, unconflicted, source)
    if version.state_resolution == "v2.1":
        full |= conflicted_subgraph(conflicted, source)
    source.load(full)
    events = {event_id: event for event_id in full if (event := source.get(event_id)) is not None}
    create = _create_event(version, events.values(), unconflicted, source)

    power_ids = [event_id for event_id, event in events.items() if is_power_event(event)]
    first_ids = with_auth_chains(power_ids, events.keys(), source)
    first = power_ordering([events[event_id] for event_id in first_ids], create, source)
    resolved = {} if version.state_resolution == "v2.1" else dict(unconflicted)
    iterative_auth_checks(first, resolved, create, source)

    power_levels_id = resolved.get(_POWER_LEVELS)
    power_levels = None if power_levels_id is None else source.get(power_levels_id)
    rest = [event for event_id, event in events.items() if event_id not in first_ids]
    iterative_auth_checks(mainline_ordering(rest, power_levels, source), resolved, create, source)

    resolved.update(unconflicted)
    return resolved


def separate(
    state_sets: Sequence[Mapping[StateKey, str]],
) -> tuple[dict[StateKey, str], set[str]]:
    """The unconflicted state map and the conflicted state set; a key that a set lacks conflicts."""
    unconflicted = dict(state_sets[0])
    conflicted: set[str] = set()
    for state in state_sets[1:]:
        # Once a key has conflicted its further values are conflicted too: it is never put back.
        differing = [key for key, event_id in unconflicted.items() if state.get(key) != event_id]
        for key in differing:
            conflicted.add(unconflicted.pop(key))
        conflicted.update(event_id for key, event_id in state.items() if key not in unconflicted)
    return unconflicted, conflicted


def iterative_auth_checks(
    events: Sequence[Event], resolved: dict[StateKey, str], create: Event | None, source: EventSource
) -> None:
    """Apply to `resolved`, in order, those events that the rules allow at their turn."""
    source.load(auth_id for event in events for auth_id in event.auth_events)
    for event in events:
        key = event.key
        if key is None or event.rejected:
            continue
        try:
            check(event, _auth_state(event, resolved, create, source))
        except AuthError:
            continue
        resolved[key] = event.event_id


def _auth_state(
    event: Event, resolved: Mapping[StateKey, str], create: Event | None, source: EventSource
) -> dict[StateKey, Event]:
    """What `event` is checked against: its own auth events, overridden by the state resolved so far."""
    version = event.version
    keys = auth_keys(version, event.type, event.sender, event.state_key, event.content)
    source.load(resolved[key] for key in keys if key in resolved)
    current = [source.get(resolved[key]) for key in keys if key in resolved]
    state: dict[StateKey, Event] = {}
    if version.room_id_is_create_id and create is not None:
        state[_CREATE] = create
    for auth_event in (*map(source.get, event.auth_events), *current):
        if auth_event is not None and not auth_event.rejected and auth_event.key is not None:
            state[auth_event.key] = auth_event
    return state


def _create_event(
    version: RoomVersion,
    events: Iterable[Event],
    unconflicted: Mapping[StateKey, str],
    source: EventSource,
) -> Event | None:
    create_id = unconflicted.get(_CREATE)
    if version.room_id_is_create_id:
        room_id = next((event.room_id for event in events), None)
        create_id = None if room_id is None else "$" + room_id[1:]
    return None if create_id is None else source.get(create_id)
