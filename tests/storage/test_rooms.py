"""What one new event writes, and a room as it is read back."""

from homeserver.rooms.create import CreateOptions, StateToSet
from storage import rooms
from storage.transaction import Transaction
from tests.homeserver.rooms.house import ALICE, BOB, House
from tests.storage.conftest import SynchronousDatabase

TABLES = ("event", "snapshot", "membership", "room", "relation")


def counts(tx: Transaction) -> dict[str, int]:
    return {table: tx.value(f"SELECT count(*) FROM {table}") for table in TABLES}


def test_a_room_is_read_back(db: SynchronousDatabase) -> None:
    house = House(db)
    room_id = house.room(BOB)
    message = house.say(room_id, "hello")
    known = house.run(house.registry.get(room_id))
    row, layers, joined = db.read(rooms.load, room_id)
    assert (row.room_id, row.version, row.extremities) == (room_id, "12", (message,))
    assert (row.nid, row.depth, row.position) == (known.nid, known.head.depth, db.database.position)
    assert row.snapshot == known.head.state.snapshot == layers[-1].snapshot
    assert sorted(joined) == [ALICE, BOB]
    assert db.read(rooms.last_positions, [room_id, "!none:here"]) == {room_id: row.position}
    assert db.read(rooms.load, "!none:here") is None


def test_rows_of_a_message_and_of_state(db: SynchronousDatabase) -> None:
    house = House(db)
    room_id = house.room(BOB)
    before = db.read(counts)
    house.say(room_id, "hello")
    after_message = db.read(counts)
    assert {table: after_message[table] - before[table] for table in TABLES} == {
        **dict.fromkeys(TABLES, 0),
        "event": 1,
    }
    house.set_state(room_id, "m.room.topic", {"topic": "t"})
    after_state = db.read(counts)
    assert after_state["event"] - after_message["event"] == 1
    assert after_state["snapshot"] - after_message["snapshot"] == 1


def test_a_whole_room_is_one_commit(db: SynchronousDatabase) -> None:
    house = House(db)
    delivered: list[int] = []
    db.database.follow(lambda changes: delivered.append(len(changes)))
    state = [StateToSet("m.x", {}, str(n)) for n in range(20)]
    house.run(house.rooms.create(ALICE, CreateOptions(initial_state=state, invite=[BOB])))
    assert delivered == [27]
    positions = [change.position for change in db.changes]
    assert positions == list(range(1, 28))
