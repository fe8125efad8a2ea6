"""One push rule: its data as clients see it, and its compiled form.

https://spec.matrix.org/v1.19/client-server-api/#push-rules

For counting, a rule's actions boil down to a pair (notify, highlight); a highlight without `notify` notifies
nobody. `dont_notify` and `coalesce` are history: they are accepted and dropped.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from homeserver.protocol.push_rules.conditions import Matcher, compile_condition
from homeserver.protocol.push_rules.defaults import personal
from homeserver.protocol.push_rules.globs import is_literal

Outcome = tuple[int, int]
NOTHING: Outcome = (0, 0)

_HISTORICAL = ("dont_notify", "coalesce")


@dataclass(frozen=True, slots=True)
class Rule:
    """`conditions` for override and underride rules, `pattern` for content rules."""

    kind: str
    rule_id: str
    actions: tuple[Any, ...]
    conditions: tuple[dict[str, Any], ...] | None = None
    pattern: str | None = None
    enabled: bool = True
    default: bool = False

    @property
    def outcome(self) -> Outcome:
        return outcome_of(self.actions)

    def all_conditions(self) -> tuple[Any, ...]:
        """The conditions, with those that room, sender and content rules imply."""
        if self.kind == "room":
            return ({"kind": "event_property_is", "key": "room_id", "value": self.rule_id},)
        if self.kind == "sender":
            return ({"kind": "event_property_is", "key": "sender", "value": self.rule_id},)
        if self.kind == "content":
            return ({"kind": "event_match", "key": "content.body", "pattern": self.pattern},)
        return self.conditions or ()

    def as_json(self, user_id: str) -> dict[str, Any]:
        """As clients read it, with the user's ID written into the default rules."""
        rule: dict[str, Any] = {
            "rule_id": self.rule_id,
            "default": self.default,
            "enabled": self.enabled,
            "actions": list(self.actions),
        }
        if self.conditions is not None:
            rule["conditions"] = [
                personal(condition, user_id) if self.default else condition for condition in self.conditions
            ]
        if self.pattern is not None:
            rule["pattern"] = self.pattern
        return rule


def outcome_of(actions: tuple[Any, ...]) -> Outcome:
    if "notify" not in actions:
        return NOTHING
    highlight = 0
    for action in actions:
        if isinstance(action, dict) and action.get("set_tweak") == "highlight":
            highlight = int(bool(action.get("value", True)))
    return (1, highlight)


def current_actions(actions: list[Any]) -> tuple[Any, ...]:
    """The actions without those that no longer exist."""
    return tuple(action for action in actions if action not in _HISTORICAL)


@dataclass(frozen=True, slots=True)
class Compiled:
    """An enabled rule that can match. `type` is the only event type it matches, where it names one."""

    rule: Rule
    outcome: Outcome
    type: str | None
    matchers: tuple[Matcher, ...]


def compile_rule(rule: Rule) -> Compiled | None:
    """None for a rule that never matches."""
    only: str | None = None
    matchers = []
    for condition in rule.all_conditions():
        if (type_ := _literal_type(condition)) is not None and only in (None, type_):
            only = type_
            continue
        matcher = compile_condition(condition)
        if matcher is None:
            return None
        matchers.append(matcher)
    return Compiled(rule, rule.outcome, only, tuple(matchers))


def _literal_type(condition: Any) -> str | None:
    """The event type, in lower case, that the condition names."""
    if not isinstance(condition, Mapping) or condition.get("kind") != "event_match":
        return None
    pattern = condition.get("pattern")
    if condition.get("key") != "type" or not isinstance(pattern, str) or not is_literal(pattern):
        return None
    return pattern.lower()
