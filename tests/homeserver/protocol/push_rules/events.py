"""Events and facts for the tests of push rules."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from homeserver.protocol.push_rules import Facts

ALICE = "@alice:here"
BOB = "@bob:here"
ROOM = "!room:here"


@dataclass
class Ev:
    content: dict[str, Any] = field(default_factory=dict)
    type: str = "m.room.message"
    state_key: str | None = None
    sender: str = BOB
    room_id: str = ROOM
    event_id: str = "$event"
    pdu: dict[str, Any] = field(default_factory=dict)


def text(body: Any = "hello", **content: Any) -> Ev:
    return Ev({"msgtype": "m.text", "body": body, **content})


def mention(*user_ids: Any, room: Any = None, body: str = "hello") -> Ev:
    mentions: dict[str, Any] = {"user_ids": list(user_ids)} if user_ids else {}
    if room is not None:
        mentions["room"] = room
    return text(body, **{"m.mentions": mentions})


def facts(
    members: int = 3, *, permits: bool = True, names: Mapping[str, str] | None = None
) -> Facts:
    return Facts(members, lambda key: permits, dict(names or {}).get)
