"""Which devices our users have: in memory, as every message to devices asks for it.

What is known may be a moment old: a message may still be stored for a device that was deleted just now. It
is deleted should a device of that name come back (see `storage.devices.ensure`).
"""

from collections import OrderedDict
from collections.abc import Collection, Sequence

from storage import to_device
from storage.database import Change, Database


class KnownDevices:
    def __init__(self, db: Database, users: int = 50_000) -> None:
        self._db = db
        self._most = users
        self._known: OrderedDict[str, list[str]] = OrderedDict()
        self._changes = 0
        db.follow(self._follow)

    async def of(self, user_ids: Collection[str]) -> dict[str, list[str]]:
        """The devices of each, keys or none."""
        found = {user_id: self._known[user_id] for user_id in user_ids if user_id in self._known}
        missing = [user_id for user_id in user_ids if user_id not in found]
        if missing:
            changes = self._changes
            read: dict[str, list[str]] = {user_id: [] for user_id in missing}
            for user_id, device_id in await self._db.read(to_device.known_devices, missing):
                read[user_id].append(device_id)
            if self._changes == changes:
                self._known.update(read)
                while len(self._known) > self._most:
                    self._known.popitem(last=False)
            found.update(read)
        return found

    def _follow(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.stream == "device":
                self._changes += 1
                self._known.pop(change.data, None)
