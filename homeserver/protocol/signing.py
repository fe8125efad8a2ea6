"""ed25519 keys, signed JSON and signed events.

https://spec.matrix.org/v1.19/appendices/#signing-json
https://spec.matrix.org/v1.19/server-server-api/#validating-hashes-and-signatures-on-received-events

An event's signature covers its redacted form. Keys are files in signedjson's format, one line a key:
`ed25519 a_wXyz <base64 seed>`, so an operator's existing key file works unchanged.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

from homeserver.protocol import canonical_json, ids
from homeserver.protocol.hashing import base64, decode_base64, has_valid_content_hash, signed_bytes
from homeserver.protocol.redaction import redact_event

if TYPE_CHECKING:
    from homeserver.protocol.events import Event

_SIGNATURE_BYTES = 64
_KEY_BYTES = 32


class SignatureError(Exception):
    """A signature is missing or wrong; the message says whose."""


class VerifyKey:
    """A public key with its identifier, such as `ed25519:a_wXyz`."""

    __slots__ = ("bytes", "key_id")

    def __init__(self, key_id: str, public: bytes) -> None:
        if len(public) != _KEY_BYTES:
            raise ValueError("An ed25519 public key has 32 bytes.")
        self.key_id = key_id
        self.bytes = public

    @classmethod
    def decode(cls, key_id: str, text: str) -> VerifyKey:
        """From base64; ValueError for what is not an ed25519 key."""
        if not key_id.startswith("ed25519:"):
            raise ValueError(f"Unknown signing algorithm in {key_id!r}.")
        return cls(key_id, decode_base64(text))

    def encode(self) -> str:
        return base64(self.bytes)

    def verifies(self, message: bytes, signature: str) -> bool:
        try:
            raw = decode_base64(signature)
        except ValueError:
            return False
        if len(raw) != _SIGNATURE_BYTES:
            return False
        try:
            crypto_sign_open(raw + message, self.bytes)
        except BadSignatureError:
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VerifyKey) and (self.key_id, self.bytes) == (other.key_id, other.bytes)

    def __hash__(self) -> int:
        return hash((self.key_id, self.bytes))

    def __repr__(self) -> str:
        return f"VerifyKey({self.key_id!r}, {self.encode()!r})"


class SigningKey:
    __slots__ = ("_secret", "_seed", "key_id", "verify_key", "version")

    def __init__(self, version: str, seed: bytes) -> None:
        self.version = version
        self.key_id = f"ed25519:{version}"
        self._seed = seed
        public, self._secret = crypto_sign_seed_keypair(seed)
        self.verify_key = VerifyKey(self.key_id, public)

    @classmethod
    def generate(cls, version: str | None = None) -> SigningKey:
        if version is None:
            version = "a_" + "".join(secrets.choice("abcdefghijklmnopqrstuvwxyzABCDEFGH") for _ in range(4))
        return cls(version, secrets.token_bytes(_KEY_BYTES))

    @classmethod
    def from_line(cls, line: str) -> SigningKey:
        """One line of a key file."""
        algorithm, version, seed = line.split()
        if algorithm != "ed25519":
            raise ValueError(f"Unknown signing algorithm {algorithm!r}.")
        return cls(version, decode_base64(seed))

    def to_line(self) -> str:
        return f"ed25519 {self.version} {base64(self._seed)}"

    def sign(self, message: bytes) -> str:
        """The signature in unpadded base64."""
        return base64(crypto_sign(message, self._secret)[:_SIGNATURE_BYTES])

    def __repr__(self) -> str:
        return f"<SigningKey {self.key_id}>"


def read_signing_keys(text: str) -> list[SigningKey]:
    """A key file's content: the first key signs, the others are still published."""
    return [SigningKey.from_line(line) for line in text.splitlines() if line.strip()]


def write_signing_keys(keys: Iterable[SigningKey]) -> str:
    return "".join(key.to_line() + "\n" for key in keys)


def json_bytes(obj: Mapping[str, Any]) -> bytes:
    """What a signature over a plain JSON object covers."""
    return canonical_json.encode_lax(
        {key: value for key, value in obj.items() if key not in ("signatures", "unsigned")}
    )


