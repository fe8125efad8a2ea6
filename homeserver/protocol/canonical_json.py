"""Canonical JSON: the one byte string that hashes and signatures are made of.

https://spec.matrix.org/v1.19/appendices/#canonical-json

orjson sorts keys by their UTF-8 bytes, which is code point order, writes no white space and escapes
exactly the characters the grammar escapes, so `encode` is one call. It would also write floats and big
integers, which the grammar forbids: foreign values go through `validate_strict` once, then everything
else may trust them. Room versions 1 to 5 never enforced the grammar; for them the `_lax` functions keep
floats and integers of any size byte for byte as Python's `json` (and so Synapse) writes them.
"""

import json
import re
from typing import Any

import orjson

MAX_INT = 2**53 - 1
# orjson refuses to write more than 254 levels and other implementations to read more than 128; an event
# we could read but not serve would block every sync that holds it.
MAX_NESTING = 120

# Numbers that orjson would read as floats, or may write differently from `json`.
_LAX_NUMBER = re.compile(rb"[0-9][.eE]|[0-9]{17}")


class NotCanonical(ValueError):
    """A value that has no canonical JSON; the message says why."""


def encode(value: Any) -> bytes:
    """Canonical bytes of a value that is known to hold no floats and no oversized integers."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:
        raise NotCanonical(str(error)) from None


def encode_lax(value: Any) -> bytes:
    """Canonical bytes for room versions 1 to 5, in which any number may stand."""
    if _only_small_integers(value):
        return encode(value)
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)
        return text.encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise NotCanonical(str(error)) from None


def write(value: Any) -> bytes:
    """JSON for clients of what may hold the numbers of old rooms, which orjson does not write."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return encode_lax(value)


def decode_lax(data: bytes) -> Any:
    """Parse JSON without losing digits: orjson turns integers beyond 64 bits into floats."""
    if _LAX_NUMBER.search(data) is None:
        return orjson.loads(data)
    return json.loads(data, parse_constant=_no_constant)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON.")


def validate_strict(value: Any) -> None:
    """Raise NotCanonical unless `value` is made of what canonical JSON allows."""
    # Level by level, not recursively: the depth comes for free and nothing can exhaust the stack.
    level = [value]
    for _ in range(MAX_NESTING):
        deeper: list[Any] = []
        for container in level:
            kind = type(container)
            if kind is dict:
                items = container.values()
            elif kind is list:
                items = container
            else:
                items = (container,)
            for item in items:
                kind = type(item)
                if kind is str or kind is bool or item is None:
                    continue
                if kind is int:
                    if not -MAX_INT <= item <= MAX_INT:
                        raise NotCanonical("An integer is out of range.")
                elif kind is dict or kind is list:
                    deeper.append(item)
                elif kind is float:
                    raise NotCanonical("Floating point numbers are not allowed.")
                else:
                    raise NotCanonical(f"{kind.__name__} is not a JSON value.")
        if not deeper:
            return
        level = deeper
    raise NotCanonical("Nested too deeply.")


def validate_lax(value: Any) -> None:
    """What room versions 1 to 5 ask: JSON, not nested without bound."""
    level = [value]
    for _ in range(MAX_NESTING):
        level = [
            item
            for container in level
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, (dict, list))
        ]
        if not level:
            return
    raise NotCanonical("Nested too deeply.")


def _only_small_integers(value: Any) -> bool:
    try:
        validate_strict(value)
    except NotCanonical:
        return False
    return True
