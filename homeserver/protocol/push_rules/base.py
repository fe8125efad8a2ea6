"""What an event does to a member like any other, and what that means for one user.

The subtle idea of unread counting starts here. The default rules treat every member alike unless the event
names them, so the server stores one small number with the event, its *base*, and no row per member. A user
with rules of their own reads the number through a table, `bases(…)`: somebody who muted the room has a
table of nothings, somebody who wants mentions only has nothing at MESSAGE and ENCRYPTED. What is in a thread
has bases of its own, so that to those who follow some threads all the others are nothing. Only where an event
does something else to a user than the table says is a row needed (`homeserver.push.actions`).
"""

from dataclasses import dataclass, field, replace
from typing import Any

from homeserver.protocol.push_rules.conditions import Facts, PushEvent
from homeserver.protocol.push_rules.rule import NOTHING, Outcome
from homeserver.protocol.push_rules.ruleset import DEFAULT, DEFAULT_RULES, Ruleset, arrange

NONE, MESSAGE, ENCRYPTED, CALL, ROOM_MENTION, TOMBSTONE = range(6)
IN_THREAD = {MESSAGE: 6, ENCRYPTED: 7, CALL: 8}

_BASE_OF_RULE = {
    ".m.rule.is_room_mention": ROOM_MENTION,
    ".m.rule.tombstone": TOMBSTONE,
    ".m.rule.call": CALL,
    ".m.rule.encrypted_room_one_to_one": ENCRYPTED,
    ".m.rule.encrypted": ENCRYPTED,
    ".m.rule.room_one_to_one": MESSAGE,
    ".m.rule.message": MESSAGE,
}
# Rules about the user do not concern a member who is not named.
_PERSONAL = (".m.rule.invite_for_me", ".m.rule.is_user_mention")
_BY_TYPE, _OTHER = arrange(
    rule for rules in DEFAULT_RULES.values() for rule in rules if rule.rule_id not in _PERSONAL
)


def base_of(event: PushEvent, facts: Facts) -> int:
    """The event's base: which of the default rules notifies a member whom it does not name."""
    for compiled in _BY_TYPE.get(event.type.lower(), _OTHER):
        for matches in compiled.matchers:
            if not matches(event, facts, ""):
                break
        else:
            base = _BASE_OF_RULE.get(compiled.rule.rule_id, NONE)
            return base if facts.thread is None else IN_THREAD.get(base, base)
    return NONE


@dataclass(frozen=True, slots=True)
class _Probe:
    """An event as ordinary as can be."""

    type: str
    room_id: str = ""
    content: dict[str, Any] = field(default_factory=dict)
    state_key: str | None = None
    sender: str = ""
    event_id: str = ""
    pdu: dict[str, Any] = field(default_factory=dict)


_TEXT: dict[str, Any] = {"msgtype": "m.text", "body": ""}
_PROBES: tuple[tuple[str, dict[str, Any], str | None], ...] = (
    ("m.room.message", _TEXT, None),
    ("m.room.encrypted", {}, None),
    ("m.call.invite", {}, None),
    ("m.room.message", {**_TEXT, "m.mentions": {"room": True}}, None),
    ("m.room.tombstone", {}, ""),
)


def _compute(ruleset: Ruleset, room_id: str, member_count: int) -> tuple[Outcome, ...]:
    facts = Facts(member_count, lambda key: True, lambda user_id: None)
    probes = [_Probe(type_, room_id, content, state_key) for type_, content, state_key in _PROBES]
    outcomes = [NOTHING, *(ruleset.outcome(probe, facts, "") for probe in probes)]
    facts = replace(facts, thread="$")
    return (*outcomes, *(ruleset.outcome(probes[base - 1], facts, "") for base in IN_THREAD))


DEFAULT_BASES = _compute(DEFAULT, "", 3)


def bases(ruleset: Ruleset, room_id: str, member_count: int) -> tuple[Outcome, ...]:
    """What each base does to a user with these rules in this room, indexed by the base."""
    if ruleset.is_default:
        return DEFAULT_BASES
    return ruleset.memo(room_id, member_count, _compute)
