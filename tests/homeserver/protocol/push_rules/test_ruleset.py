import timeit
from typing import Any

import pytest

from homeserver.protocol.push_rules import DEFAULT, Rule, Ruleset, UnknownRule, current_actions
from tests.homeserver.protocol.push_rules.events import ALICE, BOB, ROOM, Ev, facts, mention, text

NOTIFY = ("notify",)
LOUD = ("notify", {"set_tweak": "highlight"})


def decided(ruleset: Ruleset, event: Ev, members: int = 3, *, permits: bool = True) -> str | None:
    rule = ruleset.evaluate(event, facts(members, permits=permits), ALICE)
    return rule.rule_id if rule else None


def override(rule_id: str, *conditions: dict[str, Any], actions: tuple[Any, ...] = NOTIFY) -> Rule:
    return Rule("override", rule_id, actions, conditions)


def content(rule_id: str, pattern: str, actions: tuple[Any, ...] = LOUD) -> Rule:
    return Rule("content", rule_id, actions, None, pattern)


def edit() -> Ev:
    return text("* x", **{"m.relates_to": {"rel_type": "m.replace", "event_id": "$a"}})


@pytest.mark.parametrize(
    ("event", "members", "rule_id", "outcome"),
    [
        (text(), 3, ".m.rule.message", (1, 0)),
        (text(), 2, ".m.rule.room_one_to_one", (1, 0)),
        (Ev(type="m.room.encrypted"), 3, ".m.rule.encrypted", (1, 0)),
        (Ev(type="m.room.encrypted"), 2, ".m.rule.encrypted_room_one_to_one", (1, 0)),
        (Ev({"msgtype": "m.notice", "body": "x"}), 3, ".m.rule.suppress_notices", (0, 0)),
        (Ev({"membership": "invite"}, "m.room.member", ALICE), 3, ".m.rule.invite_for_me", (1, 0)),
        (Ev({"membership": "invite"}, "m.room.member", BOB), 3, ".m.rule.member_event", (0, 0)),
        (Ev({"membership": "join"}, "m.room.member", ALICE), 3, ".m.rule.member_event", (0, 0)),
        (mention(ALICE), 3, ".m.rule.is_user_mention", (1, 1)),
        (mention(BOB, 3, None), 3, ".m.rule.message", (1, 0)),
        (mention(room=True), 3, ".m.rule.is_room_mention", (1, 1)),
        (mention(room=1), 3, ".m.rule.message", (1, 0)),
        (text("alice: look", **{"m.mentions": {}}), 3, ".m.rule.message", (1, 0)),
        (Ev(type="m.room.tombstone", state_key=""), 3, ".m.rule.tombstone", (1, 1)),
        (Ev(type="m.room.tombstone", state_key="x"), 3, None, (0, 0)),
        (Ev(type="m.reaction"), 2, ".m.rule.reaction", (0, 0)),
        (Ev(type="m.room.server_acl", state_key=""), 3, ".m.rule.room.server_acl", (0, 0)),
        (edit(), 2, ".m.rule.suppress_edits", (0, 0)),
        (Ev(type="m.call.invite"), 2, ".m.rule.call", (1, 0)),
        (Ev({"topic": "x"}, "m.room.topic", ""), 2, None, (0, 0)),
        (Ev({"m.mentions": "?"}), 3, ".m.rule.message", (1, 0)),
    ],
)
def test_the_defaults(event: Ev, members: int, rule_id: str | None, outcome: tuple[int, int]) -> None:
    assert decided(DEFAULT, event, members) == rule_id
    assert DEFAULT.outcome(event, facts(members), ALICE) == outcome


def test_a_room_mention_needs_power() -> None:
    assert decided(DEFAULT, mention(room=True), permits=False) == ".m.rule.message"


def test_an_edit_that_mentions_still_notifies_the_mentioned() -> None:
    event = edit()
    event.content["m.mentions"] = {"user_ids": [ALICE]}
    assert decided(DEFAULT, event) == ".m.rule.is_user_mention"


def test_the_order_of_kinds() -> None:
    ruleset = DEFAULT.with_rule(Rule("underride", "u", NOTIFY, ()))
    assert decided(ruleset, text("a cake")) == "u"
    ruleset = ruleset.with_rule(Rule("sender", BOB, NOTIFY))
    assert decided(ruleset, text("a cake")) == BOB
    ruleset = ruleset.with_rule(Rule("room", ROOM, ()))
    assert decided(ruleset, text("a cake")) == ROOM
    ruleset = ruleset.with_rule(content("c", "cake"))
    assert decided(ruleset, text("a cake")) == "c"
    assert decided(ruleset, text("no")) == ROOM
    ruleset = ruleset.with_rule(override("o"))
    assert decided(ruleset, text("a cake")) == "o"
    assert decided(ruleset, mention(ALICE)) == "o"
    ruleset = ruleset.with_enabled("override", ".m.rule.master", True)
    assert decided(ruleset, text("a cake")) == ".m.rule.master"
    assert ruleset.is_silent and not DEFAULT.is_silent


def test_rules_that_cannot_match_are_left_out() -> None:
    ruleset = DEFAULT.with_rule(override("x", {"kind": "nonsense"}))
    assert decided(ruleset, text()) == ".m.rule.message"
    both = [{"kind": "event_match", "key": "type", "pattern": name} for name in ("m.a", "m.b")]
    ruleset = DEFAULT.with_rule(override("x", *both))
    assert decided(ruleset, Ev(type="m.a")) is None
    assert decided(ruleset, Ev(type="m.b")) is None


