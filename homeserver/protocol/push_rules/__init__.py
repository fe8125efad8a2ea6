"""Push rules: which events notify whom.

https://spec.matrix.org/v1.19/client-server-api/#push-rules

`Ruleset` holds a user's rules and evaluates them; `base` and `triggers` make it unnecessary to do so for
every member and every event.
"""

from homeserver.protocol.push_rules.base import DEFAULT_BASES, base_of, bases
from homeserver.protocol.push_rules.conditions import Facts, PushEvent
from homeserver.protocol.push_rules.defaults import KINDS
from homeserver.protocol.push_rules.replacement import extended
from homeserver.protocol.push_rules.rule import NOTHING, Outcome, Rule, current_actions
from homeserver.protocol.push_rules.ruleset import DEFAULT, Ruleset, UnknownRule
from homeserver.protocol.push_rules.triggers import Trigger, triggered_by, triggers

__all__ = [
    "DEFAULT",
    "DEFAULT_BASES",
    "Facts",
    "KINDS",
    "NOTHING",
    "Outcome",
    "PushEvent",
    "Rule",
    "Ruleset",
    "Trigger",
    "UnknownRule",
    "base_of",
    "bases",
    "current_actions",
    "extended",
    "triggered_by",
    "triggers",
]
