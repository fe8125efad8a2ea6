"""The client form of events: made once, and what `unsigned` tells to whom."""

from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from homeserver.rooms.serialize import Serializer
from storage.events import StoredEvent
from tests.homeserver.rooms.house import ALICE, BOB, House


class Reading:
    def __init__(self, house: House) -> None:
        self.house = house
        clock: Any = house.registry.clock
        self.serializer = Serializer(house.events, clock)

    def event(self, event_id: str, reader: str = BOB, **options: Any) -> dict[str, Any]:
        stored = self.house.run(self.house.events.get(event_id))
        assert stored is not None
        return self.form(stored, reader, **options)

    def form(self, stored: StoredEvent, reader: str, **options: Any) -> dict[str, Any]:
        [fragment] = self.house.run(self.serializer.client_events([stored], reader, **options))
        event: dict[str, Any] = orjson.loads(orjson.dumps(fragment))
        return event


@pytest.fixture
def reading(house: House) -> Reading:
    return Reading(house)


def test_a_message(house: House, reading: Reading) -> None:
    room_id = house.room(BOB)
    event_id = house.say(room_id, "hello")
    event = reading.event(event_id)
    assert event.pop("unsigned")["age"] >= 0
    assert event.pop("origin_server_ts") > 0
    assert event == {
        "content": {"body": "hello"},
        "event_id": event_id,
        "room_id": room_id,
        "sender": ALICE,
        "type": "m.room.message",
    }
    assert "room_id" not in reading.event(event_id, room_id=False)


def test_age_is_told_anew_each_time(house: House, reading: Reading) -> None:
    event_id = house.say(house.room(), "hello")
    ages = [reading.event(event_id)["unsigned"]["age"] for _ in range(3)]
    assert ages == sorted(set(ages))


def test_transaction_ids_are_for_the_device_that_sent(house: House, reading: Reading) -> None:
    room_id = house.room(BOB)
    sent = house.run(house.rooms.send(room_id, ALICE, "m.x", {}, device_id="D", txn_id="t"))
    readers = ((ALICE, "D", "t"), (ALICE, "E", None), (BOB, "D", None), (ALICE, None, None))
    for reader, device_id, told in readers:
        unsigned = reading.event(sent, reader, device_id=device_id)["unsigned"]
        assert unsigned.get("transaction_id") == told


@dataclass
class Seen:
    """A reader's view of everything."""

    membership: str = "join"
    replaced: bool = True

    def membership_of(self, stored: StoredEvent) -> str:
        return self.membership

    def sees_replaced(self, stored: StoredEvent) -> bool:
        return self.replaced


def test_membership_is_the_readers(house: House, reading: Reading) -> None:
    event_id = house.say(house.room(), "hello")
    event = reading.event(event_id, view=Seen("invite"))
    assert event["unsigned"]["membership"] == "invite"
    assert "membership" not in reading.event(event_id)["unsigned"]


def test_state_tells_what_it_replaced(house: House, reading: Reading) -> None:
    room_id = house.room()
    first = house.set_state(room_id, "m.room.topic", {"topic": "one"})
    second = house.set_state(room_id, "m.room.topic", {"topic": "two"})
    house.events._recent.clear()
    unsigned = reading.event(second, view=Seen())["unsigned"]
    assert unsigned["replaces_state"] == first
    assert unsigned["prev_content"] == {"topic": "one"}
    for view in (None, Seen(replaced=False)):
        unsigned = reading.event(second, view=view)["unsigned"]
        assert unsigned["replaces_state"] == first
        assert "prev_content" not in unsigned
    assert "replaces_state" not in reading.event(first)["unsigned"]
    assert reading.event(second)["state_key"] == ""


@pytest.mark.parametrize("version", ["1", "10", "11", "12"])
def test_redactions_name_their_target_in_both_places(house: House, reading: Reading, version: str) -> None:
    room_id = house.room(BOB, room_version=version)
    target = house.say(room_id, "secret")
    before = reading.event(target)
    redaction = house.run(house.rooms.redact(room_id, ALICE, target, "why"))
    event = reading.event(redaction)
    assert event["redacts"] == event["content"]["redacts"] == target
    assert event["content"]["reason"] == "why"
    redacted = reading.event(target)
    assert (before["content"], redacted["content"]) == ({"body": "secret"}, {})
    because = redacted["unsigned"]["redacted_because"]
    assert (because["event_id"], because["room_id"], because["redacts"]) == (redaction, room_id, target)


def test_the_common_part_is_made_once(house: House, reading: Reading) -> None:
    event_id = house.say(house.room(BOB), "hello")
    reading.event(event_id, ALICE)
    stored = house.run(house.events.get(event_id))
    assert stored is not None
    prefix = stored.client_prefix
    reading.event(event_id, BOB)
    assert prefix is not None and stored.client_prefix is prefix
