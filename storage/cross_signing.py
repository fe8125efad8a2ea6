"""Cross-signing keys, and signatures on the keys of others.

https://spec.matrix.org/v1.19/client-server-api/#cross-signing

Signatures that an owner makes on keys of its own are merged into those keys' JSON when they arrive: all
may see them. What one user's user-signing key says about another's master key is a row of its own, as only
the signer may see it.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from storage.transaction import Transaction


class CrossSigningKey(NamedTuple):
    user_id: str
    usage: str
    public_key: str
    keys: bytes


class UserSignature(NamedTuple):
    signer: str
    signer_key_id: str
    target_user_id: str
    target_key: str
    signature: str


def keys_of(tx: Transaction, user_ids: Collection[str]) -> list[CrossSigningKey]:
    rows = tx.all(
        f"SELECT user_id, usage, public_key, keys FROM cross_signing_key WHERE {tx.any('user_id')}",
        [tx.array(user_ids)],
    )
    return [CrossSigningKey(*row) for row in rows]


def put_keys(tx: Transaction, keys: Sequence[CrossSigningKey]) -> None:
    tx.insert(
        "cross_signing_key",
        CrossSigningKey._fields,
        keys,
        "ON CONFLICT (user_id, usage) DO UPDATE SET public_key = excluded.public_key, keys = excluded.keys",
    )


def signatures_by(tx: Transaction, signer: str) -> list[UserSignature]:
    """What `signer` said about the master keys of others."""
    rows = tx.all(f"SELECT {', '.join(UserSignature._fields)} FROM user_signature WHERE signer = ?", [signer])
    return [UserSignature(*row) for row in rows]


def put_signatures(tx: Transaction, signatures: Sequence[UserSignature]) -> None:
    tx.insert(
        "user_signature",
        UserSignature._fields,
        signatures,
        "ON CONFLICT (signer, target_user_id, target_key, signer_key_id)"
        " DO UPDATE SET signature = excluded.signature",
    )


def forget_signatures_by(tx: Transaction, signer: str, signer_key_ids: Collection[str]) -> None:
    """The signer replaced these keys: what they signed counts no longer."""
    tx.execute(
        f"DELETE FROM user_signature WHERE signer = ? AND {tx.any('signer_key_id')}",
        [signer, tx.array(signer_key_ids)],
    )
