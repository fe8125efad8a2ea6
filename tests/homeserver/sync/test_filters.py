"""Filters: what they let through, what they refuse, and that equal ones are one object."""

from typing import Any

import orjson
import pytest

from homeserver.errors import BadJson, InvalidParam, NotFound
from homeserver.sync import filters
from homeserver.sync.filter_rules import Types, split_path
from homeserver.sync.filters import EVERYTHING, Filters, RoomEventFilter
from tests.homeserver.sync.fakes import run
from tests.storage.conftest import SynchronousDatabase

ALICE, BOB = "@alice:example.org", "@bob:example.org"
ROOM, OTHER = "!room:example.org", "!other:example.org"


def room_event_filter(**definition: Any) -> RoomEventFilter:
    return filters.parse_room_event_filter(orjson.dumps(definition).decode())


@pytest.mark.parametrize(
    ("pattern", "event_type", "matches"),
    [
        ("m.room.message", "m.room.message", True),
        ("m.room.message", "m.room.messages", False),
        ("m.room.*", "m.room.message", True),
        ("m.room.*", "m.room.", True),
        ("m.room.*", "m.roomXmessage", False),
        ("*.message", "m.room.message", True),
        ("m.*.message", "m.room.message", True),
        ("m.*.message", "m.message", False),
        ("m.*e*e", "m.message", True),
        ("ab*ba", "aba", False),
        ("*", "", True),
        ("**", "anything", True),
        ("", "", True),
        ("", "m.room.message", False),
        ("m.room.?", "m.room.x", False),
        ("[m]*", "m.room", False),
    ],
)
def test_types_are_globs_of_stars_only(pattern: str, event_type: str, matches: bool) -> None:
    assert (event_type in Types([pattern])) is matches


def test_a_pattern_of_many_stars_costs_no_more_than_its_text() -> None:
    assert "a" * 10_000 not in Types(["*a" * 500 + "*b"])


@pytest.mark.parametrize(
    ("definition", "event", "matches"),
    [
        ({}, ("m.room.message", ALICE, False, ROOM), True),
        ({"types": []}, ("m.room.message", ALICE, False, ROOM), False),
        ({"types": ["m.*"], "not_types": ["m.room.message"]}, ("m.room.message", ALICE, False, ROOM), False),
        ({"types": ["m.*"], "not_types": ["m.room.message"]}, ("m.room.topic", ALICE, False, ROOM), True),
        ({"not_types": ["*"]}, ("m.room.message", ALICE, False, ROOM), False),
        ({"senders": [ALICE]}, ("m.room.message", ALICE, False, ROOM), True),
        ({"senders": [ALICE]}, ("m.room.message", BOB, False, ROOM), False),
        ({"senders": [ALICE], "not_senders": [ALICE]}, ("m.room.message", ALICE, False, ROOM), False),
        ({"senders": []}, ("m.room.message", ALICE, False, ROOM), False),
        ({"senders": [ALICE]}, ("m.typing", None, None, ROOM), True),
        ({"rooms": [ROOM]}, ("m.room.message", ALICE, False, OTHER), False),
        ({"rooms": [ROOM], "not_rooms": [ROOM]}, ("m.room.message", ALICE, False, ROOM), False),
        ({"contains_url": True}, ("m.room.message", ALICE, True, ROOM), True),
        ({"contains_url": True}, ("m.room.message", ALICE, False, ROOM), False),
        ({"contains_url": False}, ("m.room.message", ALICE, True, ROOM), False),
        ({"contains_url": False}, ("m.room.message", ALICE, False, ROOM), True),
    ],
)
def test_which_events_pass(definition: dict[str, Any], event: tuple[Any, ...], matches: bool) -> None:
    assert room_event_filter(**definition).matches(*event) is matches


@pytest.mark.parametrize(
    ("definition", "trivial", "empty"),
    [
        ({}, True, False),
        ({"limit": 20, "lazy_load_members": True}, True, False),
        ({"limit": 0}, True, True),
        ({"types": ["*"]}, False, False),
        ({"types": []}, False, True),
        ({"not_types": ["*"]}, False, True),
        ({"senders": [ALICE], "not_senders": [ALICE]}, False, True),
        ({"rooms": [ROOM], "not_rooms": [ROOM]}, False, True),
        ({"not_rooms": []}, True, False),
        ({"related_by_rel_types": ["m.thread"]}, False, False),
    ],
)
def test_fast_paths(definition: dict[str, Any], trivial: bool, empty: bool) -> None:
    compiled = room_event_filter(**definition)
    assert (compiled.is_trivial, compiled.is_empty) == (trivial, empty)