def sign_json(obj: dict[str, Any], server_name: str, key: SigningKey) -> dict[str, Any]:
    """A shallow copy of `obj` with our signature added to those it has."""
    return _with_signature(obj, server_name, key.key_id, key.sign(json_bytes(obj)))


def verify_json(obj: Mapping[str, Any], server_name: str, verify_key: VerifyKey) -> None:
    signature = signatures_of(obj, server_name).get(verify_key.key_id)
    if signature is None:
        raise SignatureError(f"No signature by {server_name} with {verify_key.key_id}.")
    try:
        message = json_bytes(obj)
    except canonical_json.NotCanonical as error:
        raise SignatureError(str(error)) from None
    if not verify_key.verifies(message, signature):
        raise SignatureError(f"Wrong signature by {server_name} with {verify_key.key_id}.")


def signatures_of(obj: Mapping[str, Any], server_name: str) -> dict[str, str]:
    """Key ID → signature, for the ed25519 signatures of one server; empty if there are none."""
    signatures = obj.get("signatures")
    of_server = signatures.get(server_name) if isinstance(signatures, dict) else None
    if not isinstance(of_server, dict):
        return {}
    return {k: v for k, v in of_server.items() if k.startswith("ed25519:") and isinstance(v, str)}


# Events


def sign_event(event: Event, server_name: str, key: SigningKey) -> Event:
    """The event with a further signature, as when we vouch for a restricted join or take an invite."""
    signature = key.sign(signed_bytes(event.pdu, event.version))
    return event.with_pdu(_with_signature(event.pdu, server_name, key.key_id, signature))


def required_signers(event: Event) -> list[str]:
    """The servers without whose valid signature an event is dropped.

    The sender's, except for an invite made from a third-party invite, which another server may have
    issued; the authorising server's for a restricted join; in room versions 1 and 2 also that of the
    event ID's domain.
    """
    signers: list[str] = []
    is_member = event.type == "m.room.member" and event.state_key is not None
    content = event.content
    if not (is_member and content.get("membership") == "invite" and "third_party_invite" in content):
        signers.append(ids.domain_of(event.sender))
    if is_member and event.version.restricted_join_rules:
        authoriser = content.get("join_authorised_via_users_server")
        if isinstance(authoriser, str) and ids.is_valid_user_id(authoriser):  # the rules allow no other
            signers.append(ids.domain_of(authoriser))
    if not event.version.hashed_event_ids:
        signers.append(ids.domain_of(event.event_id))
    return list(dict.fromkeys(signers))


def verify_signatures(event: Event, keys: Mapping[str, Mapping[str, VerifyKey]]) -> None:
    """Check every signature an event needs.

    `keys` holds, for each server, the keys that count for this event: known and, from room version 5,
    valid at its `origin_server_ts`. Signatures with other keys are skipped.
    """
    message = signed_bytes(event.pdu, event.version)
    for server in required_signers(event):
        known = keys.get(server, {})
        checked = False
        for key_id, signature in signatures_of(event.pdu, server).items():
            key = known.get(key_id)
            if key is None:
                continue
            if not key.verifies(message, signature):
                raise SignatureError(f"{event.event_id} has a wrong signature by {server} with {key_id}.")
            checked = True
        if not checked:
            raise SignatureError(f"{event.event_id} has no signature by {server} with a known key.")


def check_hash_and_signatures(event: Event, keys: Mapping[str, Mapping[str, VerifyKey]]) -> Event:
    """The event as it may be processed: redacted if its content hash is wrong.

    Raises SignatureError for an event to drop.
    """
    verify_signatures(event, keys)
    if has_valid_content_hash(event.pdu, event.version):
        return event
    redacted = redact_event(event)
    # Without its claim to redeem a third-party invite it is a plain invite, which the sender has to sign.
    if required_signers(redacted) != required_signers(event):
        verify_signatures(redacted, keys)
    return redacted


def _with_signature(obj: dict[str, Any], server: str, key_id: str, signature: str) -> dict[str, Any]:
    # A remote's object, which we countersign, may hold anything here.
    given = obj.get("signatures")
    signatures = dict(given) if isinstance(given, dict) else {}
    ours = signatures.get(server)
    signatures[server] = {**(ours if isinstance(ours, dict) else {}), key_id: signature}
    return {**obj, "signatures": signatures}
