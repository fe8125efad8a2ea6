from typing import Any

import pytest
import signedjson.key
import signedjson.sign
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol import hashing, redaction, signing
from homeserver.protocol.events import Event
from homeserver.protocol.room_versions import ROOM_VERSIONS, V1, V2
from homeserver.protocol.signing import SignatureError, SigningKey, VerifyKey
from tests.homeserver.protocol.room import ALICE, ALL_VERSIONS, BOB, Room, key_of, keys_of, versions
from tests.homeserver.protocol.test_canonical_json import STRICT

SPEC_KEY = SigningKey("1", hashing.decode_base64("YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1"))


@pytest.mark.parametrize(
    ("obj", "signature"),
    [
        ({}, "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"),
        (
            {"one": 1, "two": "Two"},
            "KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw",
        ),
    ],
)
def test_the_specifications_signed_json(obj: dict[str, Any], signature: str) -> None:
    signed = signing.sign_json(obj, "domain", SPEC_KEY)
    assert signed == {**obj, "signatures": {"domain": {"ed25519:1": signature}}}
    assert "signatures" not in obj
    signing.verify_json(signed, "domain", SPEC_KEY.verify_key)


MINIMAL = {
    "room_id": "!x:domain",
    "sender": "@a:domain",
    "origin": "domain",
    "origin_server_ts": 1000000,
    "signatures": {},
    "hashes": {},
    "type": "X",
    "content": {},
    "prev_events": [],
    "auth_events": [],
    "depth": 3,
    "unsigned": {"age_ts": 1000000},
}
REDACTABLE = {
    "content": {"body": "Here is the message content"},
    "event_id": "$0:domain",
    "origin": "domain",
    "origin_server_ts": 1000000,
    "type": "m.room.message",
    "room_id": "!r:domain",
    "sender": "@u:domain",
    "signatures": {},
    "unsigned": {"age_ts": 1000000},
}


@pytest.mark.parametrize(
    ("pdu", "digest", "signature"),
    [
        (
            MINIMAL,
            "5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos",
            "KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg",
        ),
        (
            REDACTABLE,
            "onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g",
            "Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA",
        ),
    ],
)
def test_the_specifications_signed_events(pdu: dict[str, Any], digest: str, signature: str) -> None:
    assert hashing.base64(hashing.content_hash(pdu, V1)) == digest
    hashed = {**pdu, "hashes": {"sha256": digest}}
    assert SPEC_KEY.sign(hashing.signed_bytes(hashed, V1)) == signature


@given(st.dictionaries(st.text(max_size=8), STRICT, max_size=5))
def test_signatures_agree_with_signedjson(obj: dict[str, Any]) -> None:
    obj.pop("signatures", None)
    key = key_of("a.org")
    theirs = signedjson.key.decode_signing_key_base64("ed25519", "1", key.to_line().split()[2])
    signed = signing.sign_json(obj, "a.org", key)
    assert signed == signedjson.sign.sign_json(dict(obj), "a.org", theirs)
    signing.verify_json(signed, "a.org", key.verify_key)
    signedjson.sign.verify_signed_json(signed, "a.org", signedjson.key.get_verify_key(theirs))


def test_key_files_are_signedjsons() -> None:
    keys = [SigningKey.generate(), SigningKey.generate("old")]
    text = signing.write_signing_keys(keys)
    theirs = signedjson.key.read_signing_keys(text.splitlines())
    assert [key.version for key in theirs] == [key.version for key in keys]
    again = signing.read_signing_keys(text + "\n")
    assert [key.verify_key for key in again] == [key.verify_key for key in keys]
    assert keys[0].verify_key.encode() == signedjson.key.encode_verify_key_base64(
        signedjson.key.get_verify_key(theirs[0])
    )
    with pytest.raises(ValueError):
        SigningKey.from_line("rsa 1 abcd")


@pytest.mark.parametrize(
    "signatures",
    [
        None,
        [],
        {"domain": None},
        {"domain": {"ed25519:2": "x"}},
        {"domain": {"ed25519:1": 5}},
        {"domain": {"ed25519:1": "not base64!"}},
        {"domain": {"ed25519:1": "AAAA"}},
        {
            "other": {
                "ed25519:1": "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZz"
            }
        },
        {"domain": {"ed25519:1": "A" * 86}},
    ],
)
def test_wrong_or_missing_signatures(signatures: Any) -> None:
    with pytest.raises(SignatureError):
        signing.verify_json({"signatures": signatures}, "domain", SPEC_KEY.verify_key)


def test_signatures_add_up() -> None:
    once = signing.sign_json({"a": 1, "unsigned": {"b": 2}}, "a.org", key_of("a.org"))
    twice = signing.sign_json(once, "b.org", key_of("b.org"))
    for server in ("a.org", "b.org"):
        signing.verify_json({**twice, "unsigned": {}}, server, key_of(server).verify_key)


