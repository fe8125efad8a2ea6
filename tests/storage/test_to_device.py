"""To-device messages wait until they are acknowledged; the outbox until it is delivered."""

from typing import Any

from storage import devices, outgoing, to_device

ALICE, BOB = "@alice:hearth.test", "@bob:hearth.test"


def test_messages_come_in_order_and_stay_until_deleted(db: Any) -> None:
    first = db.write(to_device.add, [(ALICE, "PHONE", b"1"), (ALICE, "TABLET", b"1"), (BOB, "PHONE", b"1")])
    second = db.write(to_device.add, [(ALICE, "PHONE", b"2")])
    third = db.write(to_device.add, [(ALICE, "PHONE", b"3")])
    read = (to_device.messages_after, ALICE, "PHONE")
    assert db.read(*read, 0, 100) == [(first, b"1"), (second, b"2"), (third, b"3")]
    assert db.read(*read, 0, 2) == [(first, b"1"), (second, b"2")]
    assert db.read(*read, second, 100) == [(third, b"3")]
    db.write(to_device.delete_up_to, {(ALICE, "PHONE"): second, (BOB, "PHONE"): 0, (BOB, "NONE"): third})
    assert db.read(*read, 0, 100) == [(third, b"3")]
    assert db.read(to_device.messages_after, BOB, "PHONE", 0, 100) == [(first, b"1")]
    assert db.read(to_device.messages_after, ALICE, "TABLET", 0, 100) == [(first, b"1")]


def test_adding_wakes_each_receiver_once(db: Any) -> None:
    db.write(to_device.add, [(ALICE, "PHONE", b"1"), (ALICE, "TABLET", b"1"), (BOB, "PHONE", b"1")])
    [change] = db.changes
    assert change.stream == "to_device" and sorted(change.users) == [ALICE, BOB]


def test_forgetting_devices(db: Any) -> None:
    position = db.write(to_device.add, [(ALICE, "PHONE", b"1"), (ALICE, "TABLET", b"1")])
    db.write(to_device.forget_devices, ALICE, ["PHONE"])
    assert db.read(to_device.messages_after, ALICE, "PHONE", 0, 100) == []
    assert db.read(to_device.messages_after, ALICE, "TABLET", 0, 100) == [(position, b"1")]


def test_known_devices(db: Any) -> None:
    for user_id, device_id in ((ALICE, "PHONE"), (ALICE, "TABLET"), (BOB, "PHONE")):
        db.write(devices.ensure, user_id, device_id, None, 1)
    assert sorted(db.read(to_device.known_devices, [ALICE])) == [(ALICE, "PHONE"), (ALICE, "TABLET")]


def test_outbox_keeps_what_is_not_delivered(db: Any) -> None:
    edus = [("one.test", "a", b"A"), ("one.test", "b", b"B"), ("two.test", "c", b"C")]
    first = db.write(to_device.add_to_outbox, edus, 1000)
    second = db.write(to_device.add_to_outbox, [("one.test", "d", b"D")], 2000)
    assert db.read(to_device.outbox, "one.test", 2) == [(first, "a", b"A"), (first, "b", b"B")]
    db.write(to_device.delete_from_outbox, "one.test", ["a", "b"])
    assert db.read(to_device.outbox, "one.test", 2) == [(second, "d", b"D")]
    assert db.read(to_device.outbox, "two.test", 2) == [(first, "c", b"C")]
    assert db.write(to_device.expire_outbox, 2000, 10) == 1
    assert db.read(outgoing.to_device_destinations) == {"one.test"}
