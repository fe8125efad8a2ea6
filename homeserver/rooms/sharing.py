"""Whether a user of another server is in a room with one of ours.

Only then does their server tell us of them, and only then is what it tells anybody's business here.
"""

from homeserver.rooms.memberships import Memberships
from homeserver.rooms.registry import Registry


class Sharing:
    def __init__(self, registry: Registry, memberships: Memberships) -> None:
        self._registry = registry
        self._memberships = memberships

    async def rooms_with(self, user_id: str, most: int) -> int:
        """How many rooms they share with us; counting ends at `most`.

        Rooms that all of ours have left still show who was in them then.
        """
        count = 0
        for room_id in await self._memberships.joined_rooms(user_id):
            if count == most:
                break
            await self._registry.get(room_id)  # local members are known of rooms in memory
            count += bool(self._memberships.local_members(room_id))
        return count

    async def with_us(self, user_id: str) -> bool:
        return await self.rooms_with(user_id, 1) > 0
