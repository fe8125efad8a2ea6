"""Rows of memberships: the last one counts, also within one commit, and forgetting spares who is there."""

from typing import Any

from storage import memberships
from storage.memberships import Membership
from storage.transaction import Transaction
from tests.storage.conftest import SynchronousDatabase

ALICE, BOB, ROOM = "@a:here", "@b:here", "!r:here"


def row(membership: str, position: int, user_id: str = ALICE, room_id: str = ROOM, **more: Any) -> Membership:
    return Membership(user_id, room_id, membership, None, f"${position}", ALICE, position, **more)


def put(db: SynchronousDatabase, *rows: Membership) -> None:
    def write(tx: Transaction) -> None:
        for each in rows:
            memberships.put(tx, each)

    db.write(write)


def test_the_last_row_of_a_commit_counts(db: SynchronousDatabase) -> None:
    put(db, row("invite", 1, invite_state=b"[1]"), row("join", 2), row("join", 3, BOB), row("leave", 4))
    assert db.read(memberships.of_user, ALICE) == {ROOM: row("leave", 4)}
    put(db, row("invite", 5, invite_state=b"[\x00]"))
    assert db.read(memberships.of_user, ALICE)[ROOM].invite_state == b"[\x00]"


def test_who_is_joined(db: SynchronousDatabase) -> None:
    put(db, row("join", 1), row("invite", 2, BOB), row("join", 3, "@c:there"), row("join", 4, BOB, "!s:here"))
    assert sorted(db.read(memberships.joined_users, ROOM)) == [ALICE, "@c:there"]
    assert db.read(memberships.joined_users, "!none:here") == []


def test_forgetting_is_announced_to_the_user_alone(db: SynchronousDatabase) -> None:
    put(db, row("leave", 1), row("leave", 2, BOB))
    position = db.write(memberships.forget, ALICE, ROOM)
    [change] = db.changes
    assert (change.position, change.stream, change.users) == (position, "forget", (ALICE,))
    assert (change.rooms, change.data) == ((), (ALICE, ROOM))
    assert db.read(memberships.of_user, ALICE)[ROOM].forgotten
    assert not db.read(memberships.of_user, BOB)[ROOM].forgotten


def test_who_came_back_is_not_forgotten(db: SynchronousDatabase) -> None:
    put(db, row("leave", 1))
    db.write(memberships.forget, ALICE, ROOM)
    put(db, row("invite", 2))
    assert not db.read(memberships.of_user, ALICE)[ROOM].forgotten
    db.write(memberships.forget, ALICE, ROOM)
    assert not db.read(memberships.of_user, ALICE)[ROOM].forgotten
