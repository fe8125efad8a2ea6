"""JSON that is kept and handed on, but not understood: keys, signatures, the contents of messages.

Kept as bytes in canonical form, so that equal objects are equal bytes and an answer can embed them without
parsing them again.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from homeserver.errors import BadJson
from homeserver.protocol.canonical_json import NotCanonical, encode


def to_bytes(value: Any) -> bytes:
    """For values a client sent; numbers too big for any JSON reader and endless nesting are its error."""
    try:
        return encode(value)
    except NotCanonical as error:
        raise BadJson(f"The JSON cannot be stored: {error}") from None


def fragment(data: bytes) -> orjson.Fragment:
    """Stored bytes as a value for `orjson.dumps`, which copies them."""
    return orjson.Fragment(data)


def with_field(data: bytes, field: str, value: Any) -> orjson.Fragment:
    """A stored object (never an empty one) with one more field, which it must not have yet."""
    return orjson.Fragment(b"%b,%b:%b}" % (data[:-1], orjson.dumps(field), orjson.dumps(value)))


def without(value: Mapping[str, Any], *fields: str) -> dict[str, Any]:
    return {name: each for name, each in value.items() if name not in fields}


def merge_signatures(key: dict[str, Any], signatures: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """The key with these signatures added to its own."""
    merged = {user_id: dict(by_key) for user_id, by_key in key.get("signatures", {}).items()}
    for user_id, by_key in signatures.items():
        merged.setdefault(user_id, {}).update(by_key)
    return {**key, "signatures": merged}
