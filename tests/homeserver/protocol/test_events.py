from typing import Any

import pytest

from homeserver.protocol import hashing
from homeserver.protocol.events import Event, EventTooLarge, InvalidEvent
from homeserver.protocol.room_versions import ROOM_VERSIONS
from tests.homeserver.protocol.room import ALICE, ALL_VERSIONS, Room, key_of, standard_room, versions


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_built_loaded_and_parsed_are_the_same_event(version: str) -> None:
    room = standard_room(version)
    built = room.send(ALICE, "m.room.message", {"body": "é\u2028\0"})
    for other in (
        Event.load(built.json, built.event_id, room.version),
        Event.parse({**built.pdu, "unsigned": {"age": 5}}, room.version),
    ):
        for slot in set(Event.__slots__) - {"derived"}:
            assert getattr(other, slot) == getattr(built, slot), slot
    assert built.prev_events == (room.state["m.room.join_rules", ""].event_id,)
    assert set(built.auth_events) <= set(room.events)
    assert "unsigned" not in built.pdu
    assert not built.is_state and built.key is None and built.membership is None


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_ids(version: str) -> None:
    room = Room(version)
    event = room.create
    assert ("event_id" in event.pdu) == (version in ("1", "2"))
    if version in ("1", "2"):
        assert event.event_id.endswith(":a.org")
    else:
        assert len(event.event_id) == 44
        assert event.event_id == hashing.event_id(event.pdu, room.version)
    if version == "12":
        assert event.room_id == "!" + event.event_id[1:]
        assert "room_id" not in event.pdu
    else:
        assert event.room_id == event.pdu["room_id"] == "!room:a.org"


def test_ids_are_url_safe_from_version_4() -> None:
    digest = b"\xff\xef\xbe" * 10 + b"ab"
    assert hashing.event_id_of_digest(digest, ROOM_VERSIONS["3"]) == "$" + "/+++" * 10 + "YWI"
    assert hashing.event_id_of_digest(digest, ROOM_VERSIONS["4"]) == "$" + "_---" * 10 + "YWI"


def test_pairs_of_old_rooms_carry_the_hashes_we_know() -> None:
    room = Room("1")
    event = Event.build(
        room.version,
        room_id=room.room_id,
        sender=ALICE,
        type="x",
        content={},
        state_key=None,
        prev_events=["$a:b", "$c:d"],
        auth_events=[],
        depth=2,
        origin_server_ts=1,
        server_name="a.org",
        signing_key=key_of("a.org"),
        reference_hashes={"$a:b": "hash"},
    )
    assert event.pdu["prev_events"] == [["$a:b", {"sha256": "hash"}], ["$c:d", {}]]
    assert event.prev_events == ("$a:b", "$c:d")


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_redacts_stands_where_the_version_wants_it(version: str) -> None:
    room = Room(version)
    event = room.make(ALICE, "m.room.redaction", {"reason": "x"}, redacts="$target:a.org")
    assert event.redacts == "$target:a.org"
    in_content = version in versions(11)
    assert ("redacts" in event.content) == in_content
    assert ("redacts" in event.pdu) != in_content


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_depth_is_clamped(version: str) -> None:
    room = Room(version)
    top = 2**53 - 1 if int(version) >= 6 else 2**63 - 1
    room.create.depth = 2**70
    assert room.make(ALICE, "x", {}).depth == top


def test_old_rooms_keep_their_numbers() -> None:
    room = Room("5")
    content = {"float": 1.0, "exponent": 1e100, "big": 2**70}
    event = Event.parse({**room.create.pdu, "content": content}, room.version)
    again = Event.load(event.json, event.event_id, room.version)
    assert again.content == content
    assert type(again.content["big"]) is int
    assert hashing.event_id(again.pdu, room.version) == event.event_id
    with pytest.raises(InvalidEvent):
        Event.parse({**Room("6").create.pdu, "content": content}, ROOM_VERSIONS["6"])


WRONG: list[dict[str, Any]] = [
    {"type": None},
    {"type": 5},
    {"type": "a\0b"},
    {"sender": "alice"},
    {"sender": "@alice"},
    {"sender": "@a\0b:a.org"},
    {"sender": ["@alice:a.org"]},
    {"state_key": None},
    {"state_key": "\0"},
    {"content": []},
    {"content": None},
    {"hashes": "x"},
    {"signatures": None},
    {"depth": "1"},
    {"depth": True},
    {"depth": -1},
    {"depth": 2**63},
    {"origin_server_ts": 1.5},
    {"origin_server_ts": None},
    {"room_id": 5},
    {"room_id": "room:a.org"},
    {"prev_events": None},
    {"prev_events": [5]},
    {"prev_events": ["x"]},
    {"prev_events": [[]]},
    {"prev_events": [[5, {}]]},
    {"prev_events": {"a": 1}},
    {"prev_events": ["$x"] * 21},
    {"prev_events": [["$x:y", {}]] * 21},
    {"auth_events": ["$x"] * 11},
    {"auth_events": [["$x:y", {}]] * 11},
    {"content": {"a": "\ud800"}},
]


