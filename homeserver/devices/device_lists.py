"""Telling users whose devices or cross-signing keys changed.

https://spec.matrix.org/v1.19/client-server-api/#tracking-the-device-list-for-a-user

Changes are recorded by whoever makes them, in the same transaction (`storage.device_lists.record`); here
they are read for one user. Sharing a room is judged when reading.
"""

from collections.abc import Callable, Collection

from storage import device_lists
from storage.database import Database
from storage.transaction import Transaction

JoinedRooms = Callable[[Transaction, str], Collection[str]]
"""All rooms a user is joined to."""


class DeviceLists:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def changes(self, user_id: str, since: int, upto: int) -> tuple[list[str], list[str]]:
        """(changed, left): whose keys to ask for again, and whose to forget."""
        changed, left = await self._db.read(device_lists.changes, user_id, since, upto)
        return sorted(changed), sorted(left)
