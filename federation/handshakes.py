"""What is checked in the answers to a join, a knock or an invite, besides each event by itself.

https://spec.matrix.org/v1.19/server-server-api/#joining-rooms
"""

from collections.abc import Collection, Iterable
from typing import Any

import orjson

from homeserver.protocol.events import MAX_EVENT_BYTES, Event
from homeserver.protocol.ids import is_valid_server_name
from homeserver.protocol.room_versions import RoomVersion
from homeserver.protocol.signing import signatures_of

# Nobody vouches for these names, and each costs an attempt to reach it. Until the state is whole and says who
# is there, servers beyond this number learn of what is sent from what they are sent later.
MAX_SERVERS = 2_000
MAX_STRIPPED = 100
MAX_SIGNATURES = 8
MAX_SIGNATURE_LENGTH = 300


def create_event_of(events: Iterable[Event], version: RoomVersion) -> Event | None:
    """The room's create event, if it says that the room is of this version."""
    for event in events:
        if event.key == ("m.room.create", "") and event.content.get("room_version", "1") == version.id:
            return event
    return None


def with_their_signatures(event: Event, given: dict[str, Any], servers: Collection[str]) -> Event:
    """Our event with the signatures that these servers added in the copy they gave back."""
    signatures = dict(event.pdu["signatures"])
    for server in servers:
        theirs = {
            key_id: signature
            for key_id, signature in sorted(signatures_of(given, server).items())[:MAX_SIGNATURES]
            if len(key_id) + len(signature) <= MAX_SIGNATURE_LENGTH
        }
        if theirs:
            signatures[server] = {**theirs, **signatures.get(server, {})}
    return event.with_pdu({**event.pdu, "signatures": signatures})


def server_names(given: Any) -> list[str]:
    names = given[:MAX_SERVERS] if isinstance(given, list) else []
    return [name for name in names if isinstance(name, str) and is_valid_server_name(name)]


def stripped_events(given: Any) -> list[dict[str, Any]]:
    """State events, whole or stripped already, as clients are shown them."""
    events = given[:MAX_STRIPPED] if isinstance(given, list) else []
    return [
        {field: event[field] for field in ("content", "sender", "state_key", "type")}
        for event in events
        if isinstance(event, dict)
        and isinstance(event.get("content"), dict)
        and all(isinstance(event.get(field), str) for field in ("sender", "state_key", "type"))
        and _fits(event)
    ]


def _fits(event: dict[str, Any]) -> bool:
    """JSON can be nested deeper, and hold greater numbers, when it is read than when it is written."""
    try:
        return len(orjson.dumps(event)) <= 2 * MAX_EVENT_BYTES
    except TypeError:
        return False
