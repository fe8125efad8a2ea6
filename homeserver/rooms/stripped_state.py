"""Stripped state: what somebody who is not in a room is shown of it, with an invite or a knock.

https://spec.matrix.org/v1.19/client-server-api/#stripped-state
"""

from collections.abc import Iterable
from typing import Any

from homeserver.protocol import canonical_json
from homeserver.protocol.events import Event

STRIPPED_KEYS = [
    ("m.room.create", ""),
    ("m.room.name", ""),
    ("m.room.avatar", ""),
    ("m.room.topic", ""),
    ("m.room.join_rules", ""),
    ("m.room.canonical_alias", ""),
    ("m.room.encryption", ""),
]


def strip(event: Event) -> dict[str, Any]:
    return {
        "content": event.content,
        "sender": event.sender,
        "state_key": event.state_key,
        "type": event.type,
    }


def stripped_state(events: Iterable[Event | None]) -> bytes:
    """A JSON array of the events that are there, each once."""
    unique = {event.key: event for event in events if event is not None}
    return canonical_json.write([strip(event) for event in unique.values()])
