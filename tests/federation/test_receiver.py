"""Transactions that are slow, repeated, or too many: who waits for whom, and for how long."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from federation.receiver import (
    BYTES_IN_ALL,
    BYTES_OF_A_SERVER,
    DEADLINE_SECONDS,
    SMALL,
    WAITING_OF_A_SERVER,
    Receiver,
    Results,
)
from homeserver.errors import LimitExceeded, NotFound
from homeserver.protocol.events import Event
from homeserver.protocol.signing import SigningKey
from tests.federation.synthetic_room import SyntheticRoom
from tests.homeserver.sync.fakes import FakeClock


class FakeRooms:
    """Rooms that take their events when they are told to. `slow` rooms are waiting for someone."""

    def __init__(self) -> None:
        self.known: dict[str, SyntheticRoom] = {}
        self.slow: dict[str, Deferred[None]] = {}
        self.taken: list[str] = []

    async def get(self, room_id: str) -> SyntheticRoom:
        if room_id not in self.known:
            raise NotFound("This server does not know the room.")
        return self.known[room_id]

    async def acl_allows(self, room_id: str, server_name: str) -> bool:
        return True

    async def receive(self, origin: str, room_id: str, events: Sequence[Event]) -> dict[str, str | None]:
        if room_id in self.slow:
            await self.slow[room_id]
        self.taken += [event.content["body"] for event in events]
        return {event.event_id: None for event in events}


class Scene:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.rooms = FakeRooms()
        key = SigningKey.generate()
        self.quick, self.slow = (SyntheticRoom.create("11", "there", key, name) for name in ("quick", "slow"))
        self.rooms.known = {room.room_id: room for room in (self.quick, self.slow)}
        self.hold: Deferred[None] = Deferred()
        self.rooms.slow[self.slow.room_id] = self.hold
        recipients: Any = SimpleNamespace(rooms=self.rooms)
        rooms: Any = self.rooms
        db: Any = SimpleNamespace(read=self._no_invites)
        self.receiver = Receiver(self.clock, rooms, self._verify, db, recipients)

    async def _no_invites(self, *_: Any) -> None:
        return None

    async def _verify(self, events: Sequence[Event]) -> Sequence[Event]:
        return events

    def send(
        self, txn_id: str, *events: Event, origin: str = "there", size: int = 0
    ) -> "Deferred[Results]":
        pdus = [event.pdu for event in events]
        return Deferred.fromCoroutine(self.receiver.receive(origin, txn_id, pdus, [], size))


def result(sent: "Deferred[Results]") -> Any:
    """Its result, or None while there is none."""
    found: list[Any] = []
    sent.addBoth(found.append)
    return found[0] if found else None


def test_a_slow_room_holds_up_neither_others_nor_the_answer() -> None:
    scene = Scene()
    quick, slow = scene.quick.say("quick"), scene.slow.say("slow")
    sent = scene.send("1", slow, quick)
    assert scene.rooms.taken == ["quick"] and not sent.called
    scene.clock.advance(DEADLINE_SECONDS)
    answer = result(sent)
    assert answer[quick.event_id] == {} and "error" in answer[slow.event_id]

    # What comes after it in the same room waits for it; nothing was lost.
    later = scene.send("2", scene.slow.say("later"))
    assert scene.rooms.taken == ["quick"]
    scene.hold.callback(None)
    assert scene.rooms.taken == ["quick", "slow", "later"]
    assert list(result(later).values()) == [{}]
    assert result(scene.send("1", quick)) == answer, "what was answered stays"
    assert not scene.clock.reactor.getDelayedCalls()


def test_a_repeated_transaction_shares_the_first_ones_work() -> None:
    scene = Scene()
    event = scene.slow.say("once")
    first, again = scene.send("1", event), scene.send("1", event)
    assert not first.called and not again.called
    scene.hold.callback(None)
    assert result(first) == result(again) == {event.event_id: {}}
    assert scene.rooms.taken == ["once"]


def test_one_at_a_time_for_each_server_and_a_few_in_line() -> None:
    scene = Scene()
    scene.send("slow", scene.slow.say("slow"))
    waiting = [scene.send(f"{n}", scene.quick.say(f"{n}")) for n in range(WAITING_OF_A_SERVER)]
    assert scene.rooms.taken == []
    refused = scene.send("too many", scene.quick.say("too many"))
    assert result(refused).check(LimitExceeded)
    other = scene.send("1", scene.quick.say("other"), origin="elsewhere")
    assert len(result(other)) == 1 and scene.rooms.taken == ["other"]
    scene.hold.callback(None)
    assert scene.rooms.taken == ["other", "slow", "0", "1", "2", "3", "4"]
    assert all(result(sent) for sent in waiting)


def test_what_waits_takes_a_bounded_amount_of_memory() -> None:
    scene = Scene()
    scene.send("1", scene.slow.say("slow"), size=BYTES_OF_A_SERVER - 1)
    assert result(scene.send("2", scene.quick.say("too much"), size=2)).check(LimitExceeded)
    servers = BYTES_IN_ALL // BYTES_OF_A_SERVER
    for number in range(1, servers):
        scene.send("1", scene.slow.say(f"slow {number}"), origin=f"there{number}", size=BYTES_OF_A_SERVER)
    refused = scene.send("1", scene.quick.say("large"), origin="elsewhere", size=SMALL + 1)
    assert result(refused).check(LimitExceeded)
    assert result(scene.send("2", scene.quick.say("small"), origin="elsewhere", size=SMALL))
    scene.hold.callback(None)
    assert result(scene.send("3", scene.quick.say("large"), origin="elsewhere", size=BYTES_OF_A_SERVER))


@pytest.mark.parametrize("version", ["3", "11", "12"])
def test_an_event_of_an_unknown_room_is_named(version: str) -> None:
    scene = Scene()
    event = SyntheticRoom.create(version, "there", SigningKey.generate()).say("who are you")
    [error] = result(scene.send("1", event)).values()
    assert "does not know" in error["error"]
