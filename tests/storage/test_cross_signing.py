"""Cross-signing keys are replaced by usage; signatures are their signer's only."""

from typing import Any

from storage import cross_signing
from storage.cross_signing import CrossSigningKey, UserSignature

ALICE, BOB = "@alice:hearth.test", "@bob:hearth.test"


def test_keys_are_one_for_each_usage(db: Any) -> None:
    db.write(cross_signing.put_keys, [CrossSigningKey(ALICE, "master", "M1", b"{}")])
    keys = [CrossSigningKey(ALICE, "master", "M2", b"[]"), CrossSigningKey(ALICE, "self_signing", "S", b"{}")]
    db.write(cross_signing.put_keys, keys)
    assert sorted(db.read(cross_signing.keys_of, [ALICE, BOB])) == keys


def test_signatures(db: Any) -> None:
    made = UserSignature(ALICE, "ed25519:U", BOB, "M", "old")
    db.write(cross_signing.put_signatures, [made])
    made = made._replace(signature="new")
    db.write(cross_signing.put_signatures, [made, UserSignature(BOB, "ed25519:V", ALICE, "N", "x")])
    assert db.read(cross_signing.signatures_by, ALICE) == [made]
    db.write(cross_signing.forget_signatures_by, ALICE, ["ed25519:U"])
    assert db.read(cross_signing.signatures_by, ALICE) == []
