"""What of a room's state its replacement starts with, written for another room version.

https://spec.matrix.org/v1.19/client-server-api/#room-upgrades

Nobody is to gain or lose power by an upgrade, as far as the versions allow it: levels are copied as they were
in force, not as they were written, since versions differ in what they read as a level and in who stands above
all of them.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from homeserver.protocol.events import Event
from homeserver.protocol.ids import is_valid_user_id
from homeserver.protocol.power_levels import LEVEL_KEYS, PowerLevels, read_level, read_levels
from homeserver.protocol.room_versions import RoomVersion
from homeserver.rooms.state import StateKey

Content = dict[str, Any]

SPACE = "m.space"
SPACE_CHILD = "m.space.child"
TOMBSTONE = "m.room.tombstone"

TRANSFERRED = (
    "m.room.join_rules",
    "m.room.history_visibility",
    "m.room.guest_access",
    "m.room.encryption",
    "m.room.server_acl",
    "m.room.name",
    "m.room.topic",
    "m.room.avatar",
)
"""Besides the power levels, a space's children, and bans. In the order in which they are sent."""

_OLD_ADMIN = 100
_CREATORS_ONLY = 150
_MOST = 2**53 - 1


def create_content(
    create: Event, version: RoomVersion, creator: str, additional: Sequence[str], last_event: str
) -> Content:
    """The replacement's create event. `last_event` is the last one of the old room that is known."""
    content: Content = {key: create.content[key] for key in ("type", "m.federate") if key in create.content}
    content["room_version"] = version.id
    content["predecessor"] = {"room_id": create.room_id}
    if not version.room_id_is_create_id:
        content["predecessor"]["event_id"] = last_event
    if not version.creator_is_sender:
        content["creator"] = creator
    if version.creators_outrank_all:
        creators = [user_id for user_id in dict.fromkeys(additional) if user_id != creator]
        if creators:
            content["additional_creators"] = creators
    return content


def transferable(entries: Iterable[StateKey], create: Event) -> list[StateKey]:
    """The state to copy, of all there is."""
    present = set(entries)
    keys = [(type, "") for type in TRANSFERRED if (type, "") in present]
    if create.content.get("type") == SPACE:
        keys += sorted(key for key in present if key[0] == SPACE_CHILD)
    return keys


def transferred(key: StateKey, content: Mapping[str, Any], version: RoomVersion) -> Content | None:
    """The content of copied state; None if there is nothing to copy."""
    type = key[0]
    if not content or (type == SPACE_CHILD and not isinstance(content.get("via"), list)):
        return None  # taken away, as far as clients are concerned
    if type == "m.room.join_rules":
        return {**content, "join_rule": _join_rule(content.get("join_rule"), version)}
    return dict(content)


def _join_rule(rule: Any, version: RoomVersion) -> Any:
    """The rule, or the next stricter one that the version has."""
    if rule == "knock_restricted" and rule not in version.restricted_join_rules:
        rule = "restricted"
    if rule == "restricted" and rule not in version.restricted_join_rules:
        return "invite"
    if rule == "knock" and rule not in version.knock_join_rules:
        return "invite"
    return rule


def power_levels(
    old: RoomVersion,
    levels: PowerLevels,
    content: Mapping[str, Any],
    new: RoomVersion,
    creators: Collection[str],
) -> Content:
    """The replacement's power levels. `content` is that of the old room's, {} if it has none."""
    result: Content = {}
    for key in LEVEL_KEYS:
        level = read_level(content.get(key), old)
        if level is not None:
            result[key] = _within(level)
    for key in ("events", "notifications"):
        if isinstance(content.get(key), dict):
            table = read_levels(content[key], old)
            result[key] = {name: _within(level) for name, level in table.items()}
    users = {user_id: _within(level) for user_id, level in levels.users.items() if is_valid_user_id(user_id)}
    if new.creators_outrank_all:
        users = {user_id: level for user_id, level in users.items() if user_id not in creators}
        result["events"] = {**result.get("events", {}), TOMBSTONE: _tombstone_level(old, levels)}
    elif levels.creators:
        highest = max([_OLD_ADMIN, *users.values(), *_all_levels(result)])
        users.update(dict.fromkeys(levels.creators, highest))
    result["users"] = users
    return result


def _tombstone_level(old: RoomVersion, levels: PowerLevels) -> int:
    """Where creators outrank all, upgrading a room makes oneself one: more than administrators may."""
    level = levels.event(TOMBSTONE, True)
    if old.creators_outrank_all and level > levels.state_default:
        return level
    return _within(max(level, levels.state_default + 1, _CREATORS_ONLY))


def _within(level: int) -> int:
    """The old versions know larger numbers than the strict ones."""
    return max(-_MOST, min(level, _MOST))


def _all_levels(content: Content) -> Iterable[int]:
    for value in content.values():
        yield from value.values() if isinstance(value, dict) else (value,)


def closed_levels(levels: PowerLevels, content: Mapping[str, Any], user_id: str) -> Content | None:
    """The old room's power levels once few may speak or invite; None if the user may not set them."""
    level = max(50, levels.users_default + 1)
    changed = {
        key: level
        for key, present in (("events_default", levels.events_default), ("invite", levels.invite))
        if present < level
    }
    own = levels.user(user_id)
    if not changed or own < level or own < levels.event("m.room.power_levels", True):
        return None
    return {**content, **changed}


def split_aliases(content: Mapping[str, Any], moved: Collection[str]) -> tuple[Content, Content]:
    """What a canonical alias event says of aliases that move with the room, and what stays of it."""
    alias, others = content.get("alias"), content.get("alt_aliases")
    moving: Content = {}
    staying = dict(content)
    if isinstance(alias, str) and alias in moved:
        moving["alias"] = staying.pop("alias")
    if isinstance(others, list):
        going = [other for other in others if isinstance(other, str) and other in moved]
        if going:
            moving["alt_aliases"] = going
            staying["alt_aliases"] = [other for other in others if other not in going]
    return moving, staying