def test_everything_a_definition_can_say() -> None:
    compiled = filters.parse(orjson.dumps({
        "event_format": "federation",
        "event_fields": ["type"],
        "presence": {"types": ["m.presence"], "not_senders": [ALICE]},
        "account_data": {"types": ["m.*"], "limit": 3},
        "room": {
            "rooms": [ROOM],
            "include_leave": True,
            "timeline": {"limit": 1_000_000, "lazy_load_members": True, "unread_thread_notifications": True},
            "state": {"lazy_load_members": True, "include_redundant_members": True},
            "ephemeral": {"types": ["m.typing"]},
            "account_data": {"not_types": ["m.tag"]},
            "something from the future": {},
        },
    }).decode())
    assert compiled.event_format == "federation"
    assert not compiled.presence.matches("m.presence", ALICE) and compiled.presence.matches("m.presence", BOB)
    assert compiled.account_data.limit == 3 and compiled.account_data.matches("m.direct")
    assert compiled.room.matches(ROOM) and not compiled.room.matches(OTHER)
    assert compiled.room.include_leave and not compiled.room.is_trivial
    assert compiled.room.timeline.limit == filters.MAX_LIMIT
    assert compiled.room.timeline.unread_thread_notifications
    assert compiled.room.state.lazy_load_members and compiled.room.state.include_redundant_members
    assert not compiled.room.ephemeral.matches("m.receipt")
    assert not compiled.room.account_data.matches("m.tag")
    assert compiled.room.account_data.matches("m.fully_read")


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "1", '{"room": []}', '{"room": {"timeline": {"types": "m.room.message"}}}',
        '{"room": {"timeline": {"limit": -1}}}', '{"room": {"timeline": {"limit": "10"}}}',
        '{"room": {"timeline": {"limit": true}}}', '{"room": {"timeline": {"limit": 1.5}}}',
        '{"room": {"rooms": ["not a room"]}}', '{"room": {"timeline": {"senders": ["alice"]}}}',
        '{"presence": "none"}', '{"event_format": "xml"}', '{"event_fields": [1]}',
        '{"room": {"include_leave": 1}}', '{"room": {"state": {"lazy_load_members": "yes"}}}',
        '{"x": ' + "[" * 100_000 + "]" * 100_000 + "}", '{"event_fields": ["\ud800"]}',
    ],
)  # fmt: skip
def test_invalid_definitions_are_refused(text: str) -> None:
    with pytest.raises(BadJson):
        filters.parse(text)
    if text:
        with pytest.raises(InvalidParam):
            filters.room_event_filter('{"types": 1, "x": ' + (text or "0") + "}")


def test_the_same_text_is_the_same_object() -> None:
    text = '{"room":{"timeline":{"limit":7}}}'
    assert filters.parse(text) is filters.parse("".join(text))
    assert filters.room_event_filter(None).is_trivial


def test_event_fields_are_paths() -> None:
    compiled = filters.parse(r'{"event_fields": ["type", "content.body", "content.m\\.relates_to.rel_type"]}')
    event = {
        "type": "m.room.message",
        "sender": ALICE,
        "content": {
            "body": "hi",
            "msgtype": "m.text",
            "m.relates_to": {"rel_type": "m.thread", "event_id": "$x"},
        },
    }
    assert compiled.project(event) == {
        "type": "m.room.message",
        "content": {"body": "hi", "m.relates_to": {"rel_type": "m.thread"}},
    }
    assert compiled.project({"type": "m.room.topic", "content": "odd"}) == {"type": "m.room.topic"}
    whole = filters.parse('{"event_fields": ["content", "content.body"]}')
    assert whole.project(event) == {"content": event["content"]}
    assert EVERYTHING.project(event) == event
    assert filters.parse('{"event_fields": []}').project(event) == event


def test_escapes_in_paths() -> None:
    assert split_path(r"a\.b.c\\d.e\x") == ["a.b", r"c\d", r"e\x"]
    assert split_path("a..b") == ["a", "", "b"]
    assert split_path("a\\") == ["a\\"]


def test_stored_filters(db: SynchronousDatabase) -> None:
    service = Filters(db.database)
    definition = {"room": {"timeline": {"limit": 3}}}
    filter_id = run(service.create(ALICE, definition))
    assert run(service.create(ALICE, definition)) == filter_id
    assert not filter_id.startswith("{")
    assert orjson.loads(run(service.definition(ALICE, filter_id))) == definition
    resolved = run(service.resolve(ALICE, filter_id))
    assert resolved.room.timeline.limit == 3
    assert run(service.resolve(ALICE, filter_id)) is resolved
    assert run(service.resolve(ALICE, None)) is EVERYTHING
    inline = run(service.resolve(ALICE, '{"room":{"timeline":{"limit":3}}}'))
    assert inline is resolved
    for unknown in ("0", filter_id + "x", "\0" * 24, "é" * 24):
        with pytest.raises(InvalidParam):
            run(service.resolve(ALICE, unknown))
    with pytest.raises(NotFound):
        run(service.definition(BOB, filter_id))
    with pytest.raises(InvalidParam):
        run(service.resolve(ALICE, '{"room": 1}'))
    with pytest.raises(BadJson):
        run(service.create(ALICE, {"room": 1}))
