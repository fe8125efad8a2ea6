"""Keys of other servers' users as they are kept: what a remote said, held against the shape clients rely on.

https://spec.matrix.org/v1.19/client-server-api/#key-management-api

Whether the keys are good, only clients can tell; that they are about whom they were given for, and can be
stored and served, is seen to here. None stands for keys that are left out.
"""

from collections.abc import Mapping
from typing import Any

from homeserver.devices import opaque
from homeserver.devices.keys import MAX_KEYS_BYTES, is_signatures, is_strings
from homeserver.errors import BadJson
from homeserver.protocol.ids import fits

MAX_CROSS_SIGNING_BYTES = 16_384
MAX_DISPLAY_NAME = 1000


def device(user_id: str, device_id: str, keys: Any, display_name: Any = None) -> bytes | None:
    """A device's identity keys, with its display name where `/keys/query` has it."""
    if (
        not isinstance(keys, dict)
        or (keys.get("user_id"), keys.get("device_id")) != (user_id, device_id)
        or not fits(device_id)
        or "\0" in device_id
        or not _are_strings(keys.get("algorithms"))
        or not is_strings(keys.get("keys"))
        or not is_signatures(keys.get("signatures"))
    ):
        return None
    unsigned = {}
    if isinstance(display_name, str) and len(display_name) <= MAX_DISPLAY_NAME:
        unsigned["device_display_name"] = display_name
    return _to_bytes({**keys, "unsigned": unsigned}, MAX_KEYS_BYTES)


def queried_device(user_id: str, device_id: str, keys: Any) -> bytes | None:
    """The same from an answer to `/user/keys/query`, which has the display name in the keys."""
    unsigned = keys.get("unsigned") if isinstance(keys, dict) else None
    name = unsigned.get("device_display_name") if isinstance(unsigned, dict) else None
    return device(user_id, device_id, keys, name)


def cross_signing_key(user_id: str, usage: str, key: Any) -> bytes | None:
    """`usage` is master or self_signing."""
    if (
        not isinstance(key, dict)
        or key.get("user_id") != user_id
        or not _are_strings(key.get("usage"))
        or usage not in key["usage"]
        or not is_strings(key.get("keys"))
        or not is_signatures(key.get("signatures", {}))
    ):
        return None
    return _to_bytes(key, MAX_CROSS_SIGNING_BYTES)


def _are_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _to_bytes(value: Mapping[str, Any], limit: int) -> bytes | None:
    try:
        data = opaque.to_bytes(value)
    except BadJson:
        return None
    return data if len(data) <= limit else None
