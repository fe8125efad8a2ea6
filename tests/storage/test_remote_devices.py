"""Lists of remote users' devices as they are stored, on both engines."""

from storage import memberships
from storage import remote_devices as store
from storage.memberships import Membership
from storage.remote_devices import KeptList, State
from storage.transaction import Transaction
from tests.storage.conftest import SynchronousDatabase

ZOE, YAN, ROOM = "@zoe:there", "@yan:there", "!room:there"


def test_what_was_fetched_before_the_last_change_mends_nothing(db: SynchronousDatabase) -> None:
    assert db.write(store.keep, [ZOE]) == {ZOE: State([], 1)} == db.write(store.keep, [ZOE])
    new = KeptList({"A": b"{}"}, {"master": b"{}"})
    db.write(store.mark_stale, [ZOE])
    assert db.write(store.replace, ZOE, 1, [7], new) is None
    assert db.read(store.stale_users) == [ZOE]
    assert db.write(store.replace, ZOE, 2, [7], new) == ({"A"}, True)
    assert db.read(store.states, [ZOE, YAN]) == {ZOE: State([7], 0)}
    assert db.read(store.lists, [ZOE, YAN]) == {ZOE: new, YAN: KeptList()}
    db.write(store.mark_stale, [ZOE])
    assert db.write(store.replace, ZOE, 1, [8], KeptList({}, {"master": b"{}"})) == ({"A"}, False)
    assert db.read(store.lists, [ZOE])[ZOE] == KeptList({}, {"master": b"{}"})
    db.write(store.forget, [ZOE])
    assert db.read(store.states, [ZOE]) == {} and db.read(store.lists, [ZOE]) == {ZOE: KeptList()}


def test_who_shares_a_room(db: SynchronousDatabase) -> None:
    def begin(tx: Transaction) -> None:
        flags = ("is_admin", "is_guest", "locked", "suspended", "deactivated", "parting", "erased")
        tx.insert("account", ("user_id", "created_ts", *flags), [("@alice:here", 1, *[0] * len(flags))])
        for number, user_id in enumerate(("@alice:here", ZOE), 1):
            memberships.put(tx, Membership(user_id, ROOM, "join", None, "$e", user_id, number))
        store.keep(tx, [ZOE, YAN])

    db.write(begin)
    assert db.read(store.kept_without_room) == [YAN]
    assert db.read(store.kept_in_room, ROOM) == [ZOE]
    db.write(lambda tx: memberships.put(tx, Membership(ZOE, ROOM, "leave", "join", "$e", ZOE, 3)))
    assert set(db.read(store.kept_without_room)) == {YAN, ZOE}
    assert db.read(store.kept_that_moved, 2) == [ZOE] and db.read(store.kept_that_moved, 3) == []
