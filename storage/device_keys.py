"""Keys that devices publish: identity keys, one-time keys, fallback keys.

https://spec.matrix.org/v1.19/client-server-api/#key-management-api

A one-time key is given out at most once. The subtle idea: the keys of a device and algorithm are numbered,
and to claim some is to move the number of the next one, a small row in its place; the keys themselves are
left alone. They go when later uploads come, all but the last ones: a client that repeats an upload, because
the answer was lost, brings none of its claimed keys back.
"""

from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from storage.transaction import Transaction

CLAIMED_KEPT = 200
"""So many keys of a device and algorithm, or as many as came at once, stay although they were claimed."""
AHEAD = 8
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
    device = (user_id, device_id)
    queues = {
        algorithm: (following, last)
        for algorithm, following, last in tx.all(
            "SELECT algorithm, next, last FROM one_time_queue WHERE user_id = ? AND device_id = ?", device
        )
    }
    known = {
        (algorithm, key_id): (number, key)
        for algorithm, key_id, number, key in tx.all(
            "SELECT algorithm, key_id, number, key FROM one_time_key"
            f" WHERE user_id = ? AND device_id = ? AND {tx.any('key_id')}",
            [*device, tx.array({key.key_id for key in keys})],
        )
    }
    new: dict[str, list[OneTimeKey]] = {}
    for key in keys:
        number, held = known.get((key.algorithm, key.key_id), (0, b""))
        if held == key.key:
            continue  # held, or claimed before
        if number and number >= queues[key.algorithm][0]:
            return key
        new.setdefault(key.algorithm, []).append(key)
    for algorithm, some in new.items():
        following, last = queues.get(algorithm, (1, 0))
        old = min(following - 1, last - max(CLAIMED_KEPT, len(keys)))
        reused = [key.key_id for key in some if (algorithm, key.key_id) in known]
        tx.execute(
            "DELETE FROM one_time_key WHERE user_id = ? AND device_id = ? AND algorithm = ?"
            f" AND number < ? AND (number <= ? OR {tx.any('key_id')})",
            [*device, algorithm, following, old, tx.array(reused)],
        )
        tx.insert(
            "one_time_key",
            ("user_id", "device_id", "algorithm", "key_id", "number", "key"),
            [
                (*device, algorithm, key.key_id, number, key.key)
                for number, key in enumerate(sorted(some), last + 1)
            ],
        )
        _put_queues(tx, [(*device, algorithm, following, last + len(some))])
    if new:
        tx.announce("one_time_keys", users=(user_id,))
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
            "SELECT algorithm, last - next + 1 FROM one_time_queue"
            " WHERE user_id = ? AND device_id = ? AND next <= last",
            [user_id, device_id],
        )
    )


def unused_fallback_algorithms(tx: Transaction, user_id: str, device_id: str) -> list[str]:
    rows = tx.all(
        "SELECT algorithm FROM fallback_key WHERE user_id = ? AND device_id = ? AND used = 0",
        [user_id, device_id],
    )
    return sorted(algorithm for (algorithm,) in rows)


def claim(
    tx: Transaction, requests: Sequence[Collection[Wanted]]
) -> list[dict[Wanted, list[OneTimeKey]]]:
    """Takes the oldest one-time key of each, or else its fallback key, which stays and is marked used.

    More than one key of the same: those after the first were taken ahead, for claims to come.
    """
    demand = Counter(want for request in requests for want in dict.fromkeys(request))
    taken = _take_oldest(tx, demand)
    short = [want for want, count in demand.items() if len(taken.get(want, ())) < count]
    fallback = _use_fallback(tx, short)
    if taken or fallback:
        tx.announce("one_time_keys", users=sorted({want.user_id for want in [*taken, *fallback]}))
    answers: list[dict[Wanted, list[OneTimeKey]]] = []
    for request in requests:
        answer: dict[Wanted, list[OneTimeKey]] = {}
        for want in dict.fromkeys(request):
            if queue := taken.get(want):
                answer[want] = [queue.popleft()]
                demand[want] -= 1
                if not demand[want]:
                    answer[want] += queue
            elif want in fallback:
                answer[want] = [fallback[want]]
        answers.append(answer)
    return answers


