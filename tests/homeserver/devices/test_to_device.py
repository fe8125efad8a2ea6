"""Sending to devices: to those that exist, once, and to other servers only where we federate."""

import threading
from typing import Any

import orjson
import pytest
from twisted.internet.defer import Deferred

from homeserver.devices.to_device import MAX_EDU_BYTES, ToDevice
from homeserver.errors import InvalidParam, TooLarge
from storage import devices, to_device
from tests.homeserver.devices.people import SERVER, Scene, user
from tests.homeserver.sync.fakes import run

ALICE, BOB, CAROL = user("alice"), user("bob"), "@carol:remote.test"
CAROL_HERE = user("carol")


@pytest.fixture
def service(scene: Scene) -> ToDevice:
    numbers = iter(range(1000))
    for user_id, device_id in ((ALICE, "PHONE"), (BOB, "PHONE"), (BOB, "TABLET")):
        scene.sign_in(user_id, device_id)
    return ToDevice(
        scene.db.database,
        scene.clock,
        SERVER,
        federates=lambda domain: domain == "remote.test",
        new_id=lambda: f"id{next(numbers)}",
    )


def send(service: ToDevice, messages: Any, txn_id: str = "1", event_type: str = "m.test") -> None:
    run(service.send(ALICE, "PHONE", event_type, messages, txn_id))


def received(scene: Scene, user_id: str, device_id: str) -> list[Any]:
    found = scene.db.read(to_device.messages_after, user_id, device_id, 0, 100)
    return [orjson.loads(message) for _, message in found]


def outbox(scene: Scene, destination: str) -> list[dict[str, Any]]:
    return [orjson.loads(edu) for _, _, edu in scene.db.read(to_device.outbox, destination, 100)]


def test_one_device_and_all_devices(scene: Scene, service: ToDevice) -> None:
    send(service, {BOB: {"*": {"for": "all"}, "PHONE": {"for": "phone"}, "NONE": {}}, ALICE: {"PHONE": {}}})
    event = {"sender": ALICE, "type": "m.test"}
    assert received(scene, BOB, "PHONE") == [{**event, "content": {"for": "phone"}}]
    assert received(scene, BOB, "TABLET") == [{**event, "content": {"for": "all"}}]
    assert received(scene, ALICE, "PHONE") == [{**event, "content": {}}]
    assert received(scene, BOB, "NONE") == []
    [change] = scene.announced("to_device")
    assert set(change.users) == {ALICE, BOB}


def test_devices_that_come_and_go_later(scene: Scene, service: ToDevice) -> None:
    send(service, {BOB: {"*": {"n": 1}}, CAROL_HERE: {"*": {"n": 1}}}, "1")
    scene.sign_in(BOB, "LAPTOP")
    scene.sign_in(CAROL_HERE, "PHONE")
    send(service, {BOB: {"*": {"n": 2}}, CAROL_HERE: {"*": {"n": 2}}}, "2")
    assert [event["content"]["n"] for event in received(scene, BOB, "LAPTOP")] == [2]
    assert [event["content"]["n"] for event in received(scene, CAROL_HERE, "PHONE")] == [2]
    scene.db.write(devices.delete, BOB, ["LAPTOP"])
    send(service, {BOB: {"*": {"n": 3}}}, "3")
    scene.sign_in(BOB, "LAPTOP")
    assert received(scene, BOB, "LAPTOP") == []
    send(service, {BOB: {"*": {"n": 4}}}, "4")
    assert [event["content"]["n"] for event in received(scene, BOB, "LAPTOP")] == [4]


def test_one_that_is_repeated_harms_no_other_in_its_commit(scene: Scene, service: ToDevice) -> None:
    send(service, {BOB: {"PHONE": {"n": 1}}})
    # After a restart nothing is known of it in memory.
    again = ToDevice(scene.db.database, scene.clock, SERVER)
    run(again.send(ALICE, "PHONE", "m.test", {BOB: {"PHONE": {"n": 2}}}, "2"))
    gate = threading.Event()
    scene.db.database.write(lambda tx: gate.wait(10))
    sent = [
        Deferred.fromCoroutine(again.send(ALICE, "PHONE", "m.test", {BOB: {"PHONE": {"n": n}}}, str(n)))
        for n in (4, 1, 3, 3)
    ]
    gate.set()
    for each in sent:
        scene.db._wait(each)
    assert [event["content"]["n"] for event in received(scene, BOB, "PHONE")] == [1, 2, 4, 3]


