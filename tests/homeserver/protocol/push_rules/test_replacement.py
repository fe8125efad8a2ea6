"""Rules about a room go for its replacement too."""

from typing import Any

from homeserver.protocol.push_rules import DEFAULT, Rule, extended

OLD, NEW = "!old:x", "!new:x"


def about(room_id: str) -> tuple[dict[str, Any], ...]:
    return ({"kind": "event_match", "key": "room_id", "pattern": room_id},)


def test_each_rule_once_beside_the_old_one() -> None:
    rules = DEFAULT.with_rule(Rule("room", OLD, ("notify",), enabled=False))
    rules = rules.with_rule(Rule("override", "mute", (), about(OLD)))
    rules = rules.with_rule(Rule("override", OLD, (), about(OLD)))
    rules = rules.with_rule(Rule("override", "other", (), about("!other:x")))
    after = extended(rules, OLD, NEW)
    assert [rule.rule_id for rule in after.custom["override"]] == ["other", OLD, NEW, "mute", f"mute {NEW}"]
    assert after.get("override", NEW).conditions == about(NEW)
    assert not after.get("room", NEW).enabled
    assert extended(after, OLD, NEW) is after
    assert extended(DEFAULT, OLD, NEW) is DEFAULT
