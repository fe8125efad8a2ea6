"""Memberships in memory are what the rows say, however loads, changes and evictions fall together."""

from twisted.internet.defer import Deferred

from storage import memberships
from storage.memberships import Membership
from tests.homeserver.rooms.house import ALICE, BOB, CAROL, House


def test_rooms_of_a_user(house: House) -> None:
    joined, left = house.room(BOB), house.room(BOB)
    invited = house.room(preset="private_chat", invite=[BOB])
    house.leave(left, BOB)
    rows = house.run(house.memberships.of(BOB))
    assert {room_id: row.membership for room_id, row in rows.items()} == {
        joined: "join",
        left: "leave",
        invited: "invite",
    }
    assert rows == House(house.db).run(House(house.db).memberships.of(BOB))
    assert house.run(house.memberships.joined_rooms(BOB)) == [joined]


def test_a_load_that_is_overtaken_by_changes(house: House) -> None:
    rooms = [house.room(BOB) for _ in range(8)]
    for room_id in rooms:
        house.memberships._users.clear()
        loads = [Deferred.fromCoroutine(house.memberships.of(BOB)) for _ in range(2)]
        leaving = Deferred.fromCoroutine(house.rooms.leave(room_id, BOB))
        loads.append(Deferred.fromCoroutine(house.memberships.of(BOB)))
        for load in loads:
            house.db._wait(load)
        house.db._wait(leaving)
        assert house.run(house.memberships.of(BOB))[room_id].membership == "leave"
        house.memberships._users.clear()
        loads = [Deferred.fromCoroutine(house.memberships.of(BOB))]
        forgetting = house.db.database.write(memberships.forget, BOB, room_id)
        house.db._wait(loads[0])
        house.db._wait(forgetting)
        assert house.run(house.memberships.of(BOB))[room_id].forgotten
    assert not house.memberships._loads


def test_whoever_asked_may_go_away(house: House) -> None:
    house.room(BOB)
    asked = Deferred.fromCoroutine(house.memberships.of(BOB))
    asked.addErrback(lambda failure: None)
    asked.cancel()
    assert not house.memberships._loads
    assert len(house.run(house.memberships.of(BOB))) == 1


def test_few_users_are_kept(house: House) -> None:
    house.memberships._most_users = 2
    room_id = house.room(BOB, CAROL)
    for user_id in (ALICE, BOB, ALICE, CAROL):
        house.run(house.memberships.of(user_id))
    assert set(house.memberships._users) == {ALICE, CAROL}
    house.leave(room_id, BOB)
    assert house.run(house.memberships.of(BOB))[room_id].membership == "leave"


def test_local_members_of_a_room_in_memory(house: House) -> None:
    room_id = house.room(BOB, CAROL)
    house.leave(room_id, BOB)
    assert house.memberships.local_members(room_id) == {ALICE, CAROL}
    house.registry._drop(house.run(house.registry.get(room_id)))
    assert house.memberships.local_members(room_id) == set()
    house.run(house.registry.get(room_id))
    assert house.memberships.local_members(room_id) == {ALICE, CAROL}


def test_listeners_hear_of_each_membership_with_its_place(house: House) -> None:
    heard: list[Membership] = []
    house.memberships.on_change(heard.append)
    room_id = house.room(BOB)
    house.leave(room_id, BOB)
    assert [(row.user_id, row.previous, row.membership) for row in heard] == [
        (ALICE, None, "join"),
        (BOB, None, "join"),
        (BOB, "join", "leave"),
    ]
    assert heard[-1].position == house.db.database.position
