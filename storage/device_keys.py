"""Keys that devices publish: identity keys, one-time keys, fallback keys.

https://spec.matrix.org/v1.19/client-server-api/#key-management-api

A one-time key is given out at most once. That holds against a client that repeats an upload because the
answer was lost, too: digests of claimed keys are kept for a while, and an upload skips them.
"""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from storage.transaction import Transaction

CLAIMED_MEMORY_MS = 7 * 24 * 3600 * 1000
_CHUNK = 200


class OneTimeKey(NamedTuple):
    algorithm: str
    key_id: str
    key: bytes


class Wanted(NamedTuple):
    """One key to be claimed."""

    user_id: str
    device_id: str
    algorithm: str


def identity_keys(tx: Transaction, user_id: str, device_id: str) -> bytes | None:
    keys: bytes | None = tx.value(
        "SELECT keys FROM device_keys WHERE user_id = ? AND device_id = ?", [user_id, device_id]
    )
    return keys


def put_identity_keys(tx: Transaction, user_id: str, device_id: str, keys: bytes) -> None:
    tx.insert(
        "device_keys",
        ("user_id", "device_id", "keys"),
        [(user_id, device_id, keys)],
        "ON CONFLICT (user_id, device_id) DO UPDATE SET keys = excluded.keys",
    )


def identity_keys_of(tx: Transaction, user_ids: Collection[str]) -> list[tuple[str, str, bytes, str | None]]:
    """(user, device, keys, display name of the device) of all devices with keys."""
    return tx.all(
        "SELECT k.user_id, k.device_id, k.keys, d.display_name FROM device_keys k"
        " JOIN device d ON d.user_id = k.user_id AND d.device_id = k.device_id"
        f" WHERE {tx.any('k.user_id')}",
        [tx.array(user_ids)],
    )


def add_one_time_keys(
    tx: Transaction, user_id: str, device_id: str, keys: Sequence[OneTimeKey]
) -> OneTimeKey | None:
    """Adds the keys that are new; or none, and returns one whose ID stands for another key already."""
    key_ids = tx.array({key.key_id for key in keys})
    where = f"user_id = ? AND device_id = ? AND {tx.any('key_id')}"
    held = {
        (algorithm, key_id): key
        for algorithm, key_id, key in tx.all(
            f"SELECT algorithm, key_id, key FROM one_time_key WHERE {where}", [user_id, device_id, key_ids]
        )
    }
    new = [key for key in keys if (key.algorithm, key.key_id) not in held]
    for key in keys:
        if held.get((key.algorithm, key.key_id), key.key) != key.key:
            return key
    if not new:
        return None
    tx.announce("one_time_keys", users=(user_id,))
    claimed = set(
        tx.all(
            f"SELECT algorithm, key_id, digest FROM claimed_one_time_key WHERE {where}",
            [user_id, device_id, key_ids],
        )
    )
    batch = tx.value(
        "SELECT coalesce(max(batch), 0) + 1 FROM one_time_key WHERE user_id = ? AND device_id = ?",
        [user_id, device_id],
    )
    tx.insert(
        "one_time_key",
        ("user_id", "device_id", "algorithm", "key_id", "batch", "key"),
        [
            (user_id, device_id, key.algorithm, key.key_id, batch, key.key)
            for key in new
            if (key.algorithm, key.key_id, _digest(key.key)) not in claimed
        ],
    )
    return None


def replace_fallback_keys(tx: Transaction, user_id: str, device_id: str, keys: Sequence[OneTimeKey]) -> None:
    """Each takes the place of its algorithm's key; a key that is the same as before stays used."""
    tx.announce("one_time_keys", users=(user_id,))
    tx.insert(
        "fallback_key",
        ("user_id", "device_id", "algorithm", "key_id", "key", "used"),
        [(user_id, device_id, key.algorithm, key.key_id, key.key, 0) for key in keys],
        "ON CONFLICT (user_id, device_id, algorithm) DO UPDATE SET"
        " used = CASE WHEN fallback_key.key_id = excluded.key_id AND fallback_key.key = excluded.key"
        " THEN fallback_key.used ELSE 0 END,"
        " key_id = excluded.key_id, key = excluded.key",
    )


def one_time_key_counts(tx: Transaction, user_id: str, device_id: str) -> dict[str, int]:
    return dict(
        tx.all(
            "SELECT algorithm, count(*) FROM one_time_key"
            " WHERE user_id = ? AND device_id = ? GROUP BY algorithm",
            [user_id, device_id],
        )
    )


