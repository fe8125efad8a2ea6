"""Which member events a device that loads members lazily has been sent.

https://spec.matrix.org/v1.19/client-server-api/#lazy-loading-room-members

Forgetting is harmless: a member is then sent again. That a device has an answer shows when it asks from a
later position; should it ask from the same one again, the answer got lost, and its members with it.
"""

from collections import OrderedDict
from collections.abc import Iterable

MEMBERS_REMEMBERED = 1_000

_Sent = OrderedDict[tuple[str, str], tuple[str, int]]


class LazyMembers:
    def __init__(self, devices: int = 5_000) -> None:
        self._most = devices
        # (user, device) → (room, member) → (event ID, from where the device asked)
        self._sent: OrderedDict[tuple[str, str], _Sent] = OrderedDict()

    def forget(self, user_id: str, device_id: str) -> None:
        """The device starts afresh."""
        self._sent.pop((user_id, device_id), None)

    def asks_again(self, user_id: str, device_id: str, since: int) -> None:
        """The answers to `since` and later got lost, and may not have been asked for in the same words."""
        sent = self._sent.get((user_id, device_id))
        if sent is not None:
            for key, (_, asked) in sent.items():
                if asked >= since:
                    sent[key] = ("", 0)

    def forget_room(self, user_id: str, device_id: str, room_id: str) -> None:
        """The device forgets the room's members itself."""
        sent = self._sent.get((user_id, device_id))
        if sent is not None:
            for key in [key for key in sent if key[0] == room_id]:
                del sent[key]

    def unsent(
        self, user_id: str, device_id: str, room_id: str, members: Iterable[tuple[str, str]], since: int
    ) -> list[tuple[str, str]]:
        """Of (user, event ID) those this device was not sent; in the answer to `since` it is."""
        device = (user_id, device_id)
        sent = self._sent.setdefault(device, _Sent())
        self._sent.move_to_end(device)
        if len(self._sent) > self._most:
            self._sent.popitem(last=False)
        new = []
        for member, event_id in members:
            known, asked = sent.get((room_id, member), ("", 0))
            if known != event_id or asked >= since:
                sent[room_id, member] = (event_id, since)
                new.append((member, event_id))
        while len(sent) > MEMBERS_REMEMBERED:
            sent.popitem(last=False)
        return new
