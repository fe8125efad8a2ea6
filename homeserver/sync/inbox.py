"""To-device messages in sync: handed out until a sync with their token arrives, then deleted.

https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging

At most `LIMIT` at once. Where more wait, the whole sync answers only up to the last one handed out, so its
token acknowledges just those; the rest comes with the next sync.
"""

from collections import OrderedDict

import orjson

from storage import to_device
from storage.database import Database

LIMIT = 100


class Inbox:
    def __init__(self, db: Database, devices: int = 50_000) -> None:
        self._db = db
        self._most = devices
        # Up to where a device's inbox is known to be empty, and up to where it was handed out.
        self._empty_upto: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._handed_out: dict[tuple[str, str], int] = {}

    async def acknowledge(self, user_id: str, device_id: str, position: int, started_at: int) -> None:
        """The device has everything up to this position."""
        device = (user_id, device_id)
        handed_out = self._handed_out.get(device)
        if handed_out is None and (device in self._empty_upto or position > started_at):
            return
        await self._db.write(to_device.delete_up_to, user_id, device_id, position)
        if self._handed_out.get(device, 0) > position:
            return  # an answer that went further got lost, or is still on its way
        self._handed_out.pop(device, None)
        if position >= started_at:  # else messages from before the start may wait beyond it
            self._is_empty(device, position)

    async def waiting(
        self, user_id: str, device_id: str, upto: int, last_news: int | None, limit: int = LIMIT
    ) -> tuple[list[orjson.Fragment], int]:
        """The messages, and the position they reach: `upto`, or less if more wait.

        `last_news` is the position of the user's last message since the start, None if there was none.
        """
        device = (user_id, device_id)
        empty_upto = self._empty_upto.get(device)
        if empty_upto is not None and (last_news or 0) <= empty_upto:
            return [], upto
        found = await self._db.read(to_device.messages, user_id, device_id, upto, limit + 1)
        if not found:
            self._is_empty(device, upto)
            return [], upto
        if len(found) > limit:
            upto = found[limit - 1][0]
            found = [each for each in found if each[0] <= upto]
        self._handed_out[device] = upto
        self._empty_upto.pop(device, None)
        return [orjson.Fragment(message) for _, message in found], upto

    def _is_empty(self, device: tuple[str, str], upto: int) -> None:
        self._empty_upto[device] = upto
        if len(self._empty_upto) > self._most:
            self._empty_upto.popitem(last=False)