def forget_devices(tx: Transaction, user_id: str, device_ids: Collection[str]) -> list[str]:
    """Deletes all keys of these devices; returns the devices that had identity keys."""
    where = f"user_id = ? AND {tx.any('device_id')}"
    params = [user_id, tx.array(device_ids)]
    tables = ("one_time_key", "one_time_queue", "fallback_key")
    if sum(tx.execute(f"DELETE FROM {table} WHERE {where}", params) for table in tables):
        tx.announce("one_time_keys", users=(user_id,), data=[(user_id, each) for each in device_ids])
    return [row[0] for row in tx.all(f"DELETE FROM device_keys WHERE {where} RETURNING device_id", params)]


def _take_oldest(tx: Transaction, demand: Mapping[Wanted, int]) -> dict[Wanted, deque[OneTimeKey]]:
    """As many of each as are wanted, or are left; and some ahead, at most half of what is left then."""
    taken: dict[Wanted, deque[OneTimeKey]] = {}
    for some in _chunks(list(demand)):
        moved: dict[Wanted, tuple[int, int]] = {}
        # CROSS JOIN tells SQLite the order.
        for user_id, device_id, algorithm, last, number, key_id, key in tx.all(
            f"WITH wanted (user_id, device_id, algorithm, count) AS (VALUES {tx.values(4, len(some))})"
            " SELECT q.user_id, q.device_id, q.algorithm, q.last, k.number, k.key_id, k.key"
            " FROM wanted w CROSS JOIN one_time_queue q CROSS JOIN one_time_key k"
            " WHERE q.user_id = w.user_id AND q.device_id = w.device_id AND q.algorithm = w.algorithm"
            " AND k.user_id = w.user_id AND k.device_id = w.device_id AND k.algorithm = w.algorithm"
            f" AND k.number >= q.next AND k.number < q.next + w.count + {AHEAD}"
            " AND (k.number < q.next + w.count"
            " OR 2 * (k.number - q.next - w.count + 1) <= q.last - q.next - w.count + 1) ORDER BY k.number",
            [value for want in some for value in (*want, demand[want])],
        ):
            want = Wanted(user_id, device_id, algorithm)
            taken.setdefault(want, deque()).append(OneTimeKey(algorithm, key_id, key))
            moved[want] = (number + 1, last)
        _put_queues(tx, [(*want, *numbers) for want, numbers in moved.items()])
    return taken


def _put_queues(tx: Transaction, queues: Sequence[tuple[str, str, str, int, int]]) -> None:
    """(user, device, algorithm, number of the next key, number of the last)."""
    for queue in queues:
        tx.buffer(
            "one_time_queue",
            ("user_id", "device_id", "algorithm", "next", "last"),
            queue,
            "ON CONFLICT (user_id, device_id, algorithm)"
            " DO UPDATE SET next = excluded.next, last = excluded.last",
            key=queue[:3],
        )


def _use_fallback(tx: Transaction, wanted: Sequence[Wanted]) -> dict[Wanted, OneTimeKey]:
    used: dict[Wanted, OneTimeKey] = {}
    for some in _chunks(wanted):
        for user_id, device_id, algorithm, key_id, key in tx.all(
            # Without the SELECT, SQLite would scan the table and use no index.
            "UPDATE fallback_key SET used = 1 WHERE (user_id, device_id, algorithm)"
            f" IN (SELECT * FROM (VALUES {tx.values(3, len(some))}) AS wanted)"
            " RETURNING user_id, device_id, algorithm, key_id, key",
            [value for want in some for value in want],
        ):
            used[Wanted(user_id, device_id, algorithm)] = OneTimeKey(algorithm, key_id, key)
    return used


def _chunks(wanted: Sequence[Wanted]) -> Iterator[Sequence[Wanted]]:
    return (wanted[start : start + _CHUNK] for start in range(0, len(wanted), _CHUNK))
