"""createRoom: the first events of a room in every version, and which option gives way to which."""

from typing import Any

import pytest

from homeserver.errors import BadJson, InvalidParam, InvalidRoomState, MatrixError, UnsupportedRoomVersion
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.rooms.create import CreateOptions, StateToSet
from storage.events import StoredEvent
from tests.homeserver.rooms.house import ALICE, BOB, CAROL, House

VERSIONS = list(ROOM_VERSIONS)


def created(house: House, **options: Any) -> list[StoredEvent]:
    """The events of a new room of ALICE's."""
    room_id = house.run(house.rooms.create(ALICE, CreateOptions(**options)))
    return list(house.run(house.registry.get(room_id)).timeline)


def state(events: list[StoredEvent], type: str, state_key: str = "") -> dict[str, Any]:
    contents = [stored.event.content for stored in events if stored.event.key == (type, state_key)]
    assert contents, f"no {type}"
    return dict(contents[-1])


@pytest.mark.parametrize("version", VERSIONS)
def test_the_order_of_events(house: House, version: str) -> None:
    events = created(
        house,
        room_version=version,
        name="N",
        topic="T",
        room_alias_name="alias",
        invite=[BOB],
        initial_state=[StateToSet("m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"})],
    )
    assert [stored.event.type for stored in events] == [
        "m.room.create",
        "m.room.member",
        "m.room.power_levels",
        "m.room.canonical_alias",
        "m.room.join_rules",
        "m.room.history_visibility",
        "m.room.guest_access",
        "m.room.encryption",
        "m.room.name",
        "m.room.topic",
        "m.room.member",
    ]
    create = events[0].event
    assert create.content["room_version"] == version
    assert ("creator" in create.content) is (version in VERSIONS[: VERSIONS.index("11")])
    assert (create.room_id[1:] == create.event_id[1:]) is (version == "12")
    for before, after in zip(events, events[1:], strict=False):
        assert after.event.prev_events == (before.event_id,)
        assert (create.event_id in after.event.auth_events) is (version != "12")


@pytest.mark.parametrize(
    ("preset", "join_rule", "guests"),
    [("private_chat", "invite", "can_join"), ("trusted_private_chat", "invite", "can_join"),
     ("public_chat", "public", "forbidden")],
)  # fmt: skip
def test_presets(house: House, preset: str, join_rule: str, guests: str) -> None:
    events = created(house, preset=preset)
    assert state(events, "m.room.join_rules") == {"join_rule": join_rule}
    assert state(events, "m.room.guest_access") == {"guest_access": guests}
    assert state(events, "m.room.history_visibility") == {"history_visibility": "shared"}


def test_visibility_chooses_the_preset(house: House) -> None:
    assert state(created(house, visibility="public"), "m.room.join_rules")["join_rule"] == "public"
    assert state(created(house), "m.room.join_rules")["join_rule"] == "invite"
    both = created(house, visibility="public", preset="private_chat")
    assert state(both, "m.room.join_rules")["join_rule"] == "invite"


@pytest.mark.parametrize("version", VERSIONS)
def test_trusted_invitees_are_the_creators_equals(house: House, version: str) -> None:
    events = created(house, room_version=version, preset="trusted_private_chat", invite=[BOB, CAROL])
    create, levels = state(events, "m.room.create"), state(events, "m.room.power_levels")
    if version == "12":
        assert create["additional_creators"] == [BOB, CAROL]
        assert levels["users"] == {}
    else:
        assert "additional_creators" not in create
        assert levels["users"] == {ALICE: 100, BOB: 100, CAROL: 100}
    room = house.run(house.registry.get(events[0].event.room_id))
    assert room.head.levels.user(ALICE) == room.head.levels.user(BOB) > 99
    assert room.head.levels.user("@x:here") == 0


def test_additional_creators_and_trusted_invitees_together(house: House) -> None:
    events = created(
        house,
        room_version="12",
        preset="trusted_private_chat",
        invite=[BOB],
        creation_content={"additional_creators": [CAROL, ALICE, BOB, CAROL]},
    )
    assert state(events, "m.room.create")["additional_creators"] == [CAROL, BOB]


@pytest.mark.parametrize("creators", [["nobody"], "x", [1], {"a": 1}])
def test_additional_creators_are_users(house: House, creators: object) -> None:
    with pytest.raises(InvalidParam):
        created(house, room_version="12", creation_content={"additional_creators": creators})
    assert not house.registry._rooms


def test_tombstones_need_more_than_an_admin_where_creators_outrank_them(house: House) -> None:
    for version, level in (("11", 100), ("12", 150)):
        levels = state(created(house, room_version=version), "m.room.power_levels")
        assert levels["events"]["m.room.tombstone"] == level


@pytest.mark.parametrize("version", VERSIONS)
def test_power_levels_are_overridden_key_by_key(house: House, version: str) -> None:
    events = created(
        house, room_version=version, power_level_content_override={"events_default": 10, "events": {"m.x": 5}}
    )
    levels = state(events, "m.room.power_levels")
    assert (levels["events_default"], levels["events"]) == (10, {"m.x": 5})
    assert levels["state_default"] == 50


