"""The verbs of membership: what repeats itself, what collides, and who vouches for a restricted join."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from homeserver.errors import Forbidden, InvalidParam, NotFound
from homeserver.rooms.create import StateToSet
from homeserver.rooms.room import Room
from tests.homeserver.rooms.house import ALICE, BOB, CAROL, House
from tests.homeserver.rooms.test_registry import writer_held

DAVE = "@dave:here"


def room_of(house: House, room_id: str) -> Room:
    return house.run(house.registry.get(room_id))


def member_events(house: House, room_id: str, user_id: str) -> list[str]:
    return [
        stored.event.content["membership"]
        for stored in room_of(house, room_id).timeline
        if stored.event.key == ("m.room.member", user_id)
    ]


def test_joining_twice_is_one_event(house: House) -> None:
    room_id = house.room()
    house.join(room_id, BOB, BOB)
    assert member_events(house, room_id, BOB) == ["join"]


def test_a_second_join_is_not_answered_before_the_first_is_committed(house: House) -> None:
    room_id = house.room()
    with writer_held(house.db):
        first = Deferred.fromCoroutine(house.rooms.join(room_id, BOB))
        second = Deferred.fromCoroutine(house.rooms.join(room_id, BOB))
        assert not second.called
    assert house.db._wait(first) == house.db._wait(second) == room_id
    assert member_events(house, room_id, BOB) == ["join"]


def test_leaving_and_joining_at_once_follow_each_other(house: House) -> None:
    room_id = house.room(BOB)
    with writer_held(house.db):
        verbs = [
            Deferred.fromCoroutine(house.rooms.leave(room_id, BOB)),
            Deferred.fromCoroutine(house.rooms.leave(room_id, BOB)),
        ]
    for verb in verbs:
        house.db._wait(verb)
    assert member_events(house, room_id, BOB) == ["join", "leave"]


def test_a_kick_does_not_lift_a_ban_that_came_first(house: House) -> None:
    room_id = house.room(BOB)
    with writer_held(house.db):
        ban = Deferred.fromCoroutine(house.rooms.ban(room_id, ALICE, BOB))
        kick = Deferred.fromCoroutine(house.rooms.kick(room_id, ALICE, BOB))
    house.db._wait(ban)
    with pytest.raises(Forbidden):
        house.db._wait(kick)
    assert room_of(house, room_id).membership(BOB) == "ban"


def test_ban_and_unban(house: House) -> None:
    room_id = house.room(BOB)
    with pytest.raises(Forbidden):
        house.run(house.rooms.unban(room_id, ALICE, BOB))
    house.run(house.rooms.ban(room_id, ALICE, BOB, "spam"))
    house.run(house.rooms.ban(room_id, ALICE, BOB, "spam"))
    with pytest.raises(Forbidden):
        house.join(room_id, BOB)
    with pytest.raises(Forbidden):
        house.leave(room_id, BOB)
    house.run(house.rooms.unban(room_id, ALICE, BOB))
    house.join(room_id, BOB)
    assert member_events(house, room_id, BOB) == ["join", "ban", "leave", "join"]


def test_a_declined_invite(house: House) -> None:
    room_id = house.room(preset="private_chat", invite=[BOB])
    [row] = house.run(house.memberships.of(BOB)).values()
    assert (row.membership, row.sender) == ("invite", ALICE)
    assert row.invite_state is not None and b"m.room.create" in row.invite_state
    house.leave(room_id, BOB)
    [row] = house.run(house.memberships.of(BOB)).values()
    assert (row.membership, row.previous, row.invite_state) == ("leave", "invite", None)
    with pytest.raises(Forbidden):
        house.join(room_id, BOB)


def test_a_forgotten_room_is_remembered_with_the_next_invite(house: House) -> None:
    room_id = house.room(BOB)
    with pytest.raises(InvalidParam):
        house.run(house.rooms.forget(BOB, room_id))
    house.leave(room_id, BOB)
    house.run(house.rooms.forget(BOB, room_id))
    assert house.run(house.memberships.of(BOB))[room_id].forgotten
    assert House(house.db).run(House(house.db).memberships.of(BOB))[room_id].forgotten
    house.run(house.rooms.invite(room_id, ALICE, BOB))
    assert not house.run(house.memberships.of(BOB))[room_id].forgotten
    with pytest.raises(NotFound):
        house.run(house.rooms.forget(CAROL, room_id))


def test_forgetting_and_joining_again_at_once_forgets_nothing(house: House) -> None:
    room_id = house.room(BOB)
    house.leave(room_id, BOB)
    house.run(house.memberships.of(BOB))
    with writer_held(house.db):
        join = Deferred.fromCoroutine(house.rooms.join(room_id, BOB))
        forget = Deferred.fromCoroutine(house.rooms.forget(BOB, room_id))
    house.db._wait(join)
    house.db._wait(forget)
    for each in (house, House(house.db)):
        row = each.run(each.memberships.of(BOB))[room_id]
        assert (row.membership, row.forgotten) == ("join", False)


def restricted(house: House, space: str, version: str = "10", **override: Any) -> str:
    allow = [{"type": "m.room_membership", "room_id": space}, {"type": "unknown"}, "nonsense"]
    rules = StateToSet("m.room.join_rules", {"join_rule": "restricted", "allow": allow})
    return house.room(
        room_version=version,
        preset="private_chat",
        initial_state=[rules],
        power_level_content_override={"invite": 50, **override},
    )


@pytest.mark.parametrize("version", ["8", "9", "10", "11", "12"])
def test_a_restricted_room_lets_members_of_the_other_in(house: House, version: str) -> None:
    space = house.room(BOB)
    room_id = restricted(house, space, version)
    with pytest.raises(Forbidden):
        house.join(room_id, CAROL)
    house.join(room_id, BOB)
    joined = room_of(house, room_id).timeline[-1].event
    assert joined.content["join_authorised_via_users_server"] == ALICE
    house.join(room_id, BOB)


def test_who_vouches_is_known_of_a_room_that_was_not_in_memory(house: House) -> None:
    space = house.room(BOB)
    room_id = restricted(house, space)
    restarted = House(house.db)
    restarted.registry._most_rooms = 1
    restarted.join(room_id, BOB)
    joined = room_of(restarted, room_id).timeline[-1].event
    assert joined.content["join_authorised_via_users_server"] == ALICE


def test_somebody_who_is_just_leaving_vouches_for_nobody(house: House) -> None:
    space = house.room(BOB, CAROL)
    room_id = restricted(house, space)
    with writer_held(house.db):
        left = Deferred.fromCoroutine(house.rooms.leave(room_id, ALICE))
        join = Deferred.fromCoroutine(house.rooms.join(room_id, BOB))
    house.db._wait(left)
    with pytest.raises(Forbidden):
        house.db._wait(join)


def test_nobody_names_their_own_voucher(house: House) -> None:
    room_id = house.room()
    house.run(house.rooms.join(room_id, BOB, content={"join_authorised_via_users_server": ALICE, "x": 1}))
    joined = room_of(house, room_id).timeline[-1].event
    assert "join_authorised_via_users_server" not in joined.content
    assert joined.content["x"] == 1


def test_a_new_name_is_shown_in_every_room(house: House) -> None:
    first, second, left = house.room(BOB), house.room(BOB), house.room(BOB)
    house.leave(left, BOB)

    async def profile(user_id: str) -> dict[str, Any]:
        return {"displayname": "Robert"}

    house.rooms._profile_of = profile
    house.run(house.rooms.update_profile(BOB))
    house.run(house.rooms.update_profile(BOB))
    for room_id in (first, second):
        assert member_events(house, room_id, BOB) == ["join", "join"]
        assert room_of(house, room_id).timeline[-1].event.content["displayname"] == "Robert"
    assert member_events(house, left, BOB) == ["join", "leave"]


@pytest.mark.parametrize("target", ["bob", "@bob", "!x:here", ""])
def test_targets_are_user_ids(house: House, target: str) -> None:
    room_id = house.room()
    for verb in (house.rooms.invite, house.rooms.kick, house.rooms.ban, house.rooms.unban):
        with pytest.raises(InvalidParam):
            house.run(verb(room_id, ALICE, target))


def test_outsiders_may_do_nothing(house: House) -> None:
    room_id = house.room(BOB, preset="private_chat", invite=[BOB])
    for verb in (house.rooms.invite, house.rooms.kick, house.rooms.ban, house.rooms.unban):
        with pytest.raises(Forbidden):
            house.run(verb(room_id, DAVE, CAROL))
    with pytest.raises(Forbidden):
        house.leave(room_id, DAVE)


def test_knocking(house: House) -> None:
    room_id = house.room(initial_state=[StateToSet("m.room.join_rules", {"join_rule": "knock"})])
    house.run(house.rooms.knock(room_id, BOB, "please"))
    row = house.run(house.memberships.of(BOB))[room_id]
    assert row.membership == "knock"
    assert row.invite_state is not None and b"m.room.create" in row.invite_state
    house.run(house.rooms.invite(room_id, ALICE, BOB))
    house.join(room_id, BOB)
    assert member_events(house, room_id, BOB) == ["knock", "invite", "join"]