def unused_fallback_algorithms(tx: Transaction, user_id: str, device_id: str) -> list[str]:
    rows = tx.all(
        "SELECT algorithm FROM fallback_key WHERE user_id = ? AND device_id = ? AND used = 0",
        [user_id, device_id],
    )
    return sorted(algorithm for (algorithm,) in rows)


def claim(tx: Transaction, wanted: Collection[Wanted], now_ms: int) -> dict[Wanted, OneTimeKey]:
    """Takes the oldest one-time key of each, or else its fallback key, which stays and is marked used."""
    claimed: dict[Wanted, OneTimeKey] = {}
    for some in _chunks(list(dict.fromkeys(wanted))):
        taken = _take_oldest(tx, some)
        tx.insert(
            "claimed_one_time_key",
            ("user_id", "device_id", "algorithm", "key_id", "digest", "claimed_ts"),
            [(*want, key.key_id, _digest(key.key), now_ms) for want, key in taken.items()],
            "ON CONFLICT (user_id, device_id, algorithm, key_id)"
            " DO UPDATE SET digest = excluded.digest, claimed_ts = excluded.claimed_ts",
        )
        missing = [want for want in some if want not in taken]
        claimed |= taken
        if missing:
            claimed |= _use_fallback(tx, missing)
    tx.execute("DELETE FROM claimed_one_time_key WHERE claimed_ts < ?", [now_ms - CLAIMED_MEMORY_MS])
    if claimed:
        tx.announce("one_time_keys", users=sorted({want.user_id for want in claimed}))
    return claimed


def forget_devices(tx: Transaction, user_id: str, device_ids: Collection[str]) -> list[str]:
    """Deletes all keys of these devices; returns the devices that had identity keys."""
    where = f"user_id = ? AND {tx.any('device_id')}"
    params = [user_id, tx.array(device_ids)]
    tables = ("one_time_key", "claimed_one_time_key", "fallback_key")
    if sum(tx.execute(f"DELETE FROM {table} WHERE {where}", params) for table in tables):
        tx.announce("one_time_keys", users=(user_id,))
    return [row[0] for row in tx.all(f"DELETE FROM device_keys WHERE {where} RETURNING device_id", params)]


def _take_oldest(tx: Transaction, wanted: Sequence[Wanted]) -> dict[Wanted, OneTimeKey]:
    """One look-up in the index for each, all in one statement, then one DELETE that says what it deleted."""
    rows = ",".join(["(?,?,?)"] * len(wanted))
    oldest = tx.all(
        f"WITH wanted (user_id, device_id, algorithm) AS (VALUES {rows})"
        " SELECT w.user_id, w.device_id, w.algorithm,"
        " (SELECT k.key_id FROM one_time_key k WHERE k.user_id = w.user_id AND k.device_id = w.device_id"
        " AND k.algorithm = w.algorithm ORDER BY k.batch, k.key_id LIMIT 1) FROM wanted w",
        [value for want in wanted for value in want],
    )
    found = [row for row in oldest if row[3] is not None]
    if not found:
        return {}
    deleted = tx.all(
        f"DELETE FROM one_time_key WHERE (user_id, device_id, algorithm, key_id) IN {_rows(4, len(found))}"
        " RETURNING user_id, device_id, algorithm, key_id, key",
        [value for row in found for value in row],
    )
    return {
        Wanted(user_id, device_id, algorithm): OneTimeKey(algorithm, key_id, key)
        for user_id, device_id, algorithm, key_id, key in deleted
    }


def _use_fallback(tx: Transaction, wanted: Sequence[Wanted]) -> dict[Wanted, OneTimeKey]:
    used = tx.all(
        f"UPDATE fallback_key SET used = 1"
        f" WHERE (user_id, device_id, algorithm) IN {_rows(3, len(wanted))}"
        " RETURNING user_id, device_id, algorithm, key_id, key",
        [value for want in wanted for value in want],
    )
    return {
        Wanted(user_id, device_id, algorithm): OneTimeKey(algorithm, key_id, key)
        for user_id, device_id, algorithm, key_id, key in used
    }


def _rows(width: int, count: int) -> str:
    """The right side of `(a, b, …) IN`. Without the SELECT, SQLite would scan the table and use no index."""
    row = f"({','.join('?' * width)})"
    return f"(SELECT * FROM (VALUES {','.join([row] * count)}) AS rows)"


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _chunks(wanted: Sequence[Wanted]) -> Iterator[Sequence[Wanted]]:
    return (wanted[start : start + _CHUNK] for start in range(0, len(wanted), _CHUNK))
