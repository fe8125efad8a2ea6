"""The signing keys of other servers, and their signed statements about them."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from storage.transaction import Transaction

_KEY_COLUMNS = ("server_name", "key_id", "public", "old", "valid_until")
_KEY_UPSERT = (
    "ON CONFLICT (server_name, key_id) DO UPDATE SET public = excluded.public, old = excluded.old,"
    " valid_until = excluded.valid_until"
)
_DOCUMENT_COLUMNS = ("server_name", "document", "valid_until", "fetched_at")
_DOCUMENT_UPSERT = (
    "ON CONFLICT (server_name) DO UPDATE SET document = excluded.document,"
    " valid_until = excluded.valid_until, fetched_at = excluded.fetched_at"
)

# A server that publishes ever new keys keeps the latest.
MOST_KEYS = 200


class StoredKey(NamedTuple):
    """`public` in base64; `valid_until` in milliseconds, for an old key when it was last used."""

    key_id: str
    public: str
    old: bool
    valid_until: int


class StoredDocument(NamedTuple):
    json: bytes
    valid_until: int
    fetched_at: int


def keys_of(tx: Transaction, server_names: Collection[str]) -> dict[str, list[StoredKey]]:
    found: dict[str, list[StoredKey]] = {}
    rows = tx.all(
        "SELECT server_name, key_id, public, old, valid_until FROM server_key"
        f" WHERE {tx.any('server_name')}",
        [tx.array(server_names)],
    )
    for server_name, key_id, public, old, valid_until in rows:
        found.setdefault(server_name, []).append(StoredKey(key_id, public, bool(old), valid_until))
    return found


def document_of(tx: Transaction, server_name: str) -> StoredDocument | None:
    row = tx.one(
        "SELECT document, valid_until, fetched_at FROM server_key_document WHERE server_name = ?",
        [server_name],
    )
    return StoredDocument(bytes(row[0]), row[1], row[2]) if row is not None else None


def store(
    tx: Transaction,
    server_name: str,
    keys: Iterable[StoredKey],
    document: StoredDocument,
    *,
    from_origin: bool,
) -> list[StoredKey]:
    """Keeps a verified statement; all keys of the server after that.

    Keys that the statement does not name any more stay: they signed events. What is second-hand and older
    than what is here only adds keys.
    """
    newest = True
    if not from_origin:
        held = tx.value(
            "SELECT valid_until FROM server_key_document WHERE server_name = ?", [server_name]
        )
        newest = held is None or held < document.valid_until
    rows = [(server_name, key.key_id, key.public, int(key.old), key.valid_until) for key in keys]
    tx.insert("server_key", _KEY_COLUMNS, rows, _KEY_UPSERT if newest else "ON CONFLICT DO NOTHING")
    if newest:
        tx.insert("server_key_document", _DOCUMENT_COLUMNS, [(server_name, *document)], _DOCUMENT_UPSERT)
    tx.execute(
        "DELETE FROM server_key WHERE server_name = ? AND key_id NOT IN (SELECT key_id FROM server_key"
        " WHERE server_name = ? ORDER BY old, valid_until DESC, key_id LIMIT ?)",
        [server_name, server_name, MOST_KEYS],
    )
    return keys_of(tx, [server_name]).get(server_name, [])