def test_type_patterns_may_be_globs_and_ignore_case() -> None:
    ruleset = DEFAULT.with_rule(override("x", {"kind": "event_match", "key": "type", "pattern": "M.Room.*"}))
    assert decided(ruleset, Ev(type="m.room.topic")) == "x"
    assert decided(DEFAULT, Ev(type="M.ROOM.message")) == ".m.rule.message"


def test_places() -> None:
    def order(ruleset: Ruleset) -> list[str]:
        return [rule.rule_id for rule in ruleset.rules("content")]

    ruleset = DEFAULT.with_rule(content("a", "a")).with_rule(content("b", "b"))
    assert order(ruleset) == ["b", "a"]
    ruleset = ruleset.with_rule(content("c", "c"), before="a")
    assert order(ruleset) == ["b", "c", "a"]
    ruleset = ruleset.with_rule(content("d", "d"), after="b")
    assert order(ruleset) == ["b", "d", "c", "a"]
    ruleset = ruleset.with_rule(content("e", "e"), before="a", after="b")
    assert order(ruleset) == ["b", "d", "c", "e", "a"]
    assert order(ruleset.with_rule(content("d", "new"))) == ["b", "d", "c", "e", "a"]
    assert order(ruleset.with_rule(content("b", "b"), after="a")) == ["d", "c", "e", "a", "b"]
    assert order(ruleset.with_rule(content("a", "a"), before="a")) == ["b", "d", "c", "e", "a"]
    assert order(ruleset.without("content", "c")) == ["b", "d", "e", "a"]
    for anchor in ("nobody", ".m.rule.message"):
        with pytest.raises(UnknownRule):
            ruleset.with_rule(content("f", "f"), before=anchor)


def test_changing() -> None:
    ruleset = DEFAULT.with_rule(content("a", "cake")).with_enabled("content", "a", False)
    assert decided(ruleset, text("cake")) == ".m.rule.message"
    replaced = ruleset.with_rule(content("a", "pie"))
    assert not replaced.get("content", "a").enabled
    assert replaced.get("content", "a").pattern == "pie"
    assert ruleset.with_actions("content", "a", ()).get("content", "a").actions == ()
    changed = ruleset.with_actions("underride", ".m.rule.message", ())
    assert changed.outcome(text(), facts(), ALICE) == (0, 0)
    assert changed.with_actions("underride", ".m.rule.message", ("notify",)).changed == {}
    for call in (
        lambda: ruleset.without("content", "b"),
        lambda: ruleset.without("underride", ".m.rule.message"),
        lambda: ruleset.with_enabled("override", "a", True),
        lambda: ruleset.with_actions("nonsense", "a", ()),
        lambda: ruleset.get("override", ".m.rule.message"),
    ):
        with pytest.raises(UnknownRule):
            call()


def test_storing() -> None:
    ruleset = (
        DEFAULT.with_rule(content("a", "cake"))
        .with_rule(override("o", {"kind": "room_member_count", "is": "<9"}))
        .with_rule(Rule("room", ROOM, ()))
        .with_enabled("override", ".m.rule.master", True)
        .with_actions("underride", ".m.rule.message", LOUD)
        .with_enabled("override", "o", False)
    )
    again = Ruleset.load(ruleset.dump())
    assert again.custom == ruleset.custom
    assert again.changed == ruleset.changed
    assert again.as_json(ALICE) == ruleset.as_json(ALICE)
    assert Ruleset.load(DEFAULT.dump()).is_default


def test_as_clients_see_it() -> None:
    ruleset = DEFAULT.with_rule(override("mine")).with_rule(content("a", "cake"))
    shown = ruleset.as_json(ALICE)
    assert list(shown) == ["override", "content", "postcontent", "room", "sender", "underride"]
    assert [rule["rule_id"] for rule in shown["override"]][:3] == [
        ".m.rule.master",
        "mine",
        ".m.rule.suppress_notices",
    ]
    assert [rule["rule_id"] for rule in shown["underride"]] == [
        ".m.rule.call",
        ".m.rule.encrypted_room_one_to_one",
        ".m.rule.room_one_to_one",
        ".m.rule.message",
        ".m.rule.encrypted",
    ]
    by_id = {rule["rule_id"]: rule for rule in shown["override"]}
    assert by_id[".m.rule.invite_for_me"]["conditions"][2]["pattern"] == ALICE
    assert by_id[".m.rule.is_user_mention"]["conditions"][0]["value"] == ALICE
    assert shown["content"] == [
        {"rule_id": "a", "default": False, "enabled": True, "actions": list(LOUD), "pattern": "cake"}
    ]


def test_actions() -> None:
    assert current_actions(["dont_notify", "coalesce", {"set_tweak": "sound"}]) == ({"set_tweak": "sound"},)
    assert Rule("room", ROOM, ({"set_tweak": "highlight"},)).outcome == (0, 0)
    assert Rule("room", ROOM, ("notify", {"set_tweak": "highlight", "value": False})).outcome == (1, 0)
    assert Rule("room", ROOM, ("notify", {"set_tweak": "highlight", "value": True})).outcome == (1, 1)


def test_evaluation_takes_microseconds() -> None:
    event, known = text("what an ordinary message " * 4), facts()
    best = min(timeit.repeat(lambda: DEFAULT.outcome(event, known, ALICE), number=2000, repeat=5)) / 2000
    assert best < 20e-6  # about 2 µs on an idle machine
