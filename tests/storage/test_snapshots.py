"""Snapshots: the nearest layer wins, and what was taken away stays away."""

from storage import snapshots
from storage.snapshots import Layer, StateEntry, merged, pack, unpack
from storage.transaction import Transaction
from tests.storage.conftest import SynchronousDatabase

NAME, TOPIC, ALICE = ("m.room.name", ""), ("m.room.topic", ""), ("m.room.member", "@a:here")


def fill(tx: Transaction) -> None:
    columns = (
        *("nid", "event_id", "room", "depth", "ts", "type", "state_key"),
        *("sender", "membership", "status", "notify", "json"),
    )
    keys = [NAME, TOPIC, ALICE, NAME, ALICE]
    tx.insert(
        "event",
        columns,
        [
            (n, f"${n}", 1, n, 1, *key, "@a:here", "join" if key is ALICE else None, 0, 0, b"{}")
            for n, key in enumerate(keys, 1)
        ],
    )
    snapshots.add(tx, 10, 1, None, pack([1, 2, 3]))
    snapshots.add(tx, 11, 1, 10, pack([4, -2]))
    snapshots.add(tx, 12, 1, 11, pack([5, -4]))
    snapshots.add(tx, 13, 1, 10, b"")


def test_numbers_survive_packing() -> None:
    numbers = (1, -1, 2**62, -(2**62))
    assert unpack(pack(numbers)) == numbers
    assert unpack(b"") == ()


def test_layers_are_read_from_the_oldest(db: SynchronousDatabase) -> None:
    db.write(fill)
    one, two, three = (StateEntry(n, f"${n}", None) for n in (1, 2, 4))
    alice, later = StateEntry(3, "$3", "join"), StateEntry(5, "$5", "join")
    assert db.read(snapshots.layers, 12) == [
        Layer(10, {NAME: one, TOPIC: two, ALICE: alice}),
        Layer(11, {NAME: three, TOPIC: None}),
        Layer(12, {ALICE: later, NAME: None}),
    ]
    assert db.read(snapshots.read, 10) == {NAME: one, TOPIC: two, ALICE: alice}
    assert db.read(snapshots.read, 11) == {NAME: three, ALICE: alice}
    assert db.read(snapshots.read, 12) == {ALICE: later}
    assert db.read(snapshots.read, 13) == db.read(snapshots.read, 10)


def test_a_snapshot_that_is_not_there_is_empty(db: SynchronousDatabase) -> None:
    assert db.read(snapshots.layers, 99) == []
    assert merged([]) == {}
