"""Unread counts. `World.counts` holds each answer from memory against a fresh read of the database."""

import timeit
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeserver.protocol.push_rules import Facts, Rule
from homeserver.push.thread_subscriptions import ThreadSubscriptions
from homeserver.push.unread import NOTHING_UNREAD, Unread
from storage import account_data
from storage.events import StoredEvent
from tests.homeserver.push.world import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    ROOM,
    Power,
    World,
    mention,
)
from tests.storage.conftest import SynchronousDatabase

LOUD = ("notify", {"set_tweak": "highlight"})


@pytest.fixture
def world(db: SynchronousDatabase) -> World:
    world = World(db)
    world.join(ALICE, BOB, CAROL, DAVE)
    return world


def test_messages_count_until_they_are_read(world: World) -> None:
    assert world.counts(ALICE) == NOTHING_UNREAD
    first = world.send(BOB)
    world.send(BOB, "m.reaction", {})
    last = world.send(DAVE, "m.room.encrypted", {})
    assert world.shown(ALICE) == (2, 0)
    world.receipt(ALICE, first)
    assert world.shown(ALICE) == (1, 0)
    world.receipt(ALICE, last, type="m.read.private")
    assert world.shown(ALICE) == (0, 0)
    world.receipt(ALICE, world.send(BOB, "m.reaction", {}))
    assert world.shown(ALICE) == (0, 0)


def test_the_receipt_that_is_ahead_counts(world: World) -> None:
    a, b, c = world.send(BOB), world.send(BOB), world.send(BOB)
    world.receipt(ALICE, b)
    world.receipt(ALICE, a, type="m.read.private")
    assert world.shown(ALICE) == (1, 0)
    world.receipt(ALICE, c, type="m.read.private")
    assert world.shown(ALICE) == (0, 0)


def test_nothing_before_the_join_counts(world: World) -> None:
    eve = "@eve:here"
    world.send(BOB)
    world.send(BOB, "m.room.member", {"membership": "invite"}, eve)
    world.join(eve)
    assert world.shown(eve) == (0, 0)
    world.send(BOB)
    assert world.shown(eve) == (1, 0)
    world.send(eve, "m.room.member", {"membership": "join", "displayname": "E"}, eve)
    assert world.shown(eve) == (1, 0)
    world.send(eve, "m.room.member", {"membership": "leave"}, eve)
    world.send(BOB)
    world.join(eve)
    assert world.shown(eve) == (0, 0)


def test_sending_is_reading(world: World) -> None:
    root = world.send(BOB)
    world.thread(BOB, root)
    world.thread(CAROL, root)
    assert world.shown(ALICE) == (3, 0)
    world.send(ALICE)
    assert world.shown(ALICE) == (2, 0)
    world.thread(ALICE, root)
    assert world.shown(ALICE) == (0, 0)
    assert world.shown(BOB) == (3, 0)


def test_mentions_and_room_mentions(world: World) -> None:
    world.send(BOB, content=mention(ALICE))
    world.send(BOB, content=mention(room=True))
    world.send(DAVE, content=mention(room=True))
    assert world.shown(ALICE) == (3, 2)
    assert world.shown(CAROL) == (3, 1)
    assert world.shown(BOB) == (1, 0)
    assert world.rows() == [(ALICE, "$e5", 1, 1)]


def test_threads_are_counted_apart(world: World) -> None:
    root = world.send(BOB)
    other = world.send(BOB)
    one = world.thread(BOB, root)
    world.thread(BOB, root, **{"m.mentions": {"user_ids": [ALICE]}})
    world.thread(BOB, other)
    counts = world.counts(ALICE)
    assert (counts.notification_count, counts.highlight_count) == (5, 1)
    assert (counts.main_notification_count, counts.main_highlight_count) == (2, 0)
    assert counts.threads == {root: (2, 1), other: (1, 0)}
    world.receipt(ALICE, one, root)
    assert world.counts(ALICE).threads == {root: (1, 1), other: (1, 0)}
    world.receipt(ALICE, other, "main")
    counts = world.counts(ALICE)
    assert counts.main_notification_count == 0
    assert counts.threads == {root: (1, 1), other: (1, 0)}
    world.receipt(ALICE, world.send(BOB))
    assert world.counts(ALICE) == NOTHING_UNREAD


def test_the_example_of_the_specification(world: World) -> None:
    a, b = world.send(BOB), world.send(BOB)
    c = world.thread(BOB, a)
    d = world.thread(BOB, b)
    e = world.thread(BOB, a)
    world.thread(BOB, b)
    world.thread(BOB, a)
    world.thread(BOB, a)
    i = world.send(BOB)
    world.receipt(ALICE, i, "main")
    assert world.counts(ALICE).main_notification_count == 0
    world.receipt(ALICE, e, a)
    assert world.counts(ALICE).threads == {a: (2, 0), b: (2, 0)}
    world.receipt(CAROL, d)
    counts = world.counts(CAROL)
    assert counts.main_notification_count == 1
    assert counts.threads == {a: (3, 0), b: (1, 0)}
    assert c != e