def test_a_repeated_transaction_delivers_once(scene: Scene, service: ToDevice) -> None:
    send(service, {BOB: {"PHONE": {"n": 1}}})
    send(service, {BOB: {"PHONE": {"n": 2}}})
    assert [event["content"]["n"] for event in received(scene, BOB, "PHONE")] == [1]
    send(service, {BOB: {"PHONE": {"n": 3}}}, txn_id="2")
    send(service, {BOB: {"PHONE": {"n": 4}}}, event_type="m.other")
    run(service.send(ALICE, "TABLET", "m.test", {BOB: {"PHONE": {"n": 5}}}, "1"))
    assert [event["content"]["n"] for event in received(scene, BOB, "PHONE")] == [1, 3, 4, 5]


def test_old_transactions_are_forgotten(scene: Scene, service: ToDevice) -> None:
    send(service, {BOB: {"PHONE": {}}}, "old")
    scene.clock.advance(25 * 3600)
    send(service, {BOB: {"PHONE": {}}}, "new")
    kept = scene.db.read(lambda tx: tx.all("SELECT txn_id FROM client_transaction"))
    assert kept == [("new",)]


def test_nobody_is_woken_for_nothing(scene: Scene, service: ToDevice) -> None:
    send(service, {BOB: {"NONE": {}}, "@nobody:hearth.test": {"*": {}}, "@x:unfederated.test": {"*": {}}})
    assert scene.announced("to_device") == []
    assert outbox(scene, "unfederated.test") == []


def test_remote_receivers_wait_in_the_outbox(scene: Scene, service: ToDevice) -> None:
    send(service, {CAROL: {"A": {"n": 1}, "*": {"n": 2}}})
    send(service, {CAROL: {"A": {"n": 1}}})
    messages = {CAROL: {"A": {"n": 1}, "*": {"n": 2}}}
    edu = {"message_id": "id0", "messages": messages, "sender": ALICE, "type": "m.test"}
    assert outbox(scene, "remote.test") == [edu]


def test_edus_stay_small(scene: Scene, service: ToDevice) -> None:
    send(service, {CAROL: {f"D{number}": {"text": "x" * 1000} for number in range(150)}})
    edus = scene.db.read(to_device.outbox, "remote.test", 100)
    assert len(edus) == 3 and all(len(edu) < MAX_EDU_BYTES + 5000 for _, _, edu in edus)
    devices = [device for edu in outbox(scene, "remote.test") for device in edu["messages"][CAROL]]
    assert sorted(devices) == sorted(f"D{number}" for number in range(150))


def test_receiving_from_a_remote_once(scene: Scene, service: ToDevice) -> None:
    messages: Any = {BOB: {"PHONE": {"n": 1}}, "@x:other.test": {"*": {}}}
    for _ in range(2):
        run(service.receive(CAROL, "m.test", messages, "remote.test", "a"))
    assert received(scene, BOB, "PHONE") == [{"sender": CAROL, "type": "m.test", "content": {"n": 1}}]


def test_limits(scene: Scene, service: ToDevice) -> None:
    with pytest.raises(TooLarge):
        send(service, {BOB: {"TABLET": {}, "PHONE": {"x": "x" * 66_000}}})
    with pytest.raises(InvalidParam):
        send(service, {BOB: {"TABLET": {}}}, event_type="x" * 300)
    with pytest.raises(InvalidParam):
        send(service, {"bob": {"TABLET": {}}})
    assert received(scene, BOB, "TABLET") == []


def test_deleted_devices_lose_their_messages(scene: Scene, service: ToDevice) -> None:
    send(service, {BOB: {"*": {}}})
    scene.db.write(scene.keys.forget_devices, BOB, ["PHONE"])
    assert received(scene, BOB, "PHONE") == []
    assert len(received(scene, BOB, "TABLET")) == 1
