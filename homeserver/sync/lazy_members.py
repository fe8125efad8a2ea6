"""Which member events a device that loads members lazily has been sent.

https://spec.matrix.org/v1.19/client-server-api/#lazy-loading-room-members

Forgetting is harmless: a member is then sent again.
"""

from collections import OrderedDict
from collections.abc import Iterable

MEMBERS_REMEMBERED = 1_000


class LazyMembers:
    def __init__(self, devices: int = 5_000) -> None:
        self._most = devices
        self._sent: OrderedDict[tuple[str, str], OrderedDict[tuple[str, str], str]] = OrderedDict()

    def forget(self, user_id: str, device_id: str) -> None:
        """The device starts afresh."""
        self._sent.pop((user_id, device_id), None)

    def unsent(
        self, user_id: str, device_id: str, room_id: str, members: Iterable[tuple[str, str]]
    ) -> list[tuple[str, str]]:
        """Of (user, event ID) those this device was not sent; from now on it was."""
        device = (user_id, device_id)
        sent = self._sent.setdefault(device, OrderedDict())
        self._sent.move_to_end(device)
        if len(self._sent) > self._most:
            self._sent.popitem(last=False)
        new = []
        for member, event_id in members:
            if sent.get((room_id, member)) != event_id:
                sent[room_id, member] = event_id
                new.append((member, event_id))
        while len(sent) > MEMBERS_REMEMBERED:
            sent.popitem(last=False)
        return new
