"""How many one-time keys a device has left: in every sync response, so kept in memory.

https://spec.matrix.org/v1.19/client-server-api/#e2e-extensions-to-sync
"""

from collections import OrderedDict
from collections.abc import Sequence

from homeserver.devices.spare_keys import SpareKeys
from storage import device_keys
from storage.database import Change, Database, Transaction

Counts = tuple[dict[str, int], list[str]]
"""(keys by algorithm, algorithms with an unused fallback key)"""


class KeyCounts:
    def __init__(self, db: Database, spare: SpareKeys, devices: int = 50_000) -> None:
        self._db = db
        self._spare = spare
        self._most = devices
        self._known: OrderedDict[str, dict[str, Counts]] = OrderedDict()
        self._changed: dict[str, int] = {}

    def follow(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.stream == "one_time_keys":
                for user_id in change.users:
                    self._known.pop(user_id, None)
                    self._changed[user_id] = change.position

    def cached(self, user_id: str, device_id: str) -> Counts | None:
        devices = self._known.get(user_id)
        known = devices.get(device_id) if devices is not None else None
        return self._with_spare(user_id, device_id, known) if known is not None else None

    async def of(self, user_id: str, device_id: str) -> Counts:
        known = self.cached(user_id, device_id)
        if known is not None:
            return known
        before = self._changed.get(user_id)
        counts = await self._db.read(_read, user_id, device_id)
        if self._changed.get(user_id) == before:
            self._known.setdefault(user_id, {})[device_id] = counts
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        return self._with_spare(user_id, device_id, counts)

    def _with_spare(self, user_id: str, device_id: str, counts: Counts) -> Counts:
        return self._spare.count(user_id, device_id, counts[0]), counts[1]


def _read(tx: Transaction, user_id: str, device_id: str) -> Counts:
    return (
        device_keys.one_time_key_counts(tx, user_id, device_id),
        device_keys.unused_fallback_algorithms(tx, user_id, device_id),
    )
