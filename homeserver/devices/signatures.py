"""ed25519 keys and signatures in the JSON of cross-signing.

https://spec.matrix.org/v1.19/appendices/#signing-json
"""

from collections.abc import Mapping
from typing import Any

from homeserver.devices import opaque
from homeserver.protocol.canonical_json import encode
from homeserver.protocol.signing import VerifyKey


def is_public_key(text: str) -> bool:
    """Whether it is an ed25519 key in unpadded base64, which also serves as its own name."""
    try:
        return VerifyKey.decode("ed25519:", text).encode() == text
    except ValueError:
        return False


def is_signed_by(signed: Mapping[str, Any], user_id: str, key_id: str, public_key: str) -> bool:
    """Whether `signatures` has a good one of this user's key. `signed` must be canonical JSON."""
    signatures = signed.get("signatures")
    by_key = signatures.get(user_id) if isinstance(signatures, Mapping) else None
    signature = by_key.get(key_id) if isinstance(by_key, Mapping) else None
    try:
        key = VerifyKey.decode(key_id, public_key)
    except ValueError:
        return False
    message = encode(opaque.without(signed, "signatures", "unsigned"))
    return isinstance(signature, str) and key.verifies(message, signature)
