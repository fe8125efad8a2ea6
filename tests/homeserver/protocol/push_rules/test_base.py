"""Bases, tables and triggers together promise: whoever is not triggered gets what the table says."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.protocol.push_rules import (
    DEFAULT,
    DEFAULT_BASES,
    Rule,
    Ruleset,
    base_of,
    bases,
    triggered_by,
    triggers,
)
from homeserver.protocol.push_rules.base import CALL, ENCRYPTED, MESSAGE, NONE, ROOM_MENTION, TOMBSTONE
from homeserver.protocol.push_rules.ruleset import DEFAULT_RULES
from homeserver.protocol.push_rules.triggers import ANY
from tests.homeserver.protocol.push_rules.events import ALICE, BOB, ROOM, Ev, facts, mention, text

LOUD = ("notify", {"set_tweak": "highlight"})


@pytest.mark.parametrize(
    ("event", "base"),
    [
        (text(), MESSAGE),
        (mention(ALICE), MESSAGE),
        (mention(room=True), ROOM_MENTION),
        (Ev(type="m.room.encrypted"), ENCRYPTED),
        (Ev(type="m.call.invite"), CALL),
        (Ev(type="m.room.tombstone", state_key=""), TOMBSTONE),
        (Ev({"msgtype": "m.notice"}), NONE),
        (Ev({"membership": "invite"}, "m.room.member", ALICE), NONE),
        (Ev(type="m.reaction"), NONE),
        (Ev(type="org.example"), NONE),
    ],
)
def test_bases(event: Ev, base: int) -> None:
    assert base_of(event, facts()) == base
    assert base_of(event, facts(2)) == base


def test_tables() -> None:
    assert list(DEFAULT_BASES) == [(0, 0), *[(1, 0)] * 3, *[(1, 1)] * 2, *[(1, 0)] * 3]
    muted = DEFAULT.with_rule(
        Rule("override", ROOM, (), ({"kind": "event_match", "key": "room_id", "pattern": ROOM},))
    )
    assert bases(muted, ROOM, 3) == ((0, 0),) * len(DEFAULT_BASES)
    assert bases(muted, "!other:here", 3) == DEFAULT_BASES
    mentions_only = DEFAULT.with_rule(Rule("room", ROOM, ()))
    assert list(bases(mentions_only, ROOM, 3)) == [*[(0, 0)] * 4, *[(1, 1)] * 2, *[(0, 0)] * 3]
    quiet_groups = DEFAULT.with_actions("underride", ".m.rule.message", ())
    assert bases(quiet_groups, ROOM, 3)[MESSAGE] == (0, 0)
    assert bases(quiet_groups, ROOM, 2)[MESSAGE] == (1, 0)
    for ruleset in (DEFAULT, muted, mentions_only, quiet_groups):
        assert triggers(ruleset) == frozenset()


def condition(key: str, pattern: str) -> dict[str, Any]:
    return {"kind": "event_match", "key": key, "pattern": pattern}


X, IN_ROOM = condition("type", "m.x"), condition("room_id", ROOM)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Rule("content", "c", LOUD, None, "Cake"), {("word", "cake")}),
        (Rule("content", "c", LOUD, None, "ca*ke"), {ANY}),
        (Rule("content", "c", LOUD, None, "🎂"), {ANY}),
        (Rule("sender", BOB, ()), {("sender", BOB)}),
        (Rule("room", ROOM, ()), set()),
        (Rule("room", ROOM, LOUD), {("room", ROOM)}),
        (Rule("override", "o", (), ()), set()),
        (Rule("override", "o", LOUD, ()), {ANY}),
        (Rule("override", "o", LOUD, (X, IN_ROOM)), {("room", ROOM)}),
        (Rule("override", "o", (), (X, IN_ROOM)), {("room", ROOM)}),
        (Rule("override", "o", LOUD, (condition("type", "m.*"),)), {ANY}),
        (Rule("override", "o", LOUD, (condition("content.msgtype", "m.image"),)), {("msgtype", "m.image")}),
        (Rule("override", "o", LOUD, ({"kind": "moon"},)), set()),
        (Rule("override", "o", LOUD, (condition("type", "m.x"),), None, False), set()),
    ],
)
def test_triggers(rule: Rule, expected: set[tuple[str, str]]) -> None:
    assert triggers(DEFAULT.with_rule(rule) if rule.enabled else Ruleset({"override": (rule,)})) == expected
    silent = DEFAULT.with_rule(rule).with_enabled("override", ".m.rule.master", True)
    assert triggers(silent) == frozenset()


_ACTIONS = st.sampled_from([(), ("notify",), LOUD])
_PATTERNS = st.sampled_from(
    ["cake", "c*e", "*", "m.notice", "m.room.message", "m.room.*", ROOM, BOB, "", "x y"]
)
_KEYS = st.sampled_from(["type", "sender", "room_id", "content.body", "content.msgtype", "state_key"])
_CONDITIONS = st.one_of(
    st.builds(condition, _KEYS, _PATTERNS),
    st.builds(lambda key, value: {"kind": "event_property_is", "key": key, "value": value}, _KEYS, _PATTERNS),
    st.builds(lambda n: {"kind": "room_member_count", "is": n}, st.sampled_from(["2", ">2"])),
    st.just({"kind": "contains_display_name"}),
    st.just({"kind": "unknown"}),
)
_RULES = st.one_of(
    st.builds(
        lambda kind, actions, conditions: Rule(kind, "id", actions, tuple(conditions)),
        st.sampled_from(["override", "underride"]),
        _ACTIONS,
        st.lists(_CONDITIONS, max_size=3),
    ),
    st.builds(lambda actions, pattern: Rule("content", "id", actions, None, pattern), _ACTIONS, _PATTERNS),
    st.builds(lambda actions: Rule("room", ROOM, actions), _ACTIONS),
    st.builds(lambda actions: Rule("sender", BOB, actions), _ACTIONS),
)
_CHANGES = st.tuples(
    st.sampled_from([(kind, rule.rule_id) for kind, rules in DEFAULT_RULES.items() for rule in rules]),
    st.booleans(),
    _ACTIONS,
)
_EVENTS = st.builds(
    Ev,
    st.fixed_dictionaries(
        {},
        optional={
            "msgtype": st.sampled_from(["m.text", "m.notice", "m.image"]),
            "body": st.sampled_from(["hello", "a Cake", "coffee", "Alice", "", "x y"]),
            "membership": st.sampled_from(["join", "invite"]),
            "m.mentions": st.sampled_from([{}, {"room": True}, {"user_ids": [BOB]}]),
            "m.relates_to": st.just({"rel_type": "m.replace"}),
        },
    ),
    st.sampled_from(
        ["m.room.message", "m.room.encrypted", "m.room.member", "m.room.topic", "m.reaction", "m.call.invite",
         "m.room.tombstone", "m.room.server_acl", "m.sticker"]
    ),
    st.sampled_from([None, "", BOB]),
    st.sampled_from([BOB, "@carol:there"]),
    st.sampled_from([ROOM, "!other:here"]),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(_RULES, max_size=3), st.lists(_CHANGES, max_size=2), _EVENTS, st.sampled_from([2, 3]))
def test_whoever_is_not_triggered_gets_what_the_table_says(
    rules: list[Rule], changes: list[Any], event: Ev, members: int
) -> None:
    ruleset = DEFAULT
    for rule in rules:
        ruleset = ruleset.with_rule(rule)
    for (kind, rule_id), enabled, actions in changes:
        ruleset = ruleset.with_enabled(kind, rule_id, enabled).with_actions(kind, rule_id, actions)
    known = facts(members, names={ALICE: "Alice"})
    base = base_of(event, known)
    if not triggers(ruleset) & set(triggered_by(event, base, words=True)):
        outcome = ruleset.outcome(event, known, ALICE)
        assert outcome == bases(ruleset, event.room_id, members)[base]
