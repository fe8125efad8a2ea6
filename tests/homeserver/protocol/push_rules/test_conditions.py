from typing import Any

import pytest

from homeserver.protocol.push_rules.conditions import compile_condition, split_path
from tests.homeserver.protocol.push_rules.events import ALICE, Ev, facts, text


def matches(condition: Any, event: Ev, members: int = 3, *, permits: bool = True) -> bool:
    matcher = compile_condition(condition)
    names = {ALICE: "Alice (she)"}
    return matcher is not None and matcher(event, facts(members, permits=permits, names=names), ALICE)


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("content.body", ("content", "body")),
        (r"content.m\.relates_to.rel_type", ("content", "m.relates_to", "rel_type")),
        (r"content.m\\foo", ("content", r"m\foo")),
        (r"content.\x", ("content", r"\x")),
        ("type", ("type",)),
        ("", ("",)),
        ("a.", ("a", "")),
        ("a\\", ("a\\",)),
    ],
)
def test_paths(key: str, path: tuple[str, ...]) -> None:
    assert split_path(key) == path


def test_event_match() -> None:
    topic = {"kind": "event_match", "key": "content.topic", "pattern": "lunc?*"}
    assert matches(topic, Ev({"topic": "Lunch plans"}))
    assert not matches(topic, Ev({"topic": None}))
    assert not matches(topic, Ev({}))
    assert not matches({**topic, "pattern": "*"}, Ev({}))
    assert matches({**topic, "pattern": "*"}, Ev({"topic": ""}))
    assert not matches({**topic, "pattern": 1}, Ev({"topic": "1"}))
    assert not matches({"kind": "event_match", "pattern": "*"}, Ev())
    state_key = {"kind": "event_match", "key": "state_key", "pattern": ""}
    assert matches(state_key, Ev(state_key=""))
    assert not matches(state_key, Ev(state_key=None))
    assert matches({"kind": "event_match", "key": "content.a.b", "pattern": "c"}, Ev({"a": {"b": "c"}}))
    assert not matches({"kind": "event_match", "key": "content.a.b", "pattern": "c"}, Ev({"a": "b"}))
    assert matches({"kind": "event_match", "key": "redacts", "pattern": "$x"}, Ev(pdu={"redacts": "$x"}))


@pytest.mark.parametrize(
    ("value", "found", "expected"),
    [
        (True, True, True),
        (True, 1, False),
        (1, True, False),
        (1, 1, True),
        (1, 1.0, False),
        ("a", "A", False),
        ("a", "a", True),
        (None, None, True),
        (False, None, False),
        ([], [], False),
        ({}, {}, False),
    ],
)
def test_properties_are_exact(value: Any, found: Any, expected: bool) -> None:
    event = Ev({"m.federate": found, "list": [[], found]})
    is_ = {"kind": "event_property_is", "key": r"content.m\.federate", "value": value}
    assert matches(is_, event) is expected
    contains = {"kind": "event_property_contains", "key": "content.list", "value": value}
    assert matches(contains, event) is expected


def test_absent_properties() -> None:
    assert not matches({"kind": "event_property_is", "key": "content.x", "value": None}, Ev())
    assert not matches({"kind": "event_property_is", "key": "content.x"}, Ev({"x": None}))
    contains = {"kind": "event_property_contains", "key": "content.x", "value": "a"}
    assert not matches(contains, Ev())
    assert not matches(contains, Ev({"x": "abc"}))


@pytest.mark.parametrize(
    ("is_", "count", "expected"),
    [
        ("2", 2, True),
        ("==2", 2, True),
        ("2", 3, False),
        ("<10", 9, True),
        ("<10", 10, False),
        ("<=10", 10, True),
        (">10", 11, True),
        (">=10", 10, True),
        ("!=2", 3, False),
        ("", 0, False),
        ("²", 2, False),
        (2, 2, False),
    ],
)
def test_room_member_count(is_: Any, count: int, expected: bool) -> None:
    assert matches({"kind": "room_member_count", "is": is_}, Ev(), count) is expected


def test_the_rest() -> None:
    assert matches({"kind": "contains_display_name"}, text("hey ALICE (she)!"))
    assert not matches({"kind": "contains_display_name"}, text("malice (she)"))
    assert not matches({"kind": "contains_display_name"}, text(["Alice (she)"]))
    permission = {"kind": "sender_notification_permission", "key": "room"}
    assert matches(permission, Ev())
    assert not matches(permission, Ev(), permits=False)
    assert not matches({"kind": "sender_notification_permission"}, Ev())
    for unknown in ({"kind": "org.example.moon_phase"}, {}, "event_match", None, {"kind": ["x"]}):
        assert not matches(unknown, Ev())
