"""Device lists of other servers' users, kept while they share a room with ours.

https://spec.matrix.org/v1.19/server-server-api/#device-management

Fetching a list and hearing of a change to it may cross. Hearing counts `stale` up, and what was fetched
lowers it to 0 only if it still is what it was before asking: an answer that may be older than the last
change never passes for a good list.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

from storage.transaction import Transaction

REMEMBERED_UPDATES = 30
MAX_DEVICES = 1000


@dataclass(slots=True)
class KeptList:
    """Device → keys, and usage → cross-signing key, as JSON."""

    devices: dict[str, bytes] = field(default_factory=dict)
    cross_signing: dict[str, bytes] = field(default_factory=dict)


class State(NamedTuple):
    seen: list[int]
    stale: int


def states(tx: Transaction, user_ids: Collection[str]) -> dict[str, State]:
    rows = tx.all(
        f"SELECT user_id, seen, stale FROM remote_device_list WHERE {tx.any('user_id')}",
        [tx.array(user_ids)],
    )
    return {user_id: State(orjson.loads(seen), stale) for user_id, seen, stale in rows}


def lists(tx: Transaction, user_ids: Collection[str]) -> dict[str, KeptList]:
    """What is kept of these users, good or not; an empty list for those of whom nothing is."""
    found = {user_id: KeptList() for user_id in user_ids}
    wanted = tx.array(found)
    for user_id, device_id, keys in tx.all(
        f"SELECT user_id, device_id, keys FROM remote_device WHERE {tx.any('user_id')}", [wanted]
    ):
        found[user_id].devices[device_id] = bytes(keys)
    for user_id, usage, keys in tx.all(
        f"SELECT user_id, usage, keys FROM remote_cross_signing_key WHERE {tx.any('user_id')}", [wanted]
    ):
        found[user_id].cross_signing[usage] = bytes(keys)
    return found


def keep(tx: Transaction, user_ids: Collection[str]) -> dict[str, State]:
    """From now on these lists are kept; they are stale until they have been fetched."""
    tx.insert(
        "remote_device_list",
        ("user_id", "seen", "stale"),
        [(user_id, b"[]", 1) for user_id in user_ids],
        "ON CONFLICT (user_id) DO NOTHING",
    )
    return states(tx, user_ids)


def mark_stale(tx: Transaction, user_ids: Collection[str]) -> None:
    tx.execute(
        f"UPDATE remote_device_list SET stale = stale + 1 WHERE {tx.any('user_id')}", [tx.array(user_ids)]
    )


def stale_users(tx: Transaction) -> list[str]:
    return [user_id for (user_id,) in tx.all("SELECT user_id FROM remote_device_list WHERE stale > 0")]


def replace(
    tx: Transaction, user_id: str, stale: int, seen: Sequence[int], new: KeptList
) -> tuple[set[str], bool] | None:
    """Puts a fetched list in place of what was kept, if `stale` is still what it was before asking.

    Returns the devices that changed, and whether cross-signing keys did.
    """
    updated = tx.execute(
        "UPDATE remote_device_list SET stale = 0, seen = ? WHERE user_id = ? AND stale = ?",
        [orjson.dumps(list(seen)), user_id, stale],
    )
    if not updated:
        return None
    old = lists(tx, [user_id])[user_id]
    devices, keys = _changed(old.devices, new.devices), _changed(old.cross_signing, new.cross_signing)
    for device_id in devices:
        put_device(tx, user_id, device_id, new.devices.get(device_id))
    if keys:
        tx.execute("DELETE FROM remote_cross_signing_key WHERE user_id = ?", [user_id])
        put_cross_signing_keys(tx, user_id, new.cross_signing)
    return devices, bool(keys)


def put_device(tx: Transaction, user_id: str, device_id: str, keys: bytes | None) -> None:
    """None for a device that has no keys, or is gone."""
    if keys is None:
        tx.execute("DELETE FROM remote_device WHERE user_id = ? AND device_id = ?", [user_id, device_id])
        return
    tx.insert(
        "remote_device",
        ("user_id", "device_id", "keys"),
        [(user_id, device_id, keys)],
        "ON CONFLICT (user_id, device_id) DO UPDATE SET keys = excluded.keys",
    )


def put_cross_signing_keys(tx: Transaction, user_id: str, keys: Mapping[str, bytes]) -> None:
    tx.insert(
        "remote_cross_signing_key",
        ("user_id", "usage", "keys"),
        [(user_id, usage, key) for usage, key in keys.items()],
        "ON CONFLICT (user_id, usage) DO UPDATE SET keys = excluded.keys",
    )


def add_seen(tx: Transaction, user_id: str, seen: Sequence[int]) -> None:
    """`seen` with the new update at its end; the oldest are dropped, so what follows them is a gap."""
    kept = orjson.dumps(list(seen[-REMEMBERED_UPDATES:]))
    tx.execute("UPDATE remote_device_list SET seen = ? WHERE user_id = ?", [kept, user_id])


def forget(tx: Transaction, user_ids: Collection[str]) -> None:
    for table in ("remote_device_list", "remote_device", "remote_cross_signing_key"):
        tx.execute(f"DELETE FROM {table} WHERE {tx.any('user_id')}", [tx.array(user_ids)])


def kept_in_room(tx: Transaction, room_id: str) -> list[str]:
    """Joined users of the room whose lists are kept."""
    rows = tx.all(
        "SELECT kept.user_id FROM membership JOIN remote_device_list kept"
        " ON kept.user_id = membership.user_id"
        " WHERE membership.room_id = ? AND membership.membership = 'join'",
        [room_id],
    )
    return [user_id for (user_id,) in rows]


def kept_that_moved(tx: Transaction, above: int) -> list[str]:
    """Users whose lists are kept, and of whom some membership is newer than a position."""
    rows = tx.all(
        "SELECT DISTINCT kept.user_id FROM remote_device_list kept"
        " JOIN membership ON membership.user_id = kept.user_id WHERE membership.position > ?",
        [above],
    )
    return [user_id for (user_id,) in rows]


def kept_without_room(tx: Transaction) -> list[str]:
    """Users whose lists are kept though they share no room with any account of this server."""
    rows = tx.all(
        "SELECT kept.user_id FROM remote_device_list kept WHERE NOT EXISTS ("
        " SELECT 1 FROM membership theirs WHERE theirs.user_id = kept.user_id"
        " AND theirs.membership = 'join' AND theirs.room_id IN ("
        " SELECT ours.room_id FROM account JOIN membership ours ON ours.user_id = account.user_id"
        " WHERE ours.membership = 'join'))"
    )
    return [user_id for (user_id,) in rows]


def _changed(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> set[str]:
    return {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