@pytest.mark.parametrize("version", ["1", "3", "6", "11", "12"])
@pytest.mark.parametrize("change", WRONG, ids=repr)
def test_wrong_shapes_are_refused(version: str, change: dict[str, Any]) -> None:
    room = standard_room(version)
    pdu = room.send(ALICE, "m.room.topic", {"topic": "x"}, "").pdu
    Event.parse(pdu, room.version)
    with pytest.raises(InvalidEvent):
        Event.parse({**pdu, **change}, room.version)


@pytest.mark.parametrize("field", ["type", "sender", "content", "hashes", "signatures", "depth", "room_id"])
@pytest.mark.parametrize("version", ["1", "12"])
def test_missing_fields_are_refused(version: str, field: str) -> None:
    room = standard_room(version)
    pdu = room.send(ALICE, "m.room.topic", {"topic": "x"}, "").pdu
    with pytest.raises(InvalidEvent):
        Event.parse({key: value for key, value in pdu.items() if key != field}, room.version)


@pytest.mark.parametrize("pdu", [None, [], "x", 5])
def test_only_objects_are_events(pdu: Any) -> None:
    with pytest.raises(InvalidEvent):
        Event.parse(pdu, ROOM_VERSIONS["10"])


def test_room_ids_of_version_12() -> None:
    room = Room("12")
    with pytest.raises(InvalidEvent):
        Event.parse({**room.create.pdu, "room_id": room.room_id}, room.version)
    event = room.send(ALICE, "x", {})
    with pytest.raises(InvalidEvent):
        Event.parse({**event.pdu, "room_id": "!room:a.org"}, room.version)


@pytest.mark.parametrize("event_id", [None, 5, "x:a.org", "$x", "$x:", "$\0:a.org"])
def test_event_ids_of_old_rooms(event_id: Any) -> None:
    room = Room("1")
    with pytest.raises(InvalidEvent):
        Event.parse({**room.create.pdu, "event_id": event_id}, room.version)


def test_the_whole_event_is_limited() -> None:
    room = Room("11")
    empty = len(room.make(ALICE, "m.room.message", {"body": ""}).json)
    largest = room.make(ALICE, "m.room.message", {"body": "x" * (65_536 - empty)})
    assert len(largest.json) == 65_536
    with pytest.raises(EventTooLarge) as error:
        room.make(ALICE, "m.room.message", {"body": "x" * (65_537 - empty)})
    assert (error.value.field, error.value.size, error.value.limit) == (None, 65_537, 65_536)
    pdu = {**largest.pdu, "content": {"body": "x" * (65_537 - empty)}}
    with pytest.raises(EventTooLarge):
        Event.parse(pdu, room.version)


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_the_255_of_types_and_state_keys(version: str) -> None:
    room = Room(version)
    pdu = room.make(ALICE, "x" * 255, {}, "é" * 127).pdu
    Event.parse(pdu, room.version)
    for kind, state_key in (("x" * 256, ""), ("x", "é" * 128)):
        with pytest.raises(EventTooLarge):
            room.make(ALICE, kind, {}, state_key)
    code_points = {**pdu, "state_key": "é" * 255}
    if version in versions(11):
        with pytest.raises(EventTooLarge) as error:
            Event.parse(code_points, room.version)
        assert error.value.field == "state_key"
    else:
        Event.parse(code_points, room.version)
    with pytest.raises(EventTooLarge):
        Event.parse({**pdu, "state_key": "é" * 256}, room.version)


@pytest.mark.parametrize("content", [{"a": 1.5}, {"a": 2**53}, {"a": "\ud800"}])
@pytest.mark.parametrize("version", ["1", "10"])
def test_what_we_send_is_canonical_in_every_version(version: str, content: dict[str, Any]) -> None:
    with pytest.raises(InvalidEvent):
        Room(version).make(ALICE, "x", content)


def test_nul_in_a_type_is_refused() -> None:
    with pytest.raises(InvalidEvent):
        Room("11").make(ALICE, "x\0", {})


@pytest.mark.parametrize("version", ALL_VERSIONS)
@pytest.mark.parametrize("redacts", ["", "x", "$" + "x" * 300, "$\0", "$a\0b:c", 1, None, ["$a"]])
def test_what_is_no_event_id_is_not_redacted(version: str, redacts: Any) -> None:
    room = Room(version)
    redaction = room.make(ALICE, "m.room.redaction", {})
    place = {"content": {"redacts": redacts}} if room.version.redacts_in_content else {"redacts": redacts}
    assert Event.parse({**redaction.pdu, **place}, room.version).redacts is None


@pytest.mark.parametrize("membership", ["", "joined", "jo\0in", "x" * 50_000, 1, None, ["join"]])
def test_what_is_no_membership_is_none(membership: Any) -> None:
    room = Room("11")
    event = room.make(ALICE, "m.room.member", {"membership": membership}, ALICE)
    assert event.membership is None
    assert room.make(ALICE, "m.room.member", {"membership": "knock"}, ALICE).membership == "knock"
