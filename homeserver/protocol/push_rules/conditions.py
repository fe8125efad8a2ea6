"""Push rule conditions, compiled once to functions of (event, facts, user).

https://spec.matrix.org/v1.19/client-server-api/#conditions-1

A condition nobody understands, or one with broken parameters, never matches. Only `event_match` ignores
case; the property conditions compare JSON values exactly, so `1` is neither `true` nor `1.0`.
"""

import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from homeserver.protocol.push_rules import globs
from homeserver.protocol.push_rules.defaults import ME


class PushEvent(Protocol):
    """What push rules read of an event; `homeserver.protocol.events.Event` has it."""

    @property
    def event_id(self) -> str: ...
    @property
    def room_id(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def sender(self) -> str: ...
    @property
    def state_key(self) -> str | None: ...
    @property
    def content(self) -> Mapping[str, Any]: ...
    @property
    def pdu(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Facts:
    """What rules ask about the room at the event.

    `permits(key)`: may the sender trigger notifications of this kind (`room` …)?
    `display_name(user_id)`: that member's name in the room. `thread`: the root of the thread that the event
    is in, which the `subscribers` follow.
    """

    member_count: int
    permits: Callable[[str], bool]
    display_name: Callable[[str], str | None]
    thread: str | None = None
    subscribers: Collection[str] = ()


Matcher = Callable[[PushEvent, Facts, str], bool]

_ATTRIBUTES = frozenset(("event_id", "room_id", "type", "sender", "state_key"))
_COUNT = re.compile(r"\A(==|<=|>=|<|>|)([0-9]{1,15})\Z")
_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "": operator.eq,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_ABSENT = object()


def compile_condition(condition: Any) -> Matcher | None:
    """None for a condition that can never match."""
    if not isinstance(condition, dict):
        return None
    compiler = _COMPILERS.get(str(condition.get("kind")))
    return compiler(condition) if compiler is not None else None


def split_path(key: str) -> tuple[str, ...]:
    r"""The property names of a dot-separated path; `\.` and `\\` stand for a dot and a backslash."""
    parts, name, position = [], "", 0
    while position < len(key):
        char = key[position]
        if char == "\\" and key[position + 1 : position + 2] in (".", "\\"):
            position += 1
            name += key[position]
        elif char == ".":
            parts.append(name)
            name = ""
        else:
            name += char
        position += 1
    return (*parts, name)


def _getter(key: Any) -> Callable[[PushEvent], Any] | None:
    if not isinstance(key, str):
        return None
    root, *rest = split_path(key)
    if root == "content" and len(rest) == 1:
        name = rest[0]
        return lambda event: event.content.get(name, _ABSENT)

    def get(event: PushEvent) -> Any:
        if root == "content":
            value: Any = event.content
        elif root in _ATTRIBUTES:
            value = getattr(event, root)
            if value is None:
                return _ABSENT
        else:
            value = event.pdu.get(root, _ABSENT)
        for name in rest:
            if not isinstance(value, Mapping) or name not in value:
                return _ABSENT
            value = value[name]
        return value

    return get


def _event_match(condition: dict[str, Any]) -> Matcher | None:
    get, pattern = _getter(condition.get("key")), condition.get("pattern")
    if get is None or not isinstance(pattern, str):
        return None
    if pattern == ME:
        return lambda event, facts, me: get(event) == me
    fits = globs.words(pattern) if condition["key"] == "content.body" else globs.whole(pattern)

    def match(event: PushEvent, facts: Facts, me: str) -> bool:
        value = get(event)
        return isinstance(value, str) and fits(value)

    return match


def _same(left: Any, right: Any) -> bool:
    return type(left) is type(right) and left == right


def _is_simple(value: Any) -> bool:
    return value is None or isinstance(value, str | bool | int)


def _event_property_is(condition: dict[str, Any]) -> Matcher | None:
    get, wanted = _getter(condition.get("key")), condition.get("value", _ABSENT)
    if get is None or not _is_simple(wanted):
        return None
    return lambda event, facts, me: _same(get(event), wanted)


def _event_property_contains(condition: dict[str, Any]) -> Matcher | None:
    get, wanted = _getter(condition.get("key")), condition.get("value", _ABSENT)
    if get is None or not _is_simple(wanted):
        return None

    def match(event: PushEvent, facts: Facts, me: str) -> bool:
        values = get(event)
        value = me if wanted == ME else wanted
        return isinstance(values, list) and any(_same(each, value) for each in values)

    return match


def _contains_display_name(condition: dict[str, Any]) -> Matcher:
    def match(event: PushEvent, facts: Facts, me: str) -> bool:
        body = event.content.get("body")
        name = facts.display_name(me) if isinstance(body, str) else None
        return isinstance(body, str) and bool(name) and contains_words(body, str(name))

    return match


def contains_words(body: str, name: str) -> bool:
    """Whether the name, taken literally, stands in the body between word boundaries."""
    body, name = body.lower(), name.lower()
    if name not in body:
        return False
    return re.search(rf"(?<![a-z0-9_]){re.escape(name)}(?![a-z0-9_])", body) is not None


def _room_member_count(condition: dict[str, Any]) -> Matcher | None:
    parsed = _COUNT.match(condition["is"]) if isinstance(condition.get("is"), str) else None
    if parsed is None:
        return None
    compare, number = _COMPARE[parsed[1]], int(parsed[2])
    return lambda event, facts, me: compare(facts.member_count, number)


def _sender_notification_permission(condition: dict[str, Any]) -> Matcher | None:
    key = condition.get("key")
    if not isinstance(key, str):
        return None
    return lambda event, facts, me: facts.permits(key)


def _thread_subscription(condition: dict[str, Any]) -> Matcher | None:
    wanted = condition.get("subscribed")
    if not isinstance(wanted, bool):
        return None
    return lambda event, facts, me: facts.thread is not None and (me in facts.subscribers) is wanted


_COMPILERS: dict[str, Callable[[dict[str, Any]], Matcher | None]] = {
    "event_match": _event_match,
    "event_property_is": _event_property_is,
    "event_property_contains": _event_property_contains,
    "contains_display_name": _contains_display_name,
    "room_member_count": _room_member_count,
    "sender_notification_permission": _sender_notification_permission,
    "io.element.msc4306.thread_subscription": _thread_subscription,
}
