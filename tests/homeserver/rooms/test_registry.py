"""Rooms in memory: whatever goes wrong with a commit, a client or memory, they are as the database is."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from homeserver.errors import Forbidden, NotFound
from homeserver.protocol.events import load
from homeserver.rooms.create import CreateOptions
from homeserver.rooms.head import POWER_LEVELS, Head, Proposal
from homeserver.rooms.room import TIMELINE_KEPT
from storage import events
from storage.transaction import Transaction
from tests.homeserver.rooms.house import ALICE, BOB, CAROL, House
from tests.storage.conftest import SynchronousDatabase


@contextmanager
def writer_held(db: SynchronousDatabase) -> Iterator[None]:
    """Nothing is committed meanwhile; what is written is committed together afterwards."""
    started, go_on = threading.Event(), threading.Event()

    def hold(tx: Transaction) -> None:
        started.set()
        go_on.wait(20)

    held = db.database.write(hold)
    assert started.wait(20)
    try:
        yield
    finally:
        go_on.set()
        db._wait(held)


def same_head(known: Head, read: Head) -> bool:
    return (
        known.state.entries == read.state.entries
        and known.state.snapshot == read.state.snapshot
        and (known.extremities, known.depth) == (read.extremities, read.depth)
        and (known.joined, known.invited) == (read.joined, read.invited)
        and known.levels.users == read.levels.users
        and known.levels.invite == read.levels.invite
        and known.levels.notifications("room") == read.levels.notifications("room")
    )


def assert_as_stored(house: House, room_id: str) -> None:
    """A server that starts now finds the room as this one has it."""
    known = house.run(house.registry.get(room_id))
    assert known.head is known.tip or same_head(known.head, known.tip)
    assert not known.pending
    other = House(house.db)
    read = other.run(other.registry.get(room_id))
    assert same_head(known.head, read.head)
    assert known.position == read.position
    assert house.memberships.local_members(room_id) == other.memberships.local_members(room_id)


def test_events_of_one_commit_stand_on_each_other(house: House) -> None:
    room_id = house.room(BOB)
    with writer_held(house.db):
        sent = [
            Deferred.fromCoroutine(house.rooms.send(room_id, ALICE, "m.room.message", {"body": str(n)}))
            for n in range(5)
        ]
        name = {"name": "x"}
        renamed = Deferred.fromCoroutine(house.rooms.set_state(room_id, ALICE, "m.room.name", "", name))
        room = house.run(house.registry.get(room_id))
        assert len(room.pending) == 6
        assert room.head.event_id("m.room.name") is None
    ids = [house.db._wait(each) for each in [*sent, renamed]]
    found = house.run(house.events.many(ids))
    for before, after in zip(ids, ids[1:], strict=False):
        assert found[after].event.prev_events == (before,)
    assert_as_stored(house, room_id)


def test_whoever_goes_away_while_sending_leaves_a_whole_room(house: House) -> None:
    room_id = house.room()
    room = house.run(house.registry.get(room_id))
    failures: list[Any] = []
    with writer_held(house.db):
        gone = Deferred.fromCoroutine(house.rooms.set_state(room_id, ALICE, "m.room.name", "", {"name": "x"}))
        gone.addErrback(failures.append)
        gone.cancel()
        assert len(failures) == 1
        after = Deferred.fromCoroutine(house.rooms.send(room_id, ALICE, "m.room.message", {"body": "b"}))
    house.db._wait(after)
    assert house.run(house.registry.get(room_id)) is room
    assert room.head.event_id("m.room.name") is not None
    assert_as_stored(house, room_id)


def test_what_was_built_on_a_failure_is_built_anew(house: House) -> None:
    room_id = house.room(BOB)
    proposal = Proposal("m.room.message", ALICE, {"body": "once"}, None, None, "DEVICE", "txn")
    [first] = house.run(house.registry.append(room_id, [proposal]))
    with writer_held(house.db):
        again = Deferred.fromCoroutine(
            house.rooms.send(
                room_id, ALICE, "m.room.message", {"body": "once"}, device_id="DEVICE", txn_id="txn"
            )
        )
        others = [
            Deferred.fromCoroutine(house.rooms.send(room_id, BOB, "m.room.message", {"body": body}))
            for body in ("a", "b")
        ]
        left = Deferred.fromCoroutine(house.rooms.leave(room_id, BOB))
        elsewhere = Deferred.fromCoroutine(house.rooms.create(CAROL, _public()))
    assert house.db._wait(again) == first.event_id
    for other in others:
        # The leave may have come first when both were built anew.
        try:
            house.db._wait(other)
        except Forbidden:
            continue
    house.db._wait(left)
    assert_as_stored(house, room_id)
    assert_as_stored(house, house.db._wait(elsewhere))
    assert house.run(house.registry.get(room_id)).membership(BOB) == "leave"
    assert house.read(room_id, ALICE).count("once") == 1


def _public() -> CreateOptions:
    return CreateOptions(preset="public_chat")


def test_a_transaction_is_known_after_a_restart(house: House) -> None:
    room_id = house.room()

    def send(house: House, body: str) -> str:
        return house.run(
            house.rooms.send(room_id, ALICE, "m.room.message", {"body": body}, device_id="D", txn_id="t")
        )

    first = send(house, "one")
    assert send(house, "two") == first
    restarted = House(house.db)
    assert send(restarted, "three") == first
    assert send(restarted, "four") == first
    assert house.read(room_id, ALICE) == ["one"]


def test_an_event_that_is_refused_leaves_no_trace(house: House) -> None:
    room_id = house.room()
    room = house.run(house.registry.get(room_id))
    tip = room.tip
    name = Proposal("m.room.name", ALICE, {"name": "x"}, "")
    with pytest.raises(Forbidden):
        house.run(house.registry.append(room_id, [name, Proposal("m.room.name", BOB, {"name": "y"}, "")]))
    assert room.tip is tip
    assert not room.pending


def test_unknown_rooms_are_not_found(house: House) -> None:
    for _ in range(2):
        with pytest.raises(NotFound):
            house.run(house.registry.get("!nowhere:here"))
    assert not house.registry._loading


def test_a_room_is_loaded_once_for_all_who_ask(house: House) -> None:
    room_id = house.room()
    house.registry._drop(house.run(house.registry.get(room_id)))
    asked = [Deferred.fromCoroutine(house.registry.get(room_id)) for _ in range(4)]
    rooms = [house.db._wait(each) for each in asked]
    assert all(room is rooms[0] for room in rooms)


def test_whoever_loads_a_room_may_go_away(house: House) -> None:
    room_id = house.room()
    house.registry._drop(house.run(house.registry.get(room_id)))
    for _ in range(20):
        first = Deferred.fromCoroutine(house.registry.get(room_id))
        second = Deferred.fromCoroutine(house.registry.get(room_id))
        first.addErrback(lambda failure: None)
        first.cancel()
        house.registry._drop(house.db._wait(second))
    assert not house.registry._loading


def test_rooms_used_lately_stay_in_memory(house: House) -> None:
    house.registry._most_rooms = 10
    busy = house.room(BOB)
    others = []
    for _ in range(25):
        others.append(house.room())
        house.say(busy, "still here")
    assert len(house.registry._rooms) <= 10
    assert house.registry.cached(busy) is not None
    assert house.registry.cached(others[0]) is None
    for room_id in (others[0], others[12], busy):
        assert_as_stored(house, room_id)


def test_a_room_with_something_under_way_is_not_evicted(house: House) -> None:
    house.registry._most_rooms = 2
    room_id = house.room()
    room = house.run(house.registry.get(room_id))
    with writer_held(house.db):
        sent = Deferred.fromCoroutine(house.rooms.send(room_id, ALICE, "m.room.message", {"body": "a"}))
        created = [Deferred.fromCoroutine(house.rooms.create(ALICE, _public())) for _ in range(5)]
        assert house.registry.cached(room_id) is room
    for each in [sent, *created]:
        house.db._wait(each)
    assert_as_stored(house, room_id)


def test_the_timeline_in_memory_says_where_it_begins(house: House) -> None:
    room_id = house.room()
    for n in range(TIMELINE_KEPT + 10):
        house.say(room_id, str(n))
    room = house.run(house.registry.get(room_id))
    assert len(room.timeline) == TIMELINE_KEPT
    assert room.since(room.timeline_from - 1, room.position) is None
    whole = room.since(room.timeline_from, room.position)
    assert whole is not None and len(whole) == TIMELINE_KEPT
    assert room.since(room.position - 1, room.position) == [room.timeline[-1]]
    assert room.since(room.position, room.position) == []


def test_a_redaction_changes_every_copy_in_memory(house: House) -> None:
    room_id = house.room()
    message = house.say(room_id, "secret")
    redaction = house.run(house.rooms.redact(room_id, ALICE, message, "why"))
    room = house.run(house.registry.get(room_id))
    [recent] = [stored for stored in room.timeline if stored.event_id == message]
    cached = house.run(house.events.get(message))
    read = House(house.db)
    stored = read.run(read.events.get(message))
    for each in (recent, cached, stored):
        assert each is not None
        assert each.event.content == {}
        assert each.redacted_by == redaction
    again = house.run(house.rooms.redact(room_id, ALICE, message, None))
    assert again != redaction
    assert cached is not None and cached.redacted_by == redaction


def test_a_read_from_before_a_redaction_does_not_bring_the_event_back(house: House) -> None:
    room_id = house.room()
    message = house.say(room_id, "secret")
    read = House(house.db)
    old = read.run(read.events.get(message))
    assert old is not None and old.event.content == {"body": "secret"}
    house.run(house.rooms.redact(room_id, ALICE, message, None))
    house.events._recent.clear()
    del read
    early = house.db.read(_as_if_read_before, message, old.event.json)
    [shared] = house.events.share([early])
    assert shared.event.content == {}
    assert shared.redacted_by is not None


def _as_if_read_before(tx: Transaction, event_id: str, json: bytes) -> Any:
    stored = events.by_id(tx, [event_id])[event_id]
    stored.event = load(json, event_id, stored.event.version)
    stored.redacted_by = None
    return stored


@pytest.mark.parametrize("version", ["1", "6", "10", "11", "12"])
def test_redacted_power_levels_are_in_force_as_redacted(house: House, version: str) -> None:
    room_id = house.room(
        BOB, room_version=version, power_level_content_override={"invite": 77, "notifications": {"room": 3}}
    )
    room = house.run(house.registry.get(room_id))
    assert room.head.levels.invite == 77
    power_levels = room.head.event_id(*POWER_LEVELS)
    assert power_levels is not None
    house.run(house.rooms.redact(room_id, ALICE, power_levels, None))
    assert room.head.levels.invite == (77 if version in ("11", "12") else 0)
    assert_as_stored(house, room_id)
    house.say(room_id, "after")
    assert_as_stored(house, room_id)


@pytest.mark.parametrize("version", [str(n) for n in range(1, 13)])
def test_every_room_version_lives_and_is_read_back(house: House, version: str) -> None:
    room_id = house.room(BOB, room_version=version)
    message = house.say(room_id, "hello", BOB)
    house.set_state(room_id, "m.room.topic", {"topic": "t"})
    house.run(house.rooms.redact(room_id, ALICE, message, None))
    house.leave(room_id, BOB)
    assert_as_stored(house, room_id)
    restarted = House(house.db)
    restarted.say(room_id, "after the restart")
    assert restarted.read(room_id, ALICE) == ["after the restart"]
