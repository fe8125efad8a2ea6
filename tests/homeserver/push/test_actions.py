import timeit
from typing import Any

import pytest

from homeserver.protocol.push_rules import Rule
from homeserver.protocol.push_rules.base import ENCRYPTED, MESSAGE, NONE, ROOM_MENTION
from storage.push_actions import PushAction
from tests.homeserver.push.world import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    ROOM,
    World,
    actions_of,
    head_with,
    make_event,
    mention,
)
from tests.storage.conftest import SynchronousDatabase

JOINED = {ALICE: "join", BOB: "join", CAROL: "join", DAVE: "join"}
LOUD = ("notify", {"set_tweak": "highlight"})


@pytest.fixture
def world(db: SynchronousDatabase) -> World:
    world = World(db)
    world.members[ROOM] = dict(JOINED)
    return world


def outcome(world: World, *event: Any) -> tuple[int, list[tuple[str, int, int]]]:
    base, _, rows = world.actions.of_event(make_event(*event), head_with(JOINED))
    return base, actions_of(rows)


def body(text: str) -> dict[str, Any]:
    return {"msgtype": "m.text", "body": text}


def test_an_ordinary_message_writes_nothing(world: World) -> None:
    assert outcome(world, DAVE) == (MESSAGE, [])
    assert outcome(world, DAVE, "m.room.encrypted", {}) == (ENCRYPTED, [])


def test_mentions(world: World) -> None:
    stranger = "@nobody:here"
    content = mention(ALICE, BOB, DAVE, stranger)
    content["m.mentions"]["user_ids"] += [7, None, "", "@", ALICE]
    assert outcome(world, BOB, "m.room.message", content) == (MESSAGE, [(ALICE, 1, 1)])
    assert outcome(world, BOB, "m.room.message", mention(room=True)) == (ROOM_MENTION, [])
    assert outcome(world, DAVE, "m.room.message", mention(room=True)) == (MESSAGE, [])
    all_broken: list[Any] = [7, None, [], {"user_ids": ALICE}, {"user_ids": {ALICE: 1}}]
    for broken in all_broken:
        assert outcome(world, BOB, "m.room.message", {**body("x"), "m.mentions": broken}) == (MESSAGE, [])


def test_invites(world: World) -> None:
    invite = {"membership": "invite"}
    assert outcome(world, DAVE, "m.room.member", invite, "@eve:here") == (NONE, [("@eve:here", 1, 0)])
    assert outcome(world, ALICE, "m.room.member", invite, "@eve:there") == (NONE, [])


def test_joins_begin_a_stay(world: World) -> None:
    join = make_event("@eve:here", "m.room.member", {"membership": "join"}, "@eve:here")
    _, _, rows = world.actions.of_event(join, head_with(JOINED))
    assert rows == [PushAction("@eve:here", ROOM, "$event", None, 0, 0, True)]
    renamed = make_event(ALICE, "m.room.member", {"membership": "join", "displayname": "A"}, ALICE)
    assert world.actions.of_event(renamed, head_with(JOINED))[2] == []
    remote = make_event("@eve:there", "m.room.member", {"membership": "join"}, "@eve:there")
    assert world.actions.of_event(remote, head_with(JOINED))[2] == []


def test_keywords(world: World) -> None:
    world.run(world.rules.put(ALICE, Rule("content", "c", LOUD, None, "cake")))
    world.run(world.rules.put("@elsewhere:here", Rule("content", "c", LOUD, None, "cake")))
    assert outcome(world, BOB, "m.room.message", body("Cake!")) == (MESSAGE, [(ALICE, 1, 1)])
    assert outcome(world, BOB, "m.room.message", body("cakes")) == (MESSAGE, [])
    assert outcome(world, ALICE, "m.room.message", body("cake")) == (MESSAGE, [])
    world.run(world.rules.delete(ALICE, "content", "c"))
    assert outcome(world, BOB, "m.room.message", body("Cake!")) == (MESSAGE, [])