def test_rules_of_ones_own(world: World) -> None:
    world.run(world.rules.put(ALICE, Rule("room", ROOM, ())))
    world.run(world.rules.put(CAROL, Rule("content", "c", LOUD, None, "cake")))
    world.send(BOB)
    world.send(BOB, content={"body": "cake"})
    world.send(BOB, content=mention(ALICE, CAROL))
    assert world.shown(ALICE) == (1, 1)
    assert world.shown(CAROL) == (3, 2)
    world.run(world.rules.delete(ALICE, "room", ROOM))
    assert world.shown(ALICE) == (3, 1)
    world.run(world.rules.set_enabled(ALICE, "override", ".m.rule.master", True))
    world.send(BOB, content=mention(ALICE))
    assert world.shown(ALICE) == (1, 1)  # what was mentioned before the switch was turned stays


def test_a_muted_sender(world: World) -> None:
    world.run(world.rules.put(ALICE, Rule("sender", BOB, ())))
    world.send(BOB)
    world.send(CAROL)
    assert world.shown(ALICE) == (1, 0)
    assert world.shown(CAROL) == (0, 0)


def test_ignored_users(world: World) -> None:
    world.send(BOB, content=mention(ALICE))
    assert world.shown(ALICE) == (1, 1)
    world.ignored[ALICE] = {BOB}
    world.db.write(account_data.set_account_data, ALICE, None, "m.ignored_user_list", b"{}")
    assert world.shown(ALICE) == (0, 0)
    world.send(BOB, content=mention(ALICE))
    world.send(CAROL)
    assert world.shown(ALICE) == (1, 0)


def test_redacted_messages_no_longer_count(world: World) -> None:
    first, second = world.send(BOB), world.send(BOB, content=mention(ALICE))
    assert world.shown(ALICE) == (2, 1)
    world.send(BOB, "m.room.redaction", {"redacts": second}, redacts=second)
    assert world.shown(ALICE) == (1, 0)
    world.send(BOB, "m.room.redaction", {"redacts": first}, redacts=first)
    assert world.shown(ALICE) == (0, 0)


def test_many_rooms_in_one_read(world: World) -> None:
    rooms = [f"!r{n}:here" for n in range(5)]
    for room_id in rooms:
        world.join(ALICE, BOB, room_id=room_id)
    for number, room_id in enumerate(rooms):
        for _ in range(number):
            world.send(BOB, room_id=room_id)
    assert world.unread.cached(ALICE, rooms[3]) is None
    world.counts(ALICE, rooms[3])
    found = world.run(world.unread.many(ALICE, [*rooms, "!unknown:here"]))
    assert [found[room_id].notification_count for room_id in rooms] == [0, 1, 2, 3, 4]
    assert found["!unknown:here"] == NOTHING_UNREAD
    assert all(world.unread.cached(ALICE, room_id) is not None for room_id in rooms)


def test_memory_is_bounded(world: World) -> None:
    unread = Unread(world.db.database, world.rules, world._ignored, most=3)
    rooms = [f"!r{n}:here" for n in range(5)]
    for room_id in rooms:
        world.join(ALICE, room_id=room_id)
        world.run(unread.counts(ALICE, room_id))
    kept = [unread.cached(ALICE, room_id) is not None for room_id in rooms]
    assert kept == [False, False, True, True, True]
    for _ in range(300):
        world.send(BOB, room_id=rooms[4])
    assert unread.cached(ALICE, rooms[4]) is None
    assert world.run(unread.counts(ALICE, rooms[4])).notification_count == 300


def test_a_receipt_during_a_read_is_not_lost(world: World) -> None:
    event_id = world.send(BOB)
    meanwhile: set[tuple[str, str | None]] = set()
    world.unread._meanwhile.append(meanwhile)
    world.receipt(ALICE, event_id)
    assert (ALICE, ROOM) in meanwhile
    world.unread._meanwhile.clear()


def test_a_cached_answer_takes_microseconds(world: World) -> None:
    world.send(BOB)
    world.counts(ALICE)
    best = min(timeit.repeat(lambda: world.unread.cached(ALICE, ROOM), number=1000, repeat=5)) / 1000
    assert best < 10e-6  # about 0.5 µs on an idle machine


# Against a model that keeps every outcome of every user

