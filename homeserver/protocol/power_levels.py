"""Power levels: who may do what in a room.

https://spec.matrix.org/v1.19/client-server-api/#mroompower_levels

Parsing is paid once a power levels event: `PowerLevels.of` leaves its result on the event. Old rooms hold
levels as strings and floats (`read_level`); in room version 12 creators outrank every number.
"""

from __future__ import annotations

import math
import re
from typing import Any

from homeserver.protocol.events import Event
from homeserver.protocol.room_versions import RoomVersion

CREATOR_LEVEL = 2**62
"""More than any level an event can hold, yet an int."""

_OLD_CREATOR_LEVEL = 100
_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,30}\s*\Z", re.ASCII)

LEVEL_KEYS = ("users_default", "events_default", "state_default", "ban", "redact", "kick", "invite")
"""The single levels of `content`; `users`, `events` and `notifications` are tables of levels."""


def read_level(value: Any, version: RoomVersion) -> int | None:
    """A level as the room version reads it; None if it is none."""
    kind = type(value)
    if kind is int:
        return value  # type: ignore[no-any-return]
    if version.integer_power_levels:
        return None
    if kind is str:
        return int(value) if _INTEGER.match(value) else None
    if kind is float and version.float_power_levels and math.isfinite(value):
        return int(value)
    return None


def read_levels(table: Any, version: RoomVersion) -> dict[str, int]:
    """The readable entries of `users`, `events` or `notifications`."""
    if not isinstance(table, dict):
        return {}
    levels = ((key, read_level(value, version)) for key, value in table.items())
    return {key: level for key, level in levels if level is not None}


def creators_of(create: Event) -> frozenset[str]:
    """The room's creators: one, and from room version 12 also the `additional_creators`."""
    version = create.version
    if not version.creator_is_sender:
        creator = create.content.get("creator")
        return frozenset({creator} if isinstance(creator, str) else ())
    creators = {create.sender}
    if version.creators_outrank_all:
        additional = create.content.get("additional_creators")
        if isinstance(additional, list):
            creators.update(user for user in additional if isinstance(user, str))
    return frozenset(creators)


class PowerLevels:
    """The levels in force in a room at some point."""

    __slots__ = (
        "_creators",
        "_notifications",
        "ban",
        "create_id",
        "events",
        "events_default",
        "invite",
        "kick",
        "redact",
        "state_default",
        "users",
        "users_default",
    )

    def __init__(self, version: RoomVersion, create: Event, power_levels: Event | None) -> None:
        content = power_levels.content if power_levels is not None else {}

        def level(key: str, default: int) -> int:
            value = read_level(content.get(key), version)
            return default if value is None else value

        self.create_id = create.event_id
        self.ban = level("ban", 50)
        self.kick = level("kick", 50)
        self.redact = level("redact", 50)
        self.invite = level("invite", 0)
        self.users_default = level("users_default", 0)
        self.events_default = level("events_default", 0)
        self.state_default = level("state_default", 50)
        self.users = read_levels(content.get("users"), version)
        self.events = read_levels(content.get("events"), version)
        self._notifications = read_levels(content.get("notifications"), version)
        self._creators: frozenset[str] = frozenset()
        creators = creators_of(create)
        if version.creators_outrank_all:
            self._creators = creators
        elif power_levels is None:
            self.users = dict.fromkeys(creators, _OLD_CREATOR_LEVEL)

    @classmethod
    def of(cls, version: RoomVersion, create: Event, power_levels: Event | None) -> PowerLevels:
        holder = create if power_levels is None else power_levels
        cached = holder.derived
        if type(cached) is cls and cached.create_id == create.event_id:
            return cached
        holder.derived = levels = cls(version, create, power_levels)
        return levels

    def user(self, user_id: str) -> int:
        if user_id in self._creators:
            return CREATOR_LEVEL
        return self.users.get(user_id, self.users_default)

    def event(self, type: str, is_state: bool) -> int:
        """The level needed to send an event of this type."""
        return self.events.get(type, self.state_default if is_state else self.events_default)

    def notifications(self, key: str) -> int:
        """The level needed to notify with this key, such as `room`."""
        return self._notifications.get(key, 50)

    @property
    def creators(self) -> frozenset[str]:
        """Those above all levels; empty before room version 12."""
        return self._creators
