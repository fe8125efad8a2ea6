"""One-time keys that were taken from the database ahead of the claims they will answer.

https://spec.matrix.org/v1.19/client-server-api/#one-time-and-fallback-keys

In the database they count as claimed, so a crash can lose them but never gives one out twice; the device
then hears that it has fewer keys and uploads new ones. A stop loses them, too.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence

from storage.database import Change
from storage.device_keys import OneTimeKey, Wanted

MOST_DEVICES = 20_000
IN_USE = "signed_curve25519"

_Device = tuple[str, str]


class SpareKeys:
    def __init__(self, devices: int = MOST_DEVICES) -> None:
        self._most = devices
        self._kept: OrderedDict[_Device, dict[str, deque[OneTimeKey]]] = OrderedDict()
        self.forgotten = 0
        """How often devices were deleted: what was taken before may be of such a device."""

    def take(self, want: Wanted) -> OneTimeKey | None:
        """The oldest key, which is out of here for good."""
        device = (want.user_id, want.device_id)
        queues = self._kept.get(device)
        queue = queues.get(want.algorithm) if queues is not None else None
        if queues is None or queue is None:
            return None
        key = queue.popleft()
        if not queue:
            del queues[want.algorithm]
            if not queues:
                del self._kept[device]
        return key

    def put(self, want: Wanted, keys: Iterable[OneTimeKey]) -> None:
        queues = self._kept.setdefault((want.user_id, want.device_id), {})
        queues.setdefault(want.algorithm, deque()).extend(keys)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def count(self, user_id: str, device_id: str, stored: dict[str, int]) -> dict[str, int]:
        """How many keys there are, by algorithm, with the stored ones.

        An algorithm without keys need not be listed, but matrix-rust-sdk makes new keys only when it reads a
        count: of the algorithm in use there is always one.
        """
        counts = {IN_USE: 0, **stored}
        for algorithm, queue in self._kept.get((user_id, device_id), {}).items():
            counts[algorithm] = counts.get(algorithm, 0) + len(queue)
        return counts

    def follow(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.stream == "one_time_keys" and change.data is not None:
                self.forgotten += 1
                for device in change.data:
                    self._kept.pop(device, None)
