"""Rule 10: m.room.power_levels. Nobody grants, or takes, more power than they have.

Well-formed first, then each difference between the old and the new levels against the sender's own level.
"""

from typing import Any

from homeserver.protocol import ids
from homeserver.protocol.auth_rules.errors import AuthError, Malformed
from homeserver.protocol.events import Event
from homeserver.protocol.power_levels import LEVEL_KEYS, PowerLevels, read_level, read_levels
from homeserver.protocol.room_versions import RoomVersion


def check_power_levels(event: Event, current: Event | None, levels: PowerLevels) -> None:
    version = event.version
    new = event.content
    _check_well_formed(new, version)
    listed_creators = levels.creators.intersection(new.get("users", ()))
    if listed_creators:
        raise Malformed("Creators cannot be given a power level.")
    if current is None:
        return
    old = current.content
    power = levels.user(event.sender)

    for key in LEVEL_KEYS:
        _check_change(key, read_level(old.get(key), version), read_level(new.get(key), version), power)

    for table in ("events", "notifications") if version.notification_levels else ("events",):
        was, becomes = read_levels(old.get(table), version), read_levels(new.get(table), version)
        for key in was.keys() | becomes.keys():
            _check_change(f"{table}.{key}", was.get(key), becomes.get(key), power)

    was, becomes = read_levels(old.get("users"), version), read_levels(new.get("users"), version)
    for user in was.keys() | becomes.keys():
        before, after = was.get(user), becomes.get(user)
        if before == after:
            continue
        if before is not None and before >= power and user != event.sender:
            raise AuthError(f"{user} has as much power as {event.sender}.")
        if after is not None and after > power:
            raise AuthError(f"{event.sender} has power {power} and cannot grant {after}.")


def _check_change(name: str, before: int | None, after: int | None, power: int) -> None:
    if before == after:
        return
    if before is not None and before > power:
        raise AuthError(f"{name} is {before}, beyond a power of {power}.")
    if after is not None and after > power:
        raise AuthError(f"{name} cannot become {after} with a power of {power}.")


def _check_well_formed(content: dict[str, Any], version: RoomVersion) -> None:
    if version.integer_power_levels:
        for key in LEVEL_KEYS:
            if key in content and type(content[key]) is not int:
                raise Malformed(f"{key} is not an integer.")
        for table in ("events", "notifications"):
            _check_table(content, table, version)
    _check_table(content, "users", version)
    for user in content.get("users", ()):
        if not ids.is_valid_user_id(user):
            raise Malformed(f"{user!r} is not a user ID.")


def _check_table(content: dict[str, Any], name: str, version: RoomVersion) -> None:
    table = content.get(name, {})
    if not isinstance(table, dict) or any(read_level(v, version) is None for v in table.values()):
        raise Malformed(f"{name} is not a table of integers.")
