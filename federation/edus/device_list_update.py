"""m.device_list_update: a remote user's device changed, is new, or was deleted.

https://spec.matrix.org/v1.19/server-server-api/#device-management
"""

from typing import Any

import msgspec

from federation.edus.reading import InvalidEdu, Recipients, is_text, read, require_user_of
from federation.shapes import is_stream_id
from homeserver.devices import remote_keys
from homeserver.devices.remote_lists import DeviceUpdate

MAX_PREVIOUS = 100


class Content(msgspec.Struct):
    user_id: str
    device_id: str
    stream_id: int
    prev_id: list[int] | None = None
    device_display_name: str | None = None
    deleted: bool | None = None
    keys: dict[str, Any] | None = None


async def receive(here: Recipients, origin: str, content: dict[str, Any]) -> None:
    edu = read(content, Content)
    require_user_of(origin, edu.user_id)
    previous = edu.prev_id or []
    if not is_text(edu.device_id) or len(previous) > MAX_PREVIOUS:
        raise InvalidEdu("The device_id or prev_id is too long.")
    if not all(map(is_stream_id, (edu.stream_id, *previous))):
        raise InvalidEdu("A stream_id is out of range.")
    keys = None
    if edu.keys and not edu.deleted:
        keys = remote_keys.device(edu.user_id, edu.device_id, edu.keys, edu.device_display_name)
    await here.device_lists.update(
        DeviceUpdate(edu.user_id, edu.device_id, edu.stream_id, tuple(previous), keys)
    )
