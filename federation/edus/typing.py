"""m.typing: a remote user types, or has stopped.

https://spec.matrix.org/v1.19/server-server-api/#typing-notifications

No server says how long its users go on: they are said to be typing again every few seconds, and whoever is
not any more, or whose server went away, stops by itself.
"""

from typing import Any

import msgspec

from federation.edus.reading import InvalidEdu, Recipients, read, require_user_of, room_open_to

TIMEOUT_MS = 45_000


class Content(msgspec.Struct):
    room_id: str
    user_id: str
    typing: bool


async def receive(here: Recipients, origin: str, content: dict[str, Any]) -> None:
    edu = read(content, Content)
    require_user_of(origin, edu.user_id)
    room = await room_open_to(here, origin, edu.room_id)
    if room is None or room.membership(edu.user_id) != "join":
        raise InvalidEdu("The user types in a room they are not in.")
    here.typing.set(edu.room_id, edu.user_id, edu.typing, TIMEOUT_MS)
