from typing import Any

import pytest

from homeserver.protocol.power_levels import CREATOR_LEVEL, PowerLevels, read_level
from homeserver.protocol.room_versions import ROOM_VERSIONS
from tests.homeserver.protocol.room import ALICE, ALL_VERSIONS, BOB, CAROL, Room


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_without_an_event(version: str) -> None:
    room = Room(version)
    levels = PowerLevels.of(room.version, room.create, None)
    assert levels.user(ALICE) == (CREATOR_LEVEL if version == "12" else 100)
    assert levels.user(BOB) == 0
    assert (levels.ban, levels.kick, levels.redact, levels.invite) == (50, 50, 50, 0)
    assert levels.event("x", is_state=True) == 50
    assert levels.event("x", is_state=False) == 0
    assert levels.notifications("room") == 50


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_with_an_event(version: str) -> None:
    room = Room(version)
    content: dict[str, Any] = {
        "users": {BOB: 7},
        "users_default": 1,
        "events": {"x": 9},
        "events_default": 2,
        "state_default": 3,
        "ban": 4,
        "kick": 5,
        "redact": 6,
        "invite": 8,
        "notifications": {"room": 10},
    }
    event = room.power(**content)
    levels = PowerLevels.of(room.version, room.create, event)
    assert levels is PowerLevels.of(room.version, room.create, event)
    assert levels.user(ALICE) == (CREATOR_LEVEL if version == "12" else 1)
    assert (levels.user(BOB), levels.user(CAROL)) == (7, 1)
    assert (levels.event("x", True), levels.event("x", False)) == (9, 9)
    assert (levels.event("y", True), levels.event("y", False)) == (3, 2)
    assert (levels.ban, levels.kick, levels.redact, levels.invite) == (4, 5, 6, 8)
    assert (levels.notifications("room"), levels.notifications("other")) == (10, 50)


def test_additional_creators_outrank_all_in_version_12_only() -> None:
    for version, level in (("11", 0), ("12", CREATOR_LEVEL)):
        room = Room(version, additional_creators=[BOB])
        assert PowerLevels.of(room.version, room.create, room.power()).user(BOB) == level


def test_a_malformed_event_falls_back_to_the_defaults() -> None:
    room = Room("5")
    event = room.power(users=[1], events={"x": None, "y": "z"}, ban=None, kick={}, users_default="12")
    levels = PowerLevels.of(room.version, room.create, event)
    assert (levels.ban, levels.kick, levels.user(BOB)) == (50, 50, 12)
    assert levels.event("x", True) == 50


@pytest.mark.parametrize(
    ("value", "float_version", "string_version", "integer_version"),
    [
        (5, 5, 5, 5),
        (-5, -5, -5, -5),
        ("5", 5, 5, None),
        (" +0050\n", 50, 50, None),
        ("-50", -50, -50, None),
        ("5.0", None, None, None),
        ("1_000", None, None, None),
        ("٣", None, None, None),
        ("", None, None, None),
        ("9" * 5000, None, None, None),
        (50.57, 50, None, None),
        (-50.57, -50, None, None),
        (5.114698e4, 51146, None, None),
        (float("inf"), None, None, None),
        (True, None, None, None),
        (None, None, None, None),
        ([], None, None, None),
    ],
)
def test_reading_a_level(
    value: Any, float_version: int | None, string_version: int | None, integer_version: int | None
) -> None:
    assert read_level(value, ROOM_VERSIONS["5"]) == float_version
    assert read_level(value, ROOM_VERSIONS["9"]) == string_version
    assert read_level(value, ROOM_VERSIONS["10"]) == integer_version
