"""What a replacement starts with: power levels read by one version and written for another."""

from typing import Any

from homeserver.protocol.events import Event
from homeserver.protocol.power_levels import PowerLevels
from homeserver.protocol.room_versions import ROOM_VERSIONS, RoomVersion
from homeserver.protocol.signing import SigningKey
from homeserver.rooms.upgrade_state import closed_levels, power_levels, split_aliases, transferable

ALICE, BOB = "@alice:here", "@bob:here"
KEY = SigningKey.generate()
Json = dict[str, Any]


def event(version: RoomVersion, type: str, content: Json) -> Event:
    return Event.build(
        version, room_id="!r:here", sender=ALICE, type=type, content=content, state_key="", prev_events=(),
        auth_events=(), depth=1, origin_server_ts=1, server_name="here", signing_key=KEY,
        reference_hashes={},
    )


def levels_of(version: RoomVersion, content: Json | None, **create: Any) -> PowerLevels:
    created = event(version, "m.room.create", {"creator": ALICE, **create})
    set_to = event(version, "m.room.power_levels", content) if content is not None else None
    return PowerLevels(version, created, set_to)


def converted(old: str, new: str, content: Json | None, *creators: str, **create: Any) -> Json:
    was = ROOM_VERSIONS[old]
    levels = levels_of(was, content, **create)
    return power_levels(was, levels, content or {}, ROOM_VERSIONS[new], {ALICE, *creators})


def test_old_levels_become_integers() -> None:
    content = {
        "ban": "75", "kick": " 60", "redact": [], "invite": "many", "events": {"a": "5", "b": {}},
        "notifications": {"room": " 7 "}, "users": {ALICE: "100", BOB: "1" + 20 * "0", "bob": 1}, "other": 1,
    }
    assert converted("1", "11", content) == {
        "ban": 75, "kick": 60, "events": {"a": 5}, "notifications": {"room": 7},
        "users": {ALICE: 100, BOB: 2**53 - 1},
    }


def test_creators_stand_above_the_levels_or_among_them() -> None:
    assert converted("11", "11", None)["users"] == {ALICE: 100}
    assert converted("11", "12", {"users": {ALICE: 100, BOB: 50}}) == {
        "users": {BOB: 50}, "events": {"m.room.tombstone": 150},
    }
    assert converted("11", "12", {"users": {BOB: 50}}, BOB)["users"] == {}
    back = converted("12", "11", {"users": {BOB: 120}, "state_default": 130}, additional_creators=[BOB])
    assert back["users"] == {ALICE: 130, BOB: 130}
    assert converted("12", "11", None)["users"] == {ALICE: 100}


def test_who_may_upgrade_a_room_whose_creators_stand_above_all() -> None:
    def tombstone(old: str, **content: Any) -> int:
        level: int = converted(old, "12", content)["events"]["m.room.tombstone"]
        return level

    assert tombstone("11") == tombstone("11", events={"m.room.tombstone": 100}) == 150
    assert tombstone("11", state_default=200) == 201
    assert tombstone("12", events={"m.room.tombstone": 60}) == 60
    assert tombstone("12", events={"m.room.tombstone": 50}) == 150


def test_closing_the_old_room() -> None:
    v11 = ROOM_VERSIONS["11"]

    def closed(user_id: str, **content: Any) -> Json | None:
        return closed_levels(levels_of(v11, content), content, user_id)

    users = {ALICE: 100, BOB: 40}
    assert closed(ALICE, users=users) == {"users": users, "events_default": 50, "invite": 50}
    assert closed(ALICE, users=users, users_default=60, invite=70) == {
        "users": users, "users_default": 60, "invite": 70, "events_default": 61,
    }
    assert closed(BOB, users=users, events={"m.room.power_levels": 0}) is None
    assert closed(ALICE, users={ALICE: 60}, events={"m.room.power_levels": 70}) is None
    assert closed(ALICE, users=users, events_default=60, invite=60) is None


def test_aliases() -> None:
    content = {"alias": "#a:here", "alt_aliases": ["#b:here", "#c:there", 7], "x": 1}
    moving, staying = split_aliases(content, {"#a:here", "#b:here"})
    assert moving == {"alias": "#a:here", "alt_aliases": ["#b:here"]}
    assert staying == {"alt_aliases": ["#c:there", 7], "x": 1}
    assert split_aliases({"alias": "#c:there", "alt_aliases": {}}, {"#a:here"}) == (
        {}, {"alias": "#c:there", "alt_aliases": {}},
    )


def test_children_are_copied_from_spaces_only() -> None:
    keys = [("m.space.child", "!b:x"), ("m.space.child", "!a:x"), ("m.room.name", ""), ("m.room.name", "x")]
    v11 = ROOM_VERSIONS["11"]
    plain, space = event(v11, "m.room.create", {}), event(v11, "m.room.create", {"type": "m.space"})
    assert transferable(keys, plain) == [("m.room.name", "")]
    assert transferable(keys, space) == [
        ("m.room.name", ""), ("m.space.child", "!a:x"), ("m.space.child", "!b:x")
    ]
