"""Events as rows: read back as they were, by ID, by place and by transaction."""

import pytest

from homeserver.errors import InvalidParam
from storage import events
from storage.transaction import Transaction
from tests.homeserver.rooms.house import ALICE, BOB, House
from tests.storage.conftest import SynchronousDatabase


@pytest.fixture
def house(db: SynchronousDatabase) -> House:
    return House(db)


def test_an_event_is_read_back_as_it_was(house: House) -> None:
    room_id = house.room()
    sent = house.run(
        house.rooms.send(room_id, ALICE, "m.x", {"n": [1, "\u0000é", None]}, device_id="D", txn_id="t")
    )
    room = house.run(house.registry.get(room_id))
    known = room.timeline[-1]
    read = house.db.read(events.by_id, [sent, "$unknown"])
    assert list(read) == [sent]
    stored = read[sent]
    assert stored.event.pdu == known.event.pdu
    for name in ("nid", "room", "position", "state_before", "state_after", "status", "device_id", "txn_id"):
        assert getattr(stored, name) == getattr(known, name)
    assert house.db.read(events.event_position, room_id, sent) == known.position
    assert house.db.read(events.event_position, "!other:here", sent) is None


def test_state_events_say_what_they_replaced(house: House) -> None:
    room_id = house.room()
    first = house.set_state(room_id, "m.room.topic", {"topic": "one"})
    second = house.set_state(room_id, "m.room.topic", {"topic": "two"})
    found = house.db.read(events.by_id, [first, second])
    assert found[first].replaces is None
    assert found[second].replaces == first
    assert found[second].state_before == found[first].state_after != found[second].state_after


def test_transactions_are_found_by_all_their_parts(house: House) -> None:
    room_id, other = house.room(BOB), house.room()
    sent = house.run(house.rooms.send(room_id, ALICE, "m.x", {}, device_id="D", txn_id="t"))
    nid = house.run(house.registry.get(room_id)).nid
    other_nid = house.run(house.registry.get(other)).nid

    def find(room: int, sender: str, device_id: str, txn_id: str, type: str) -> object:
        return house.db.read(events.by_transaction, room, sender, device_id, txn_id, type)

    assert find(nid, ALICE, "D", "t", "m.x") == sent
    for wrong in (
        (other_nid, ALICE, "D", "t", "m.x"),
        (nid, BOB, "D", "t", "m.x"),
        (nid, ALICE, "E", "t", "m.x"),
        (nid, ALICE, "D", "u", "m.x"),
        (nid, ALICE, "D", "t", "m.y"),
    ):
        assert find(*wrong) is None


def test_the_same_transaction_cannot_be_written_twice(house: House) -> None:
    room_id = house.room()
    house.run(house.rooms.send(room_id, ALICE, "m.x", {}, device_id="D", txn_id="t"))

    def write_again(tx: Transaction) -> None:
        row = tx.one(f"SELECT {', '.join(events.COLUMNS)} FROM event WHERE txn_id = 't'")
        assert row is not None
        again = dict(zip(events.COLUMNS, row, strict=True)) | {"nid": 999, "event_id": "$x", "position": 999}
        tx.insert("event", events.COLUMNS, [tuple(again.values())])

    with pytest.raises(Exception) as caught:
        house.db.write(write_again)
    assert house.db.database.is_duplicate(caught.value)


def test_the_timeline_between_two_positions(house: House) -> None:
    room_id = house.room()
    room = house.run(house.registry.get(room_id))
    since = room.position
    other = house.room()
    sent = [house.say(room_id, str(n)) for n in range(5)]
    house.say(other, "elsewhere")
    upto = house.db.database.position

    def between(since: int, upto: int, limit: int) -> list[str]:
        found = house.db.read(events.timeline_between, room.nid, since, upto, limit)
        return [stored.event_id for stored in found]

    assert between(since, upto, 10) == sent
    assert between(since, upto, 2) == sent[-2:]
    assert between(since, room.position - 1, 10) == sent[:-1]
    assert between(upto, upto, 10) == []


@pytest.mark.parametrize(
    "relation",
    [
        {"rel_type": "m.thread", "event_id": "$" + "x" * 40_000},
        {"rel_type": "y" * 40_000, "event_id": "$x"},
        {"rel_type": "m.thread", "event_id": "$\u0000"},
        {"rel_type": "\u0000", "event_id": "$x"},
        {"rel_type": 5, "event_id": []},
        "nonsense",
    ],
)
def test_relations_to_nonsense_do_no_harm(house: House, relation: object) -> None:
    """PostgreSQL refuses NUL, and what is too long for an index."""
    room_id = house.room()
    content = {"body": "odd", "m.relates_to": relation}
    house.run(house.rooms.send(room_id, ALICE, "m.room.message", content))
    assert house.read(room_id, ALICE) == ["odd"]
    assert house.db.read(lambda tx: tx.value("SELECT count(*) FROM relation")) == 0


def test_a_long_transaction_id_is_refused(house: House) -> None:
    room_id = house.room()
    house.run(house.rooms.send(room_id, ALICE, "m.x", {}, device_id="D", txn_id="t" * 255))
    with pytest.raises(InvalidParam):
        house.run(house.rooms.send(room_id, ALICE, "m.x", {}, device_id="D", txn_id="t" * 256))
