"""Device list changes are one row each, and found by those who share a room."""

from typing import Any

from storage import device_lists, memberships
from storage.memberships import Membership

ALICE, BOB, CAROL, DAVE = (f"@{name}:hearth.test" for name in ("alice", "bob", "carol", "dave"))


def member(db: Any, user_id: str, room_id: str, membership: str = "join", previous: str = "leave") -> int:
    def put(tx: Any) -> int:
        position: int = tx.announce("event", rooms=[room_id])
        memberships.put(tx, Membership(user_id, room_id, membership, previous, "$e", user_id, position))
        return position

    position: int = db.write(put)
    return position


def changed(db: Any, user_id: str, *device_ids: str) -> int:
    position: int = db.write(device_lists.record, user_id, device_ids or ("DEVICE",), ["!a:hearth.test"])
    return position


def test_a_change_is_announced_to_the_user_and_its_rooms(db: Any) -> None:
    position = changed(db, ALICE, "ONE", "TWO")
    first, second = [change for change in db.changes if change.stream == "device_list"]
    assert (first.position, second.position) == (position - 1, position)
    for change in (first, second):
        assert (change.users, change.rooms, change.data) == ((ALICE,), ("!a:hearth.test",), ALICE)
    rows = db.read(lambda tx: tx.all("SELECT position, device_id FROM device_list_change ORDER BY device_id"))
    assert rows == [(position - 1, "ONE"), (position, "TWO")]


def test_changed_users_are_those_after_since_up_to_upto(db: Any) -> None:
    first, second, third = changed(db, ALICE), changed(db, BOB), changed(db, CAROL)
    assert db.read(device_lists.changed_users, first, third, None) == {BOB, CAROL}
    assert db.read(device_lists.changed_users, 0, second, None) == {ALICE, BOB}
    assert db.read(device_lists.changed_users, 0, third, {ALICE, CAROL, DAVE}) == {ALICE, CAROL}
    assert db.read(device_lists.changed_users, third, third, None) == set()
    assert db.read(device_lists.last_change, BOB) == second
    assert db.read(device_lists.last_change, DAVE) == 0
    changed(db, BOB, device_lists.CROSS_SIGNING)
    assert db.read(device_lists.last_change, BOB) == second


def test_long_ago_goes_by_user(db: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(device_lists, "_FEW", 3)
    for _ in range(3):
        changed(db, ALICE)
    changed(db, BOB)
    own = db.write(device_lists.record_for, ALICE, [CAROL])
    assert db.read(device_lists.changed_users, 0, own, [BOB, DAVE]) == {BOB}
    assert db.read(device_lists.changed_users, 0, own, [BOB, DAVE], ALICE) == {BOB, CAROL}


def test_a_change_for_one_reader_is_seen_by_nobody_else(db: Any) -> None:
    position = db.write(device_lists.record_for, ALICE, [CAROL, DAVE])
    assert db.read(device_lists.changed_users, 0, position, None) == set()
    assert db.read(device_lists.changed_users, 0, position, [CAROL], BOB) == set()
    assert db.read(device_lists.changed_users, 0, position, [CAROL], ALICE) == {CAROL, DAVE}
    assert db.read(device_lists.changes, ALICE, 0, position) == ({CAROL, DAVE}, set())
    assert db.changes[-1].users == (ALICE,)


def test_changes_are_for_those_who_share_a_room(db: Any) -> None:
    member(db, ALICE, "!a:hearth.test")
    member(db, BOB, "!a:hearth.test")
    member(db, CAROL, "!b:hearth.test")
    since = member(db, DAVE, "!a:hearth.test", "leave")
    for user_id in (ALICE, BOB, CAROL, DAVE):
        upto = changed(db, user_id)
    assert db.read(device_lists.changes, ALICE, since, upto) == ({ALICE, BOB}, set())


def test_users_met_count_as_changed_users_parted_from_as_left(db: Any) -> None:
    member(db, ALICE, "!a:hearth.test")
    member(db, BOB, "!a:hearth.test")
    member(db, BOB, "!b:hearth.test")
    member(db, CAROL, "!b:hearth.test")
    since = member(db, DAVE, "!c:hearth.test")
    member(db, ALICE, "!b:hearth.test")
    upto = member(db, BOB, "!a:hearth.test", "leave", "join")
    assert db.read(device_lists.changes, ALICE, since, upto) == ({BOB, CAROL}, set())
    since, upto = upto, member(db, ALICE, "!b:hearth.test", "leave", "join")
    assert db.read(device_lists.changes, ALICE, since, upto) == (set(), {BOB, CAROL})


def test_a_changed_name_is_no_meeting(db: Any) -> None:
    member(db, ALICE, "!a:hearth.test")
    since = member(db, BOB, "!a:hearth.test")
    member(db, ALICE, "!a:hearth.test", "join", "join")
    upto = member(db, BOB, "!a:hearth.test", "join", "join")
    assert db.read(device_lists.changes, ALICE, since, upto) == (set(), set())


def test_joining_and_changing_the_name_is_a_meeting(db: Any) -> None:
    member(db, ALICE, "!a:hearth.test")
    since = member(db, CAROL, "!a:hearth.test")
    upto = member(db, BOB, "!a:hearth.test", "join", "join")

    def two_events(tx: Any) -> None:
        columns = "nid room_id version snapshot depth position extremities"
        tx.insert("room", columns.split(), [(1, "!a:hearth.test", "12", None, 1, 1, b"[]")])
        columns = "nid event_id room position depth ts type state_key sender membership status notify json"
        same = (1, 1, "m.room.member", BOB, BOB, "join", 0, 0, b"{}")
        rows = [(nid, f"${nid}", 1, upto + nid, *same) for nid in (1, 2)]
        tx.insert("event", columns.split(), rows)

    db.write(two_events)
    assert db.read(device_lists.changes, ALICE, since, upto + 2) == ({BOB}, set())


def test_joined_rooms(db: Any) -> None:
    member(db, ALICE, "!a:hearth.test")
    member(db, ALICE, "!b:hearth.test", "invite")
    assert db.read(device_lists.joined_rooms, ALICE) == ["!a:hearth.test"]
