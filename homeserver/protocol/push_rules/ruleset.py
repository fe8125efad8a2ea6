"""A user's push rules: the server's defaults with the user's changes, immutable and compiled.

https://spec.matrix.org/v1.19/client-server-api/#push-rules

The subtle idea is in `evaluate`: rules are sorted out by event type once, since most name a type, so an
ordinary message is held against half a dozen rules. Only changes are stored; a rule the user never touched
follows the server's defaults.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import orjson

from homeserver.protocol.push_rules.conditions import Facts, PushEvent
from homeserver.protocol.push_rules.defaults import (
    DEFAULTS,
    KINDS,
    MASTER,
    SUBSCRIBED_THREAD,
    UNSUBSCRIBED_THREAD,
)
from homeserver.protocol.push_rules.rule import NOTHING, Compiled, Outcome, Rule, compile_rule

DEFAULT_RULES: dict[str, tuple[Rule, ...]] = {
    kind: tuple(
        Rule(kind, rule_id, tuple(actions), tuple(conditions), None, enabled, True)
        for rule_kind, rule_id, enabled, conditions, actions in DEFAULTS
        if rule_kind == kind
    )
    for kind in KINDS
}
_PRISTINE = {(kind, rule.rule_id): rule for kind, rules in DEFAULT_RULES.items() for rule in rules}

_COMPILED_DEFAULTS = {rule.rule_id: compile_rule(rule) for rule in _PRISTINE.values()}


class UnknownRule(Exception):
    """No such rule; the argument is its ID."""


class Ruleset:
    """`custom[kind]` in order of importance; `changed[kind, rule_id]` are defaults that differ from ours."""

    def __init__(
        self,
        custom: dict[str, tuple[Rule, ...]] | None = None,
        changed: dict[tuple[str, str], Rule] | None = None,
    ) -> None:
        self.custom = custom or {}
        self.changed = changed or {}
        self._tables: dict[tuple[str, int], tuple[Outcome, ...]] = {}

    # Reading

    def rules(self, kind: str) -> Iterator[Rule]:
        """All rules of a kind, the most important first. Only the master switch precedes the user's own."""
        defaults = [self.changed.get((kind, rule.rule_id), rule) for rule in DEFAULT_RULES[kind]]
        if kind == "override":
            yield defaults.pop(0)
        yield from self.custom.get(kind, ())
        yield from defaults

    def get(self, kind: str, rule_id: str) -> Rule:
        for rule in self.rules(kind) if kind in KINDS else ():
            if rule.rule_id == rule_id:
                return rule
        raise UnknownRule(rule_id)

    def as_json(self, user_id: str) -> dict[str, list[dict[str, Any]]]:
        """The `global` ruleset as clients read it."""
        return {kind: [rule.as_json(user_id) for rule in self.rules(kind)] for kind in KINDS}

    @property
    def is_default(self) -> bool:
        return not self.custom and not self.changed

    @property
    def is_silent(self) -> bool:
        """The master switch is set: nothing notifies."""
        master = self.get("override", MASTER)
        return master.enabled and master.outcome == NOTHING

    # Evaluating

    def evaluate(self, event: PushEvent, facts: Facts, user_id: str) -> Rule | None:
        """The rule that decides for this user; None where no rule matches."""
        found = self._decisive(event, facts, user_id)
        return found.rule if found is not None else None

    def outcome(self, event: PushEvent, facts: Facts, user_id: str) -> Outcome:
        """(notify, highlight). The caller leaves out the sender, who is never notified."""
        found = self._decisive(event, facts, user_id)
        return found.outcome if found is not None else NOTHING

    def _decisive(self, event: PushEvent, facts: Facts, user_id: str) -> Compiled | None:
        by_type, other = self._compiled
        for compiled in by_type.get(event.type.lower(), other):
            for matches in compiled.matchers:
                if not matches(event, facts, user_id):
                    break
            else:
                return compiled
        return None

    @cached_property
    def _compiled(self) -> tuple[dict[str, tuple[Compiled, ...]], tuple[Compiled, ...]]:
        return arrange(rule for kind in KINDS for rule in self.rules(kind))

    def memo(
        self, room_id: str, member_count: int, compute: "Callable[[Ruleset, str, int], tuple[Outcome, ...]]"
    ) -> tuple[Outcome, ...]:
        """The result of a pure function of these rules and a room, remembered for a while."""
        key = room_id, member_count
        table = self._tables.get(key)
        if table is None:
            if len(self._tables) >= 256:
                self._tables.clear()
            table = self._tables[key] = compute(self, room_id, member_count)
        return table

    # Changing

    def with_rule(self, rule: Rule, *, before: str | None = None, after: str | None = None) -> "Ruleset":
        """Adds or replaces a rule of the user's own.

        A replaced rule keeps its place and whether it is enabled, unless a new place is asked for; a new
        one becomes the most important. `before` wins over `after`; either must name a rule of the user's
        own, or UnknownRule is raised.
        """
        rules = list(self.custom.get(rule.kind, ()))
        place = next((n for n, each in enumerate(rules) if each.rule_id == rule.rule_id), None)
        if place is not None:
            rule = replace(rule, enabled=rules[place].enabled)
        anchor = before if before is not None else after
        if anchor is not None:
            if all(each.rule_id != anchor for each in rules):
                raise UnknownRule(anchor)
            if anchor != rule.rule_id:
                rules = [each for each in rules if each.rule_id != rule.rule_id]
                index = next(n for n, each in enumerate(rules) if each.rule_id == anchor)
                rules.insert(index if before is not None else index + 1, rule)
                return self._with_custom(rule.kind, rules)
        if place is not None:
            rules[place] = rule
        else:
            rules.insert(0, rule)
        return self._with_custom(rule.kind, rules)

    def without(self, kind: str, rule_id: str) -> "Ruleset":
        """Removes a rule of the user's own; UnknownRule for any other."""
        rules = list(self.custom.get(kind, ()))
        left = [rule for rule in rules if rule.rule_id != rule_id]
        if len(left) == len(rules):
            raise UnknownRule(rule_id)
        return self._with_custom(kind, left)

    def with_enabled(self, kind: str, rule_id: str, enabled: bool) -> "Ruleset":
        return self._with_changed(replace(self.get(kind, rule_id), enabled=enabled))

    def with_actions(self, kind: str, rule_id: str, actions: tuple[Any, ...]) -> "Ruleset":
        return self._with_changed(replace(self.get(kind, rule_id), actions=actions))

    def with_threads(self) -> "Ruleset":
        """With the rules about threads that are followed or not switched on."""
        unfollowed = self.with_enabled("postcontent", UNSUBSCRIBED_THREAD, True)
        return unfollowed.with_enabled("postcontent", SUBSCRIBED_THREAD, True)

    def _with_custom(self, kind: str, rules: list[Rule]) -> "Ruleset":
        custom = {**self.custom, kind: tuple(rules)}
        return Ruleset({kind: rules for kind, rules in custom.items() if rules}, self.changed)

    def _with_changed(self, rule: Rule) -> "Ruleset":
        key = rule.kind, rule.rule_id
        if not rule.default:
            rules = [rule if each.rule_id == rule.rule_id else each for each in self.custom[rule.kind]]
            return self._with_custom(rule.kind, rules)
        changed = {**self.changed, key: rule}
        if rule == _PRISTINE[key]:
            del changed[key]
        return Ruleset(self.custom, changed)

    # Storing

    def dump(self) -> bytes:
        """The user's changes, for storage."""
        custom = {
            kind: [
                {
                    "rule_id": rule.rule_id,
                    "actions": rule.actions,
                    "conditions": rule.conditions,
                    "pattern": rule.pattern,
                    "enabled": rule.enabled,
                }
                for rule in rules
            ]
            for kind, rules in self.custom.items()
        }
        changed = [
            {"kind": kind, "rule_id": rule_id, "enabled": rule.enabled, "actions": rule.actions}
            for (kind, rule_id), rule in self.changed.items()
        ]
        return orjson.dumps({"custom": custom, "changed": changed})

    @staticmethod
    def load(stored: bytes) -> "Ruleset":
        """What `dump` wrote. Changes of default rules that no longer exist are forgotten."""
        data = orjson.loads(stored)
        custom = {
            kind: tuple(_stored_rule(kind, rule) for rule in rules) for kind, rules in data["custom"].items()
        }
        changed = {}
        for change in data["changed"]:
            key = change["kind"], change["rule_id"]
            if key in _PRISTINE:
                rule = replace(_PRISTINE[key], enabled=change["enabled"], actions=tuple(change["actions"]))
                changed[key] = rule
        return Ruleset(custom, changed)


def arrange(rules: Iterable[Rule]) -> tuple[dict[str, tuple[Compiled, ...]], tuple[Compiled, ...]]:
    """The enabled rules in order, for each event type that one of them names, and for all other types."""
    compiled = [each for rule in rules if rule.enabled and (each := _compile(rule)) is not None]
    types = {each.type for each in compiled if each.type is not None}
    return (
        {name: tuple(each for each in compiled if each.type in (None, name)) for name in types},
        tuple(each for each in compiled if each.type is None),
    )


def _compile(rule: Rule) -> Compiled | None:
    """Pristine default rules are compiled once for all users."""
    pristine = _COMPILED_DEFAULTS.get(rule.rule_id)
    if pristine is not None and pristine.rule is rule:
        return pristine
    return compile_rule(rule)


def _stored_rule(kind: str, stored: dict[str, Any]) -> Rule:
    conditions = stored["conditions"]
    return Rule(
        kind,
        stored["rule_id"],
        tuple(stored["actions"]),
        tuple(conditions) if conditions is not None else None,
        stored["pattern"],
        stored["enabled"],
    )


DEFAULT = Ruleset()
