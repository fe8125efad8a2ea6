"""`/sync`: what is new for a user since a token, or the wait until something is.

https://spec.matrix.org/v1.19/client-server-api/#syncing

An answer covers the window from `since` to a position taken once, at its beginning; whatever is committed
while it is put together comes with the next one. Which rooms and which streams have news at all is known
in memory (see `notifier`), so only what changed is read, and a delivery to many waiting clients reads
nothing: events, their JSON and the unread counts are in memory.
"""

from dataclasses import replace

from homeserver.clock import Clock
from homeserver.sync.account_data_part import AccountDataPart
from homeserver.sync.inbox import Inbox
from homeserver.sync.key_counts import KeyCounts
from homeserver.sync.notifier import Feed, Notifier
from homeserver.sync.people import People
from homeserver.sync.request import Answer, SyncRequest, Window
from homeserver.sync.rooms_part import RoomsPart
from homeserver.sync.tokens import StreamToken
from storage.database import Database


class Sync:
    def __init__(
        self,
        db: Database,
        clock: Clock,
        notifier: Notifier,
        rooms: RoomsPart,
        account_data: AccountDataPart,
        people: People,
        key_counts: KeyCounts,
    ) -> None:
        self._clock = clock
        self._notifier = notifier
        self._rooms = rooms
        self._account_data = account_data
        self._people = people
        self._key_counts = key_counts
        self.inbox = Inbox(db, clock, lambda user_id: notifier.user_news(user_id).get("to_device", 0))

    async def sync(self, request: SyncRequest) -> bytes:
        """The response body. Waits up to `timeout_ms` for news, unless it is a first or a full sync."""
        since = request.since
        now = self._notifier.now()
        if since is not None and since.position > now.position:
            # Of a database that was put back to an earlier time: whatever happens from now on is news.
            since, request = now, replace(request, since=now)
        feed = await self._notifier.feed(request.user_id)
        if since is not None:
            self.inbox.acknowledge(request.user_id, request.device_id, since.position)
        deadline = self._clock.now_ms() + request.timeout_ms
        seen = since
        while True:
            if seen is None or request.full_state or feed.has_news_since(seen):
                window = Window(since, self._notifier.now(), self._notifier.started_at)
                answer, reached = await self._answer(request, feed, window)
                if since is None or request.full_state or not answer.is_empty():
                    return await self._encode(request, answer, reached)
                seen = reached
                if feed.has_news_since(seen):
                    continue
            left_ms = deadline - self._clock.now_ms()
            if left_ms <= 0:
                return await self._encode(request, Answer(), self._quiet_token(feed, seen))
            await self._notifier.wait(feed, left_ms / 1000)

    async def snapshot(self, request: SyncRequest) -> tuple[Answer, StreamToken]:
        """All there is for a user, but for what is a single device's; and up to where."""
        feed = await self._notifier.feed(request.user_id)
        window = Window(None, self._notifier.now(), self._notifier.started_at)
        answer = Answer()
        news = self._notifier.user_news(request.user_id)
        room_data = await self._account_data.add(answer, request, window, news)
        met = await self._rooms.add(answer, request, window, news, room_data)
        await self._people.add(answer, request, feed, window, met)
        return answer, window.upto

    async def rooms(self, request: SyncRequest, window: Window) -> Answer:
        """The same of rooms only, and only what is new in the window."""
        answer = Answer()
        await self._rooms.add(answer, request, window, self._notifier.user_news(request.user_id), {})
        return answer

    def _quiet_token(self, feed: Feed, seen: StreamToken) -> StreamToken:
        """Where nothing is new since `seen`, the client may as well go on from now."""
        return seen if feed.has_news_since(seen) else self._notifier.now()

    async def _encode(self, request: SyncRequest, answer: Answer, reached: StreamToken) -> bytes:
        counts = self._key_counts.cached(request.user_id, request.device_id)
        if counts is None:
            counts = await self._key_counts.of(request.user_id, request.device_id)
        return answer.encode(reached, *counts)

    async def _answer(self, request: SyncRequest, feed: Feed, window: Window) -> tuple[Answer, StreamToken]:
        """What is new in the window, and the token it reaches."""
        answer = Answer()
        news = self._notifier.user_news(request.user_id)
        answer.to_device, upto = await self.inbox.waiting(
            request.user_id, request.device_id, window.after, window.upto.position
        )
        if upto < window.upto.position:
            window = replace(window, upto=StreamToken(upto, window.upto.ephemeral))
        answer.key_counts_changed = window.since is not None and news.get("one_time_keys", 0) > window.after
        room_data = await self._account_data.add(answer, request, window, news)
        met = await self._rooms.add(answer, request, window, news, room_data)
        await self._people.add(answer, request, feed, window, met)
        return answer, window.upto
