"""The dehydrated device of each user: which of the devices it is, and what it is made of."""

from collections.abc import Collection
from typing import NamedTuple

from storage.transaction import Transaction


class Dehydrated(NamedTuple):
    device_id: str
    data: bytes


def get(tx: Transaction, user_id: str) -> Dehydrated | None:
    row = tx.one("SELECT device_id, data FROM dehydrated_device WHERE user_id = ?", [user_id])
    return None if row is None else Dehydrated(*row)


def put(tx: Transaction, user_id: str, device_id: str, data: bytes) -> None:
    tx.insert(
        "dehydrated_device",
        ("user_id", "device_id", "data"),
        [(user_id, device_id, data)],
        "ON CONFLICT (user_id) DO UPDATE SET device_id = excluded.device_id, data = excluded.data",
    )


def forget_devices(tx: Transaction, user_id: str, device_ids: Collection[str]) -> None:
    """These devices are gone; if the dehydrated one is among them, there is none any more."""
    tx.execute(
        f"DELETE FROM dehydrated_device WHERE user_id = ? AND {tx.any('device_id')}",
        [user_id, tx.array(device_ids)],
    )
