"""For which events a user's own rules have to be looked at.

A user's rules need a full evaluation only when an event could get something else from them than its base
does (see `base`). Triggers say when that can be: a keyword stands in the body, a certain sender wrote it,
it happened in a certain room, it has a certain type. A server keeps all its users' triggers in an index and
so finds the few users an event concerns without asking each member. A rule that fits none of these asks for
everything, ANY.

Rules that only ever silence a whole room, or the master switch, trigger nothing: the table of bases covers
them. Being invited or mentioned, or following the thread, needs no trigger: those users are always evaluated.
"""

from collections.abc import Iterator
from typing import Any

from homeserver.protocol.push_rules import globs
from homeserver.protocol.push_rules.base import ROOM_MENTION
from homeserver.protocol.push_rules.conditions import PushEvent, compile_condition
from homeserver.protocol.push_rules.defaults import MASTER, UNSUBSCRIBED_THREAD
from homeserver.protocol.push_rules.rule import NOTHING, Rule
from homeserver.protocol.push_rules.ruleset import Ruleset

Trigger = tuple[str, str]
ANY: Trigger = ("any", "")

# What a changed default rule can affect beyond the table of bases. A rule that is not here affects nothing
# else, or only users who are named by the event.
_DEFAULTS: dict[str, Trigger] = {
    ".m.rule.suppress_notices": ("msgtype", "m.notice"),
    ".m.rule.member_event": ("type", "m.room.member"),
    ".m.rule.is_room_mention": ("base", str(ROOM_MENTION)),
    ".m.rule.reaction": ("type", "m.reaction"),
    ".m.rule.room.server_acl": ("type", "m.room.server_acl"),
    ".m.rule.suppress_edits": ANY,
}
_KEYS = {"type": "type", "sender": "sender", "room_id": "room", "content.msgtype": "msgtype"}


def triggers(ruleset: Ruleset) -> frozenset[Trigger]:
    if ruleset.is_silent:
        return frozenset()
    return frozenset(_all_triggers(ruleset))


def triggered_by(event: PushEvent, base: int, *, words: bool) -> Iterator[Trigger]:
    """The triggers an event sets off; `words=False` where no user has keywords."""
    yield ANY
    yield "type", event.type.lower()
    yield "sender", event.sender.lower()
    yield "room", event.room_id.lower()
    if base == ROOM_MENTION:
        yield "base", str(base)
    msgtype = event.content.get("msgtype")
    if isinstance(msgtype, str):
        yield "msgtype", msgtype.lower()
    body = event.content.get("body")
    if words and isinstance(body, str):
        for word in set(globs.tokens(body)):
            yield "word", word


def _all_triggers(ruleset: Ruleset) -> Iterator[Trigger]:
    for (_, rule_id), rule in ruleset.changed.items():
        if rule_id in _DEFAULTS:
            yield _DEFAULTS[rule_id]
        elif rule.enabled and (rule_id == MASTER or (rule_id == UNSUBSCRIBED_THREAD and rule.actions)):
            yield ANY
    for rules in ruleset.custom.values():
        for rule in rules:
            if rule.enabled:
                yield from _rule_triggers(rule)


def _rule_triggers(rule: Rule) -> Iterator[Trigger]:
    conditions = rule.all_conditions()
    if any(compile_condition(condition) is None for condition in conditions):
        return
    found = [_condition_trigger(condition) for condition in conditions]
    if rule.outcome == NOTHING and all(trigger is not None and trigger[0] == "room" for trigger in found):
        return
    narrow = [trigger for trigger in found if trigger is not None]
    yield min(narrow, key=lambda trigger: _PREFERENCE.index(trigger[0])) if narrow else ANY


# The first of these that a rule has is its trigger: the rarest one.
_PREFERENCE = ("word", "sender", "room", "msgtype", "type")


def _condition_trigger(condition: dict[str, Any]) -> Trigger | None:
    key, kind = condition.get("key"), condition["kind"]
    if kind == "event_match":
        value = condition["pattern"]
    elif kind == "event_property_is" and isinstance(condition["value"], str):
        value = condition["value"]
    else:
        return None
    if kind == "event_match" and key == "content.body":
        word = globs.needed_word(value)
        return ("word", word) if word is not None else None
    if key not in _KEYS or (kind == "event_match" and not globs.is_literal(value)):
        return None
    return _KEYS[key], value.lower()
