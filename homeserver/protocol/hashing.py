"""The two hashes of an event.

https://spec.matrix.org/v1.19/server-server-api/#signing-events

The *content hash* covers everything and tells whether we hold the full event; the *reference hash* covers
the redacted event and is its ID from room version 3. The bytes under the reference hash are the very
bytes that are signed, which is why `signed_bytes` stands here and is made once for both.
"""

from base64 import b64decode, urlsafe_b64encode
from binascii import b2a_base64
from hashlib import sha256
from typing import Any

from homeserver.protocol import canonical_json
from homeserver.protocol.redaction import redact
from homeserver.protocol.room_versions import RoomVersion

_NOT_IN_CONTENT_HASH = frozenset({"unsigned", "signatures", "hashes"})
_NOT_SIGNED = frozenset({"unsigned", "signatures"})


def encode(value: Any, version: RoomVersion) -> bytes:
    """Canonical JSON as the room version understands it."""
    return canonical_json.encode(value) if version.strict_json else canonical_json.encode_lax(value)


def content_hash(pdu: dict[str, Any], version: RoomVersion) -> bytes:
    covered = {key: value for key, value in pdu.items() if key not in _NOT_IN_CONTENT_HASH}
    return sha256(encode(covered, version)).digest()


def has_valid_content_hash(pdu: dict[str, Any], version: RoomVersion) -> bool:
    """False too where the hash is missing: such an event is treated as redacted."""
    hashes = pdu.get("hashes")
    claimed = hashes.get("sha256") if isinstance(hashes, dict) else None
    if not isinstance(claimed, str):
        return False
    try:
        digest = decode_base64(claimed)
    except ValueError:
        return False
    return digest == content_hash(pdu, version)


def signed_bytes(pdu: dict[str, Any], version: RoomVersion) -> bytes:
    """What an event's signatures and its reference hash cover."""
    redacted = redact(pdu, version)
    return encode({key: value for key, value in redacted.items() if key not in _NOT_SIGNED}, version)


def reference_hash(pdu: dict[str, Any], version: RoomVersion) -> bytes:
    return sha256(signed_bytes(pdu, version)).digest()


def event_id(pdu: dict[str, Any], version: RoomVersion) -> str:
    """The ID of an event of room version 3 or later."""
    return event_id_of_digest(reference_hash(pdu, version), version)


def event_id_of_digest(digest: bytes, version: RoomVersion) -> str:
    return "$" + (base64_url(digest) if version.url_safe_event_ids else base64(digest))


def base64(data: bytes) -> str:
    """Unpadded."""
    return b2a_base64(data, newline=False).rstrip(b"=").decode()


def base64_url(data: bytes) -> str:
    """URL-safe, unpadded."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def decode_base64(text: str) -> bytes:
    """Unpadded or padded, standard or URL-safe; ValueError if it is none of these."""
    text = text.rstrip("=").replace("-", "+").replace("_", "/")
    return b64decode(text + "=" * (-len(text) % 4), validate=True)
