"""To-device messages in sync: handed out until a sync with their token arrives, then deleted.

https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging

At most `LIMIT` at once. Where more wait, the whole sync answers only up to the last one handed out, so its
token acknowledges just those; the rest comes with the next sync.

A device that syncs has a box in memory with everything that waits for it, filled as messages are
committed, so most messages are never read back. Deleting is not waited for, and a moment late, so that one
statement deletes for many: the client's token says what it has, and is looked at first; a delete that a crash
took is repeated with the device's next sync.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence

import orjson
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from homeserver.clock import Clock, Timer
from storage import to_device
from storage.database import Change, Database

LIMIT = 100
DELETE_SECONDS = 0.2
MOST_IN_A_BOX = 4 * LIMIT
log = Logger()

_Device = tuple[str, str]
_Message = tuple[int, bytes]


class Inbox:
    """`last_news`: the position of a user's last message since the start, 0 if there was none."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        last_news: Callable[[str], int],
        devices: int = 50_000,
        most_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self._db = db
        self._clock = clock
        self._last_news = last_news
        self._most = devices
        self._most_bytes = most_bytes
        self._bytes = 0
        self._started_at = db.position
        self._boxes: OrderedDict[_Device, list[_Message]] = OrderedDict()
        self._acknowledged: dict[_Device, int] = {}
        self._deleting: Timer | None = None
        db.follow(self._follow)

    def acknowledge(self, user_id: str, device_id: str, position: int) -> None:
        """The device has everything up to this position."""
        device = (user_id, device_id)
        box = self._boxes.get(device)
        if box is not None:
            count = _upto(box, position)
            if count == 0:
                return
            self._bytes -= _size(box[:count])
            del box[:count]
        self._acknowledged[device] = max(position, self._acknowledged.get(device, 0))
        if self._deleting is None:
            self._deleting = self._clock.call_later(DELETE_SECONDS, self._delete)

    async def flush(self) -> None:
        """Deletes what was acknowledged; also called when the server stops."""
        acknowledged = dict(self._acknowledged)
        if acknowledged:
            await self._db.write(to_device.delete_up_to, acknowledged)
            for device, position in acknowledged.items():
                if self._acknowledged[device] == position:
                    del self._acknowledged[device]

    def _delete(self) -> None:
        self._deleting = None
        deleted = Deferred.fromCoroutine(self.flush())
        deleted.addErrback(lambda failure: log.failure("deleting acknowledged messages failed", failure))

    async def waiting(
        self, user_id: str, device_id: str, after: int, upto: int, limit: int = LIMIT
    ) -> tuple[list[orjson.Fragment], int]:
        """The messages after what the device has, and where they reach: `upto`, or less if more wait."""
        device = (user_id, device_id)
        box = self._boxes.get(device)
        if box is None:
            box = await self._read(device, after, limit)
        else:
            self._boxes.move_to_end(device)
        found = box[_upto(box, after) : _upto(box, upto)]
        if len(found) > limit:
            del found[limit:]
            upto = found[-1][0]
        return [orjson.Fragment(message) for _, message in found], upto

    async def _read(self, device: _Device, after: int, limit: int) -> list[_Message]:
        """Becomes the device's box, unless more waits, or something came while it was read."""
        position = self._db.position
        after = max(after, self._acknowledged.get(device, 0))
        box: list[_Message] = []
        if after < self._started_at or self._last_news(device[0]) > after:
            box = await self._db.read(to_device.messages_after, *device, after, limit + 1)
        if len(box) <= limit and self._last_news(device[0]) <= position and device not in self._boxes:
            self._boxes[device] = box
            self._bytes += _size(box)
            self._make_room()
        return box

    def _follow(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.stream == "to_device":
                self._put(change.position, change.data)
            elif change.stream == "to_device_forgotten":
                for device in change.data:
                    self._drop(device)
        self._make_room()

    def _put(self, position: int, messages: Sequence[tuple[str, str, bytes]]) -> None:
        for user_id, device_id, message in messages:
            box = self._boxes.get((user_id, device_id))
            # What was committed, but not told yet, when the box was read is in it already.
            if box is not None and (not box or box[-1][0] < position):
                box.append((position, message))
                self._bytes += len(message)
                if len(box) > MOST_IN_A_BOX:
                    self._drop((user_id, device_id))

    def _make_room(self) -> None:
        while len(self._boxes) > self._most or (self._bytes > self._most_bytes and self._boxes):
            self._drop(next(iter(self._boxes)))

    def _drop(self, device: _Device) -> None:
        self._bytes -= _size(self._boxes.pop(device, ()))


def _upto(box: Sequence[_Message], position: int) -> int:
    """How many of the messages came up to this position."""
    return bisect_right(box, position, key=lambda message: message[0])


def _size(messages: Sequence[_Message]) -> int:
    return sum(len(message) for _, message in messages)