def test_muting_writes_no_rows(world: World) -> None:
    world.run(world.rules.put(ALICE, Rule("room", ROOM, ())))
    assert outcome(world, BOB) == (MESSAGE, [])
    assert outcome(world, BOB, "m.room.message", mention(ALICE)) == (MESSAGE, [(ALICE, 1, 1)])
    condition = {"kind": "event_match", "key": "room_id", "pattern": ROOM}
    world.run(world.rules.put(ALICE, Rule("override", ROOM, (), (condition,))))
    assert outcome(world, BOB, "m.room.message", mention(ALICE, room=True)) == (ROOM_MENTION, [])


def test_a_muted_sender_writes_a_row_for_one_user(world: World) -> None:
    world.run(world.rules.put(ALICE, Rule("sender", BOB, ())))
    assert outcome(world, BOB) == (MESSAGE, [(ALICE, 0, 0)])
    assert outcome(world, CAROL) == (MESSAGE, [])


def test_display_names_in_custom_rules(world: World) -> None:
    condition = {"kind": "contains_display_name"}
    world.run(world.rules.put(ALICE, Rule("override", "name", LOUD, (condition,))))
    event_id = world.send(ALICE, "m.room.member", {"membership": "join", "displayname": "Al"}, ALICE)
    head = head_with(JOINED, {ALICE: event_id})
    event = make_event(BOB, "m.room.message", body("hey al!"))
    assert actions_of(world.actions.of_event(event, head)[2]) == [(ALICE, 1, 1)]


def test_threads(world: World) -> None:
    root = world.send(ALICE)
    reply = world.thread(BOB, root)
    assert world.events[reply].thread == root
    for rel_type in ("m.annotation", "m.replace", "m.reference"):
        relation = {"rel_type": rel_type, "event_id": reply}
        related = world.send(BOB, "m.reaction", {"m.relates_to": relation})
        assert world.events[related].thread == root
        relation["event_id"] = root
        assert world.events[world.send(BOB, "m.reaction", {"m.relates_to": relation})].thread is None
    for broken in (
        7, {}, {"rel_type": "m.thread"}, {"rel_type": "m.thread", "event_id": 7}, {"event_id": reply},
        {"rel_type": "m.thread", "event_id": "no"}, {"rel_type": "m.thread", "event_id": "$\0"},
        {"rel_type": {}, "event_id": reply},
    ):
        assert world.events[world.send(BOB, content={"body": "x", "m.relates_to": broken})].thread is None


def test_rules_are_read_at_the_start(world: World) -> None:
    world.run(world.rules.put(ALICE, Rule("content", "c", LOUD, None, "cake")))
    again = World(world.db)
    again.members[ROOM] = dict(JOINED)
    assert outcome(again, BOB, "m.room.message", body("cake")) == (MESSAGE, [])
    again.run(again.rules.load())
    assert outcome(again, BOB, "m.room.message", body("cake")) == (MESSAGE, [(ALICE, 1, 1)])


def test_rows_do_not_depend_on_members(world: World) -> None:
    many = {f"@u{n}:here": "join" for n in range(10_000)}
    world.members[ROOM] = many
    local, head = world.local_members(ROOM), head_with(many)
    world.actions._local_members = lambda room_id: local
    for user_id in list(many)[:200]:
        world.rules.index.put(
            user_id, world.rules.of(user_id).with_rule(Rule("content", "c", LOUD, None, "cake"))
        )
    event = make_event("@u0:here")
    assert world.actions.of_event(event, head) == (MESSAGE, None, [])
    assert world.actions.of_event(make_event("@u0:here", "m.room.message", mention(room=True)), head)[2] == []
    best = min(timeit.repeat(lambda: world.actions.of_event(event, head), number=500, repeat=5)) / 500
    assert best < 100e-6  # about 10 µs on an idle machine