_USERS = (ALICE, BOB, CAROL)
_RULES = [
    Rule("room", ROOM, ()),
    Rule("content", "c", LOUD, None, "cake"),
    Rule("sender", BOB, ()),
    Rule("override", "all", LOUD, ({"kind": "event_match", "key": "content.msgtype", "pattern": "m.*"},)),
]
_MESSAGES = st.sampled_from(["plain", "cake", "me", "room"])
_STEPS = st.one_of(
    st.tuples(st.just("send"), st.sampled_from([*_USERS, DAVE]), _MESSAGES),
    st.tuples(st.just("thread"), st.sampled_from([*_USERS, DAVE]), st.integers(0, 2)),
    st.tuples(st.just("other"), st.sampled_from(_USERS), st.sampled_from(["m.reaction", "m.room.encrypted"])),
    st.tuples(st.just("read"), st.sampled_from(_USERS), st.integers(0, 30)),
    st.tuples(st.just("read in thread"), st.sampled_from(_USERS), st.integers(0, 30)),
    st.tuples(st.just("follow"), st.sampled_from(_USERS), st.integers(0, 2)),
    st.tuples(st.just("unfollow"), st.sampled_from(_USERS), st.integers(0, 2)),
    st.tuples(st.just("ask"), st.sampled_from(_USERS), st.none()),
)


class Model:
    def __init__(self, world: World, room_id: str) -> None:
        self.world = world
        self.room_id = room_id
        self.events: list[str] = []
        self.floors: dict[tuple[str, Any], int] = {}
        self.subscribers: dict[str, frozenset[str]] = {}

    def sent(self, sender: str, event_id: str) -> None:
        thread = self.world.events[event_id].thread
        self.events.append(event_id)
        self.floors[sender, thread] = len(self.events)
        self.subscribers[event_id] = frozenset(self.world.subscribers.of(self.room_id, thread or ""))

    def counts(self, user: str) -> dict[str | None, tuple[int, int]]:
        power = Power()
        result: dict[str | None, tuple[int, int]] = {}
        for index, event_id in enumerate(self.events):
            stored = self.world.events[event_id]
            event = stored.event
            floor = max(self.floors.get((user, "all"), 0), self.floors.get((user, stored.thread), 0))
            if index < floor or event.sender == user:
                continue
            permitted = power.user(event.sender) >= power.notifications("room")
            subscribers = self.subscribers[event_id]
            permits = {"room": permitted}.__getitem__
            facts = Facts(4, permits, lambda user: None, stored.thread, subscribers)
            notify, highlight = self.world.rules.of(user).outcome(event, facts, user)
            n, h = result.get(stored.thread, (0, 0))
            if notify:
                result[stored.thread] = n + notify, h + highlight
        return result


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(_STEPS, max_size=30),
    st.lists(st.tuples(st.sampled_from(_USERS), st.sampled_from(_RULES)), max_size=3),
)
def test_like_the_model(world: World, steps: list[Any], rules: list[tuple[str, Rule]]) -> None:
    room_id = f"!m{len(world.nids)}:here"

    async def seen(room_id: str, user_id: str, event_id: str) -> StoredEvent:
        return world.events[event_id]

    threads = ThreadSubscriptions(world.db.database, world.rules, seen)
    for user in _USERS:
        world.run(threads.forget(user, erased=False))
        for kind, rule_id in list(world.rules.of(user).changed):
            world.run(world.rules.set_enabled(user, kind, rule_id, False))
        for kind, own in list(world.rules.of(user).custom.items()):
            for rule in own:
                world.run(world.rules.delete(user, kind, rule.rule_id))
    for user, rule in rules:
        rule = Rule("room", room_id, ()) if rule.kind == "room" else rule
        world.run(world.rules.put(user, rule))
    world.join(ALICE, BOB, CAROL, DAVE, room_id=room_id)
    model = Model(world, room_id)
    contents = {
        "plain": {"msgtype": "m.text", "body": "hello"},
        "cake": {"msgtype": "m.image", "body": "a cake"},
        "me": mention(ALICE),
        "room": mention(room=True),
    }
    for what, who, how in steps:
        if what == "send":
            model.sent(who, world.send(who, content=contents[how], room_id=room_id))
        elif what == "other":
            model.sent(who, world.send(who, how, {}, room_id=room_id))
        elif what == "thread" and model.events:
            root = model.events[min(how, len(model.events) - 1)]
            relation = {"rel_type": "m.thread", "event_id": root}
            event_id = world.send(who, content={"body": "x", "m.relates_to": relation}, room_id=room_id)
            model.sent(who, event_id)
        elif what.endswith("follow") and model.events:
            thread = model.events[min(how, len(model.events) - 1)]
            if world.events[thread].thread is None:
                change = threads.subscribe if what == "follow" else threads.unsubscribe
                world.run(change(who, room_id, thread))
        elif what.startswith("read") and model.events:
            index = min(how, len(model.events) - 1)
            event_id = model.events[index]
            thread = world.events[event_id].thread
            apart = what == "read in thread"
            world.receipt(who, event_id, (thread or "main") if apart else None, room_id=room_id)
            key = (who, thread if apart else "all")
            model.floors[key] = max(model.floors.get(key, 0), index + 1)
        elif what == "ask":
            _check(world, model, who)
    for user in _USERS:
        _check(world, model, user)


def _check(world: World, model: Model, user: str) -> None:
    counts = world.counts(user, model.room_id)
    expected = model.counts(user)
    main = expected.pop(None, (0, 0))
    assert (counts.main_notification_count, counts.main_highlight_count) == main
    assert counts.threads == expected
