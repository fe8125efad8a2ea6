"""Reading an EDU: its content as the type the specification gives it, and whom its server may speak for.

https://spec.matrix.org/v1.19/server-server-api/#edus
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from homeserver.devices.remote_lists import RemoteLists
from homeserver.devices.to_device import ToDevice
from homeserver.errors import NotFound
from homeserver.protocol.ids import domain_of, fits, is_valid_room_id, is_valid_user_id
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms
from homeserver.sync.presence import Presence
from homeserver.sync.receipts import Receipts
from homeserver.sync.typing import Typing

T = TypeVar("T")


class InvalidEdu(Exception):
    """An EDU of the wrong shape, or about somebody its server may not speak for. It is dropped."""


@dataclass(frozen=True, slots=True)
class Recipients:
    """The services that EDUs are for. `acl_allows(room_id, server_name)` is the room's server ACL."""

    rooms: Rooms
    acl_allows: Callable[[str, str], Awaitable[bool]]
    typing: Typing
    receipts: Receipts
    presence: Presence
    to_device: ToDevice
    device_lists: RemoteLists


def read(content: Any, shape: type[T]) -> T:
    try:
        return msgspec.convert(content, shape)
    except msgspec.ValidationError as error:
        raise InvalidEdu(str(error)) from None


def require_user_of(origin: str, user_id: str) -> None:
    if not is_user_of(origin, user_id):
        raise InvalidEdu(f"{user_id[:255]!r} is no user of {origin}.")


def is_user_of(origin: str, user_id: str) -> bool:
    return is_valid_user_id(user_id) and domain_of(user_id) == origin


def is_text(value: str) -> bool:
    """A short string that both databases can hold."""
    return fits(value) and "\0" not in value


async def room_open_to(here: Recipients, origin: str, room_id: str) -> Room | None:
    """A room we know whose ACL lets the server in; None for any other."""
    if not is_valid_room_id(room_id):
        return None
    try:
        room = await here.rooms.get(room_id)
    except NotFound:
        return None
    return room if await here.acl_allows(room_id, origin) else None
