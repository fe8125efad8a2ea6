"""A user's rules about a room, extended to the room it was upgraded to.

https://spec.matrix.org/v1.19/client-server-api/#room-upgrades

Muting a room is a rule of the kind `override` that names the room in a condition, and often in its own ID.
"""

from dataclasses import replace
from typing import Any

from homeserver.protocol.push_rules.rule import Rule
from homeserver.protocol.push_rules.ruleset import Ruleset


def extended(ruleset: Ruleset, replaced: str, replacement: str) -> Ruleset:
    """The same object if no rule is about the room, or all of them are extended already."""
    for rules in ruleset.custom.values():
        present = {rule.rule_id for rule in rules}
        for rule in rules:
            extra = _for_replacement(rule, replaced, replacement)
            if extra is not None and extra.rule_id not in present:
                ruleset = ruleset.with_rule(extra, after=rule.rule_id)
    return ruleset


def _for_replacement(rule: Rule, replaced: str, replacement: str) -> Rule | None:
    if rule.kind == "room":
        return replace(rule, rule_id=replacement) if rule.rule_id == replaced else None
    if rule.conditions is None or not any(_names(each, replaced) for each in rule.conditions):
        return None
    rule_id = rule.rule_id.replace(replaced, replacement)
    if rule_id == rule.rule_id:
        rule_id = f"{rule.rule_id} {replacement}"
    conditions = tuple(
        {"kind": "event_match", "key": "room_id", "pattern": replacement} if _names(each, replaced) else each
        for each in rule.conditions
    )
    return replace(rule, rule_id=rule_id, conditions=conditions)


def _names(condition: Any, room_id: str) -> bool:
    return (
        isinstance(condition, dict)
        and condition.get("key") == "room_id"
        and room_id in (condition.get("pattern"), condition.get("value"))
    )