@pytest.mark.parametrize("version", ["1", "11"])
def test_an_override_that_takes_the_creators_power_makes_no_room(house: House, version: str) -> None:
    with pytest.raises(InvalidRoomState):
        created(house, room_version=version, power_level_content_override={"users": {BOB: 100}})
    assert not house.registry._rooms
    assert house.run(house.memberships.of(ALICE)) == {}


@pytest.mark.parametrize("users", [{ALICE: 100}, {BOB: 50}])
def test_creators_outrank_whatever_the_override_says(house: House, users: dict[str, int]) -> None:
    """In version 12 a creator may not be listed; others may."""
    options = {"room_version": "12", "power_level_content_override": {"users": users}}
    if ALICE in users:
        with pytest.raises(BadJson):
            created(house, **options)
    else:
        assert state(created(house, **options), "m.room.power_levels")["users"] == users


@pytest.mark.parametrize("version", ["10", "12"])
@pytest.mark.parametrize(
    "override", [{"ban": "50"}, {"users": {"nobody": 1}}, {"events": 5}, {"invite": 1.5}]
)
def test_broken_power_levels_make_no_room(house: House, version: str, override: dict[str, Any]) -> None:
    with pytest.raises(MatrixError) as caught:
        created(house, room_version=version, power_level_content_override=override)
    assert caught.value.status == 400
    assert not house.registry._rooms


def test_initial_state_takes_the_place_of_the_preset(house: House) -> None:
    events = created(
        house,
        preset="public_chat",
        name="by name",
        initial_state=[
            StateToSet("m.room.history_visibility", {"history_visibility": "invited"}),
            StateToSet("m.room.join_rules", {"join_rule": "knock"}),
            StateToSet("m.room.name", {"name": "by state"}),
            StateToSet("m.x", {"n": 1}, "a"),
            StateToSet("m.x", {"n": 2}, "b"),
            StateToSet("m.x", {"n": 3}, "a"),
        ],
    )
    types = [stored.event.type for stored in events]
    assert types.count("m.room.history_visibility") == types.count("m.room.join_rules") == 1
    assert state(events, "m.room.join_rules") == {"join_rule": "knock"}
    assert state(events, "m.room.name") == {"name": "by name"}
    assert (state(events, "m.x", "a"), state(events, "m.x", "b")) == ({"n": 3}, {"n": 2})


def test_power_levels_of_the_initial_state(house: House) -> None:
    levels = {"users": {ALICE: 100, BOB: 60}}
    given = [StateToSet("m.room.power_levels", levels)]
    events = created(house, room_version="11", initial_state=given)
    assert state(events, "m.room.power_levels") == levels
    assert [stored.event.type for stored in events].count("m.room.power_levels") == 1


@pytest.mark.parametrize(
    "given", [StateToSet("m.room.create", {}), StateToSet("m.room.member", {"membership": "join"}, BOB)]
)
def test_initial_state_cannot_break_the_rules(house: House, given: StateToSet) -> None:
    with pytest.raises(MatrixError) as caught:
        created(house, initial_state=[given])
    assert caught.value.status == 400
    assert not house.registry._rooms


def test_direct_chats_say_so_in_their_invites(house: House) -> None:
    events = created(house, is_direct=True, invite=[BOB, BOB])
    invites = [stored.event for stored in events if stored.event.membership == "invite"]
    assert [invite.content["is_direct"] for invite in invites] == [True]
    assert invites[0].content["displayname"] == "bob"
    assert "is_direct" not in state(created(house, invite=[BOB]), "m.room.member", BOB)
    row = house.run(house.memberships.of(BOB))[invites[0].room_id]
    assert row.membership == "invite"


def test_creation_content_is_kept_but_for_what_the_server_says(house: House) -> None:
    content = {"type": "m.space", "m.federate": False, "room_version": "1", "creator": BOB}
    create = state(created(house, room_version="10", creation_content=content), "m.room.create")
    assert create == {"type": "m.space", "m.federate": False, "room_version": "10", "creator": ALICE}


def test_wrong_options_are_refused(house: House) -> None:
    for options, error in (
        ({"room_version": "99"}, UnsupportedRoomVersion),
        ({"visibility": "secret"}, InvalidParam),
        ({"preset": "odd"}, InvalidParam),
        ({"invite": ["nobody"]}, InvalidParam),
        ({"creation_content": {"m.federate": "yes"}}, BadJson),
        ({"invite": [ALICE]}, InvalidRoomState),
    ):
        with pytest.raises(error):
            created(house, **options)
    assert not house.registry._rooms


def test_rooms_made_in_one_moment_are_different(house: House) -> None:
    clock: Any = house.registry.clock
    clock.now_ms = lambda: 1_700_000_000_000
    rooms = {events[0].event.room_id for events in (created(house) for _ in range(3))}
    assert len(rooms) == 3


def test_no_room_without_its_alias(house: House) -> None:
    created(house, room_alias_name="taken")
    before = dict(house.registry._rooms)
    with pytest.raises(MatrixError) as caught:
        created(house, room_alias_name="taken")
    assert caught.value.errcode == "M_ROOM_IN_USE"
    assert house.registry._rooms.keys() == before.keys()
