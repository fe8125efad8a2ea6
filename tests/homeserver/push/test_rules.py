import pytest
from twisted.internet.defer import ensureDeferred

from homeserver.errors import BadJson, MatrixError, NotFound, TooLarge
from homeserver.protocol.push_rules import DEFAULT, KINDS, Rule
from homeserver.push.rules import MOST_BYTES, PushRules, check_json
from storage.database import Change
from tests.homeserver.push.world import ALICE, BOB, World
from tests.storage.conftest import SynchronousDatabase


@pytest.fixture
def world(db: SynchronousDatabase) -> World:
    return World(db)


def test_changes_are_stored_announced_and_personal(world: World) -> None:
    world.run(world.rules.put(ALICE, Rule("content", "c", ("notify",), None, "cake")))
    world.run(world.rules.set_enabled(ALICE, "content", "c", False))
    world.run(world.rules.set_actions(ALICE, "underride", ".m.rule.message", ()))
    again = PushRules(world.db.database)
    world.run(again.load())
    for rules in (world.rules, again):
        assert rules.rule(ALICE, "content", "c")["enabled"] is False
        assert rules.rule(ALICE, "underride", ".m.rule.message")["actions"] == []
        assert rules.of(BOB) is DEFAULT
        assert rules.as_account_data(ALICE) == {"global": rules.of(ALICE).as_json(ALICE)}
    changes: list[Change] = [change for change in world.db.changes if change.stream == "push_rules"]
    assert [change.users for change in changes] == [(ALICE,)] * 3
    assert list(world.rules.as_account_data(BOB)["global"]) == list(KINDS)


def test_what_is_wrong_changes_nothing(world: World) -> None:
    rule = Rule("content", "c", (), None, "cake")
    for call, error in [
        (world.rules.put(ALICE, rule, before="nobody"), MatrixError),
        (world.rules.put(ALICE, rule, after=".m.rule.message"), MatrixError),
        (world.rules.delete(ALICE, "content", "c"), NotFound),
        (world.rules.delete(ALICE, "underride", ".m.rule.message"), NotFound),
        (world.rules.set_enabled(ALICE, "content", "c", True), NotFound),
        (world.rules.set_actions(ALICE, "content", "c", ()), NotFound),
        (world.rules.put(ALICE, Rule("content", "c", (), None, "x" * MOST_BYTES)), TooLarge),
    ]:
        with pytest.raises(error):
            world.run(call)
    assert world.db.changes == []
    with pytest.raises(NotFound):
        world.rules.rule(ALICE, "content", "c")


def test_two_changes_at_once_both_last(world: World) -> None:
    changes = [
        ensureDeferred(world.rules.put(ALICE, Rule("content", name, (), None, name))) for name in ("a", "b")
    ]
    for change in changes:
        world.db._wait(change)
    assert [rule.rule_id for rule in world.rules.of(ALICE).rules("content")] == ["b", "a"]


def test_going_back_to_the_defaults_is_having_no_changes(world: World) -> None:
    world.run(world.rules.put(ALICE, Rule("room", "!r:here", ())))
    assert world.rules.version(ALICE) is not None
    world.run(world.rules.delete(ALICE, "room", "!r:here"))
    assert world.rules.version(ALICE) is None
    assert world.rules.of(ALICE) is DEFAULT


def test_absurd_json_is_refused() -> None:
    nested: list[object] = []
    for _ in range(1000):
        nested = [nested]
    with pytest.raises(BadJson):
        check_json(nested)
