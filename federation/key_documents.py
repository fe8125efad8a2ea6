"""A server's statement about its signing keys: made for ourselves, checked for others.

https://spec.matrix.org/v1.19/server-server-api/#publishing-keys

Nothing is believed that the keys of the statement itself did not sign, whoever brought it. No statement
counts for longer than seven days, so that a stolen name cannot publish a key for ever.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from federation.errors import BadAnswer
from homeserver.clock import Clock
from homeserver.protocol import canonical_json
from homeserver.protocol.signing import (
    SignatureError,
    SigningKey,
    VerifyKey,
    sign_json,
    signatures_of,
    verify_json,
)
from storage.server_keys import StoredDocument, StoredKey

MAX_DOCUMENT = 64 * 1024
MAX_KEYS = 100
MAX_VALIDITY_MS = 7 * 24 * 3_600_000
MAX_KEY_ID = 255
_MAX_TIMESTAMP = 2**53


class KeyDocument(NamedTuple):
    server_name: str
    keys: list[StoredKey]
    stored: StoredDocument


def check(content: Any, server_name: str, now: int) -> KeyDocument:
    """Raises BadAnswer unless it is a statement of this server, signed with the keys in it."""
    if not isinstance(content, dict) or content.get("server_name") != server_name:
        raise BadAnswer(f"This is no statement about the keys of {server_name}.")
    claimed = _timestamp(content.get("valid_until_ts"))
    if claimed is None:
        raise BadAnswer(f"The keys of {server_name} have no valid_until_ts.")
    valid_until = min(claimed, now + MAX_VALIDITY_MS)
    current = _keys(content.get("verify_keys"))
    _check_signatures(content, server_name, current)
    keys = [StoredKey(key_id, key.encode(), False, valid_until) for key_id, key in current.items()]
    old: Any = content.get("old_verify_keys")
    for key_id, key in _keys(old).items():
        expired = _timestamp(old[key_id].get("expired_ts"))
        if key_id not in current and expired is not None:
            keys.append(StoredKey(key_id, key.encode(), True, min(expired, now)))
    own = {server_name: signatures_of(content, server_name)}
    encoded = canonical_json.encode_lax({**content, "signatures": own})
    if len(encoded) > MAX_DOCUMENT or len(keys) > MAX_KEYS:
        raise BadAnswer(f"{server_name} has too many keys.")
    return KeyDocument(server_name, keys, StoredDocument(encoded, valid_until, now))


def _check_signatures(content: Mapping[str, Any], server_name: str, keys: Mapping[str, VerifyKey]) -> None:
    signed_with = [key for key_id, key in keys.items() if key_id in signatures_of(content, server_name)]
    if not signed_with:
        raise BadAnswer(f"{server_name} did not sign its keys.")
    try:
        for key in signed_with[:MAX_KEYS]:
            verify_json(content, server_name, key)
    except SignatureError as error:
        raise BadAnswer(str(error)) from error


def _keys(section: Any) -> dict[str, VerifyKey]:
    """Keys of an algorithm we do not know are none of ours; what is malformed neither."""
    found: dict[str, VerifyKey] = {}
    for key_id, entry in section.items() if isinstance(section, dict) else ():
        text = entry.get("key") if isinstance(entry, dict) else None
        if isinstance(text, str) and len(key_id) <= MAX_KEY_ID and "\0" not in key_id:
            try:
                found[key_id] = VerifyKey.decode(key_id, text)
            except ValueError:
                continue
    return found


def _timestamp(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= _MAX_TIMESTAMP else None


class OldKey(NamedTuple):
    """A key this server signed with until `expired_ts` (milliseconds)."""

    key: VerifyKey
    expired_ts: int


class OwnKeys:
    """What this server says of its own keys; said anew when half its time has passed."""

    def __init__(
        self,
        server_name: str,
        signing_keys: Sequence[SigningKey],
        old_keys: Sequence[OldKey],
        clock: Clock,
        lifetime_ms: int,
    ) -> None:
        self.server_name = server_name
        self._signing_keys = signing_keys
        self._old_keys = old_keys
        self._clock = clock
        self._lifetime_ms = min(max(lifetime_ms, 3_600_000), MAX_VALIDITY_MS)
        self._document: dict[str, Any] = {}

    def document(self) -> dict[str, Any]:
        now = self._clock.now_ms()
        if self._document.get("valid_until_ts", 0) < now + self._lifetime_ms // 2:
            document: dict[str, Any] = {
                "server_name": self.server_name,
                "verify_keys": {key.key_id: {"key": key.verify_key.encode()} for key in self._signing_keys},
                "old_verify_keys": {
                    old.key.key_id: {"key": old.key.encode(), "expired_ts": old.expired_ts}
                    for old in self._old_keys
                },
                "valid_until_ts": now + self._lifetime_ms,
            }
            for key in self._signing_keys:
                document = sign_json(document, self.server_name, key)
            self._document = document
        return self._document

    def countersign(self, document: dict[str, Any]) -> dict[str, Any]:
        """As a notary: our signature beside the origin's."""
        return sign_json(document, self.server_name, self._signing_keys[0])

    def stored(self) -> list[StoredKey]:
        """In the form of other servers' keys; our own never grow too old to check our own events."""
        keys = [
            StoredKey(key.key_id, key.verify_key.encode(), False, _MAX_TIMESTAMP)
            for key in self._signing_keys
        ]
        keys += [
            StoredKey(old.key.key_id, old.key.encode(), True, old.expired_ts) for old in self._old_keys
        ]
        return keys
