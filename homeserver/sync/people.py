"""Other people in sync: whose device lists changed, and who is online.

https://spec.matrix.org/v1.19/client-server-api/#extensions-to-sync-1
"""

from collections.abc import Iterator, Sequence, Set

from homeserver.clock import Clock
from homeserver.devices.device_lists import DeviceLists
from homeserver.rooms.rooms import Rooms
from homeserver.sync.notifier import Feed, Notifier
from homeserver.sync.presence import OFFLINE, Presence
from homeserver.sync.request import Answer, SyncRequest, Window


class People:
    def __init__(
        self, clock: Clock, notifier: Notifier, rooms: Rooms, device_lists: DeviceLists, presence: Presence
    ) -> None:
        self._clock = clock
        self._notifier = notifier
        self._rooms = rooms
        self._device_lists = device_lists
        self._presence = presence

    async def add(
        self, answer: Answer, request: SyncRequest, feed: Feed, window: Window, met: Sequence[str]
    ) -> None:
        """`met`: rooms the reader has newly joined, whose members' presence is news.

        So is the presence of those who newly joined a room of the reader's.
        """
        answer.device_lists = await self.device_lists(request.user_id, feed, window)
        if self._presence.enabled and not request.filter.presence.is_empty:
            self._add_presence(answer, request, feed, window, met)

    async def device_lists(self, user_id: str, feed: Feed, window: Window) -> dict[str, list[str]]:
        """Whose devices changed, and who is out of sight; {} where there is nothing to tell."""
        if window.since is None or not self._may_have_changed(user_id, feed, window):
            return {}
        changed, left = await self._device_lists.changes(user_id, window.after, window.upto.position)
        return {"changed": changed, "left": left} if changed or left else {}

    def _may_have_changed(self, user_id: str, feed: Feed, window: Window) -> bool:
        if window.is_cold:
            return True
        own = self._notifier.user_news(user_id)
        if own.get("device_list", 0) > window.after or own.get("member", 0) > window.after:
            return True
        for room_id in feed.rooms:
            news = self._notifier.room_news(room_id)
            if news.get("device_list", 0) > window.after or news.get("member", 0) > window.after:
                return True
        return False

    def _add_presence(
        self, answer: Answer, request: SyncRequest, feed: Feed, window: Window, met: Sequence[str]
    ) -> None:
        known = _RoomMates(self._rooms, feed.rooms, request.user_id)
        states = {state.user_id: state for state in self._presence.changes(window.after_ephemeral, known)}
        if met:
            new = _RoomMates(self._rooms, set(met), request.user_id)
            states.update((state.user_id, state) for state in self._presence.changes(0, new))
        own = self._presence.get(request.user_id)
        if window.since is None and own is not None and own.state != OFFLINE:
            states[request.user_id] = own  # by this very request, before it is announced
        if newcomers := self._newcomers(answer, window):
            states.update((state.user_id, state) for state in self._presence.changes(0, newcomers))
        now = self._clock.now_ms()
        answer.presence = [
            state.event(now)
            for state in states.values()
            if request.filter.presence.matches("m.presence", state.user_id)
        ]

    def _newcomers(self, answer: Answer, window: Window) -> set[str]:
        """Who joined one of the rooms in the answer, as far as memory goes back; or changed their name."""
        if window.since is None:
            return set()
        newcomers = set()
        for room_id in answer.join:
            if self._notifier.room_news(room_id).get("member", 0) <= window.after:
                continue
            room = self._rooms.cached(room_id)
            for stored in (room.since(window.after, window.upto.position) or ()) if room is not None else ():
                if stored.event.membership == "join" and stored.event.state_key is not None:
                    newcomers.add(stored.event.state_key)
        return newcomers


class _RoomMates(Set[str]):
    """Everyone who shares one of the rooms with the reader, and the reader; asked, not listed.

    Whoever is online syncs, so their memberships are in memory, though their rooms may not be.
    """

    def __init__(self, rooms: Rooms, room_ids: Set[str], reader: str) -> None:
        self._rooms = rooms
        self._room_ids = room_ids
        self._reader = reader

    def __contains__(self, user_id: object) -> bool:
        if user_id == self._reader:
            return True
        rows = self._rooms.memberships.cached(user_id) if isinstance(user_id, str) else None
        if rows is not None:
            return any(
                row.membership == "join" and row.room_id in self._room_ids for row in rows.values()
            )
        for room_id in self._room_ids:
            room = self._rooms.cached(room_id)
            if room is not None and isinstance(user_id, str) and room.membership(user_id) == "join":
                return True
        return False

    def __iter__(self) -> Iterator[str]:
        raise TypeError("room mates are only ever asked for one by one")

    def __len__(self) -> int:
        raise TypeError("room mates are only ever asked for one by one")
