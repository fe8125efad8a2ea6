"""Olm and Megolm as a client uses them: what one device encrypts and can read.

https://spec.matrix.org/v1.19/client-server-api/#messaging-algorithms

Each direction between two devices has a session of its own, so every pair claims a key both ways. A key
that the server gave to two devices, or did not give as it was uploaded, shows as an error here.
"""

from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Any

import orjson
from vodozemac import (
    Account,
    AnyOlmMessage,
    Curve25519PublicKey,
    Ed25519PublicKey,
    Ed25519Signature,
    GroupSession,
    InboundGroupSession,
    MegolmMessage,
    Session,
)

from homeserver.protocol.canonical_json import encode

OLM, MEGOLM = "m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"
ONE_TIME = "signed_curve25519"
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Peer:
    """Another device, as its keys say."""

    user_id: str
    device_id: str
    curve: str
    ed: str


def peer(user_id: str, device_id: str, keys: Json) -> Peer:
    """From an answer to `/keys/query`; its signature must be good."""
    curve, ed = (keys["keys"][f"{name}:{device_id}"] for name in ("curve25519", "ed25519"))
    found = Peer(user_id, device_id, curve, ed)
    assert (keys["user_id"], keys["device_id"]) == (user_id, device_id)
    _check(found, keys)
    return found


class Olm:
    def __init__(self, user_id: str, device_id: str) -> None:
        self.user_id = user_id
        self.device_id = device_id
        self.account = Account()
        self.curve = self.account.curve25519_key.to_base64()
        self._outbound: dict[str, Session] = {}
        self._inbound: dict[str, list[Session]] = {}
        self._groups: dict[tuple[str, str], InboundGroupSession] = {}

    # what is published

    def device_keys(self) -> Json:
        keys = {
            f"curve25519:{self.device_id}": self.curve,
            f"ed25519:{self.device_id}": self.account.ed25519_key.to_base64(),
        }
        return self._signed({
            "user_id": self.user_id, "device_id": self.device_id, "algorithms": [OLM, MEGOLM], "keys": keys,
        })  # fmt: skip

    def one_time_keys(self, count: int) -> Json:
        self.account.generate_one_time_keys(count)
        made = {
            f"{ONE_TIME}:{key_id}": self._signed({"key": key.to_base64()})
            for key_id, key in self.account.one_time_keys.items()
        }
        self.account.mark_keys_as_published()
        return made

    def _signed(self, what: Json) -> Json:
        signature = self.account.sign(encode(what)).to_base64()
        return {**what, "signatures": {self.user_id: {f"ed25519:{self.device_id}": signature}}}

    # from device to device

    def knows(self, other: Peer) -> bool:
        return other.curve in self._outbound

    def begin(self, other: Peer, claimed: Json) -> None:
        """With what was claimed: `{"<algorithm>:<key ID>": key}`."""
        [key] = claimed.values()
        _check(other, key)
        self._outbound[other.curve] = self.account.create_outbound_session(
            Curve25519PublicKey.from_base64(other.curve), Curve25519PublicKey.from_base64(key["key"])
        )

    def encrypt(self, other: Peer, payload: Json) -> Json:
        kind, body = self._outbound[other.curve].encrypt(orjson.dumps(payload)).to_parts()
        ciphertext = {other.curve: {"type": kind, "body": _base64(body)}}
        return {"algorithm": OLM, "sender_key": self.curve, "ciphertext": ciphertext}

    def decrypt(self, content: Json) -> Json:
        sender, mine = content["sender_key"], content["ciphertext"][self.curve]
        message = AnyOlmMessage.from_parts(mine["type"], _bytes(mine["body"]))
        sessions = self._inbound.setdefault(sender, [])
        first = message.to_pre_key()
        for session in sessions:
            if first is None or session.session_matches(first):
                return dict(orjson.loads(session.decrypt(message)))
        assert first is not None, "a message of a session that never began"
        session, plain = self.account.create_inbound_session(Curve25519PublicKey.from_base64(sender), first)
        sessions.append(session)
        return dict(orjson.loads(plain))

    # rooms

    def add_group(self, room_id: str, session_id: str, key: Any) -> None:
        """The key of a session of another device; the earliest index counts."""
        new, old = InboundGroupSession(key), self._groups.get((room_id, session_id))
        if old is None or new.first_known_index < old.first_known_index:
            self._groups[room_id, session_id] = new

    def read(self, room_id: str, content: Json) -> Json | None:
        """None without the key, or with one that begins later."""
        group = self._groups.get((room_id, content["session_id"]))
        message = MegolmMessage.from_base64(content["ciphertext"])
        if group is None or message.message_index() < group.first_known_index:
            return None
        return dict(orjson.loads(group.decrypt(message).plaintext))

    def say(self, group: GroupSession, payload: Json) -> Json:
        return {
            "algorithm": MEGOLM, "sender_key": self.curve, "device_id": self.device_id,
            "session_id": group.session_id, "ciphertext": group.encrypt(orjson.dumps(payload)).to_base64(),
        }  # fmt: skip


def _check(signer: Peer, signed: Json) -> None:
    plain = {name: value for name, value in signed.items() if name not in ("signatures", "unsigned")}
    signature = signed["signatures"][signer.user_id][f"ed25519:{signer.device_id}"]
    Ed25519PublicKey.from_base64(signer.ed).verify_signature(
        encode(plain), Ed25519Signature.from_base64(signature)
    )


def _base64(data: bytes) -> str:
    return b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return b64decode(text + "=" * (-len(text) % 4))