@pytest.mark.parametrize("odd", [None, [1], "x", {"a.org": None}, {"a.org": [1]}])
def test_signing_over_odd_signatures(odd: Any) -> None:
    signed = signing.sign_json({"signatures": odd}, "a.org", key_of("a.org"))
    signing.verify_json(signed, "a.org", key_of("a.org").verify_key)


@pytest.mark.parametrize("hashes", [None, {}, {"sha256": 5}, {"sha256": "é"}, {"sha256": "AAAA"}])
def test_wrong_content_hashes(hashes: Any) -> None:
    assert not hashing.has_valid_content_hash({**MINIMAL, "hashes": hashes}, V1)


def test_content_hashes_are_compared_decoded() -> None:
    digest = hashing.base64(hashing.content_hash(MINIMAL, V1))
    for form in (digest, digest + "=", digest.replace("+", "-").replace("/", "_")):
        assert hashing.has_valid_content_hash({**MINIMAL, "hashes": {"sha256": form}}, V1)


def test_public_keys_of_other_kinds_are_refused() -> None:
    with pytest.raises(ValueError):
        VerifyKey.decode("curve25519:1", SPEC_KEY.verify_key.encode())
    with pytest.raises(ValueError):
        VerifyKey.decode("ed25519:1", "AAAA")
    assert VerifyKey.decode("ed25519:1", SPEC_KEY.verify_key.encode() + "=") == SPEC_KEY.verify_key


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_events_verify_whole_redacted_and_tampered_with(version: str) -> None:
    room = Room(version)
    event = room.send(ALICE, "m.room.message", {"body": "x"})
    keys = keys_of("a.org")
    assert signing.check_hash_and_signatures(event, keys) is event

    redacted = redaction.redact_event(event)
    assert redacted.content == {}
    assert signing.check_hash_and_signatures(redacted, keys).json == redacted.json

    changed = Event.parse({**event.pdu, "content": {"body": "y"}}, room.version)
    assert changed.event_id == event.event_id
    assert signing.check_hash_and_signatures(changed, keys).content == {}

    forged = Event.parse({**event.pdu, "depth": 99}, room.version)
    with pytest.raises(SignatureError):
        signing.check_hash_and_signatures(forged, keys)
    with pytest.raises(SignatureError):
        signing.check_hash_and_signatures(event, keys_of("b.org"))


def test_a_signature_with_an_unknown_key_is_skipped() -> None:
    room = Room("11")
    event = signing.sign_event(room.create, "a.org", SigningKey.generate("unknown"))
    signing.verify_signatures(event, keys_of("a.org"))


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_required_signers(version: str) -> None:
    room = Room(version)
    assert signing.required_signers(room.create) == ["a.org"]

    join = room.make(
        BOB, "m.room.member", {"membership": "join", "join_authorised_via_users_server": ALICE}, BOB
    )
    restricted = version in versions(8)
    assert signing.required_signers(join) == (["b.org", "a.org"] if restricted else ["b.org"])
    signing.verify_signatures(join, keys_of("a.org", "b.org"))
    if restricted:
        with pytest.raises(SignatureError):
            signing.verify_signatures(join, keys_of("b.org"))

    invite = room.make(ALICE, "m.room.member", {"membership": "invite", "third_party_invite": {}}, BOB)
    assert signing.required_signers(invite) == (["a.org"] if version in ("1", "2") else [])


def test_the_event_ids_server_signs_in_old_rooms() -> None:
    room = Room("2")
    event = room.send(ALICE, "m.room.message", {})
    stolen = Event.parse({**event.pdu, "sender": BOB}, V2)
    assert signing.required_signers(stolen) == ["b.org", "a.org"]
    assert ROOM_VERSIONS["2"] is V2


@pytest.mark.parametrize("claim", [{}, {"signed": {}}, "none"])
@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_no_invite_is_forged_by_a_claim_that_redaction_takes_away(version: str, claim: Any) -> None:
    """Whoever redeems a third-party invite may sign it; without the claim it is the sender's word."""
    room = Room(version)
    content = {"membership": "invite", "third_party_invite": claim}
    invite = room.make(ALICE, "m.room.member", content, "@eve:evil.org")
    pdu = {**invite.pdu, "hashes": {"sha256": hashing.base64(bytes(32))}, "signatures": {}}
    if "event_id" in pdu:
        pdu["event_id"] = "$forged:evil.org"
    signature = key_of("evil.org").sign(hashing.signed_bytes(pdu, room.version))
    pdu["signatures"] = {"evil.org": {key_of("evil.org").key_id: signature}}
    forged = Event.parse(pdu, room.version)
    keys = keys_of("evil.org", "a.org")
    try:
        left = signing.check_hash_and_signatures(forged, keys)
    except SignatureError:
        return
    assert "third_party_invite" in left.content


@pytest.mark.parametrize("authoriser", ["@:\0", "x:\0", "@a:not a server", "@a\0:a.org"])
def test_nobody_who_is_no_user_has_to_sign(authoriser: str) -> None:
    room = Room("11")
    content = {"membership": "join", "join_authorised_via_users_server": authoriser}
    assert signing.required_signers(room.make(BOB, "m.room.member", content, BOB)) == ["b.org"]
