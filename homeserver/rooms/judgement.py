"""Judging an event from elsewhere: by its authorisation events, by the state it stands on, by the state now.

https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu

Each raises AuthError where the rules do not allow the event.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from homeserver.protocol import auth_rules
from homeserver.protocol.events import Event
from homeserver.protocol.hashing import reference_hash
from homeserver.protocol.ids import server_of
from homeserver.protocol.power_levels import PowerLevels
from homeserver.rooms.head import CREATE, MEMBER, POWER_LEVELS
from homeserver.rooms.state import Entries, StateKey

Lookup = Callable[[str], Event | None]


def keys_of(event: Event) -> list[StateKey]:
    """The state the rules look at for this event."""
    return auth_rules.auth_keys(event.version, event.type, event.sender, event.state_key, event.content)


def by_auth_events(event: Event, auth_events: Sequence[Event], create: Event | None) -> None:
    """`create` is needed where it is nobody's auth event."""
    auth_rules.check_auth_events(event, auth_events)
    auth_rules.check(event, _with_create(event, _by_key(auth_events), create))


def by_state(
    event: Event, entries: Entries, lookup: Lookup, create: Event, unknown_members: Iterable[Event] = ()
) -> None:
    """`unknown_members`: where members are missing from the state, those that the event itself names."""
    state = _by_key(each for each in unknown_members if each.type == MEMBER)
    for key in keys_of(event):
        entry = entries.get(key)
        if entry is None:
            continue
        found = lookup(entry.event_id)
        if found is not None:
            state[key] = found
    auth_rules.check(event, _with_create(event, state, create))


def may_redact(redaction: Event, target: Event, entries: Entries, lookup: Lookup, create: Event) -> bool:
    """Whether a redaction takes effect, by the state before it.

    https://spec.matrix.org/v1.19/rooms/v3/#handling-redactions
    """
    if redaction.room_id != target.room_id:
        return False
    if server_of(redaction.sender) == server_of(target.sender):
        return True
    entry = entries.get(POWER_LEVELS)
    power_levels = lookup(entry.event_id) if entry is not None else None
    levels = PowerLevels.of(redaction.version, create, power_levels)
    return levels.user(redaction.sender) >= levels.redact


def is_same(event: Event, known: Event) -> bool:
    """Whether what is known under the event's ID is this event, whole or redacted.

    In room versions 1 and 2 the sender's server chooses the ID: it may have sent another event under it, even
    in another room.
    """
    if event.room_id != known.room_id or event.version is not known.version:
        return False
    if event.version.hashed_event_ids:
        return True
    return reference_hash(event.pdu, event.version) == reference_hash(known.pdu, known.version)


def _by_key(events: Iterable[Event]) -> dict[StateKey, Event]:
    return {event.key: event for event in events if event.key is not None}


def _with_create(
    event: Event, state: dict[StateKey, Event], create: Event | None
) -> Mapping[StateKey, Event]:
    if event.version.room_id_is_create_id and create is not None:
        state[CREATE] = create
    return state
