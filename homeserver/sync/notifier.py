"""Who has news since when, and waking those who wait for it.

Everything since the start is remembered in memory by position only: the last change of each kind in each
room and for each user. So "is there anything new for this user" is a comparison of numbers, and a waiting
sync costs nothing until something happens.

A `Feed` is a user who syncs: the rooms they are joined to, and the Deferreds of their waiting requests.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from twisted.internet.defer import Deferred

from homeserver.clock import Clock
from homeserver.rooms.memberships import Memberships
from homeserver.sync.ephemeral import Ephemeral
from homeserver.sync.tokens import StreamToken
from storage.database import Change, Database
from storage.memberships import Membership

IDLE_FEED_SECONDS = 600
WOKEN_AT_ONCE = 50
NOTHING: Mapping[str, int] = {}


class Feed:
    """`last` and `last_ephemeral` are the newest positions that concern this user."""

    __slots__ = ("last", "last_ephemeral", "rooms", "since", "used_ms", "user_id", "waiters")

    def __init__(self, user_id: str, since: int, used_ms: int) -> None:
        self.user_id = user_id
        self.since = since
        self.last = since
        self.last_ephemeral = 0
        self.used_ms = used_ms
        self.rooms: set[str] = set()
        self.waiters: set[Deferred[None]] = set()

    def has_news_since(self, token: StreamToken) -> bool:
        return (
            self.last > token.position or self.last_ephemeral > token.ephemeral or token.position < self.since
        )

    def wake(self) -> None:
        waiters, self.waiters = self.waiters, set()
        for waiter in waiters:
            if not waiter.called:
                waiter.callback(None)


class Notifier:
    def __init__(self, db: Database, clock: Clock, memberships: Memberships, ephemeral: Ephemeral) -> None:
        self._db = db
        self._clock = clock
        self._memberships = memberships
        self._ephemeral = ephemeral
        self.started_at = db.position
        self._feeds: dict[str, Feed] = {}
        self._by_room: dict[str, set[Feed]] = {}
        self._rooms: dict[str, dict[str, int]] = {}
        self._users: dict[str, dict[str, int]] = {}
        self._to_wake: dict[Feed, None] = {}
        memberships.on_change(self._membership_changed)
        ephemeral.on_change(self._ephemeral_changed)

    def now(self) -> StreamToken:
        return StreamToken(self._db.position, self._ephemeral.position)

    def room_news(self, room_id: str) -> Mapping[str, int]:
        """Stream → last position since the start, for what happened in a room."""
        return self._rooms.get(room_id, NOTHING)

    def user_news(self, user_id: str) -> Mapping[str, int]:
        """Stream → last position since the start, for what concerns the user alone."""
        return self._users.get(user_id, NOTHING)

    async def feed(self, user_id: str) -> Feed:
        """The user's feed, made if they have none; kept while they go on syncing."""
        feed = self._feeds.get(user_id)
        if feed is None:
            self._drop_idle()
            rows = await self._memberships.of(user_id)
            feed = self._feeds.get(user_id)
            if feed is None:
                feed = self._feeds[user_id] = Feed(user_id, self._db.position, 0)
                feed.last_ephemeral = self._ephemeral.position
                for row in rows.values():
                    if row.membership == "join":
                        self._enter(feed, row.room_id)
        feed.used_ms = self._clock.now_ms()
        return feed

    def peek(self, user_id: str, room_id: str) -> Feed:
        """A feed of a room that its reader is not joined to, until `end_peek`."""
        feed = Feed(user_id, self._db.position, self._clock.now_ms())
        feed.last_ephemeral = self._ephemeral.position
        self._enter(feed, room_id)
        return feed

    def end_peek(self, feed: Feed) -> None:
        for room_id in feed.rooms:
            self._exit(feed, room_id)

    async def wait(self, feed: Feed, seconds: float) -> None:
        """Returns when there is news for the feed, or after `seconds`."""
        waiter: Deferred[None] = Deferred()
        feed.waiters.add(waiter)
        timer = self._clock.call_later(seconds, self._give_up, feed, waiter)
        try:
            await waiter
        finally:
            feed.waiters.discard(waiter)
            if timer.active():
                timer.cancel()

    @staticmethod
    def _give_up(feed: Feed, waiter: "Deferred[None]") -> None:
        feed.waiters.discard(waiter)
        if not waiter.called:
            waiter.callback(None)

    def follow(self, changes: Sequence[Change]) -> None:
        woken: set[Feed] = set()
        for change in changes:
            position, stream = change.position, change.stream
            for user_id in change.users:
                self._users.setdefault(user_id, {})[stream] = position
                feed = self._feeds.get(user_id)
                if feed is not None:
                    feed.last = position
                    woken.add(feed)
            for room_id in change.rooms:
                self._rooms.setdefault(room_id, {})[stream] = position
                for feed in self._by_room.get(room_id, ()):
                    feed.last = position
                    woken.add(feed)
        self._wake_soon(woken)

    def _ephemeral_changed(self, rooms: Sequence[str], users: Sequence[str]) -> None:
        woken: set[Feed] = {feed for user_id in users if (feed := self._feeds.get(user_id)) is not None}
        for room_id in rooms:
            woken.update(self._by_room.get(room_id, ()))
        for feed in woken:
            feed.last_ephemeral = self._ephemeral.position
        self._wake_soon(woken)

    def _wake_soon(self, feeds: Iterable[Feed]) -> None:
        """Not at once: whoever caused the news gets their answer first, and a crowd is served in portions
        between which other requests have their turn."""
        idle = not self._to_wake
        self._to_wake.update(dict.fromkeys(feed for feed in feeds if feed.waiters))
        if idle and self._to_wake:
            self._clock.call_later(0, self._wake_some)

    def _wake_some(self) -> None:
        for feed in list(islice(self._to_wake, WOKEN_AT_ONCE)):
            del self._to_wake[feed]
            feed.wake()
        if self._to_wake:
            self._clock.call_later(0, self._wake_some)

    def _membership_changed(self, row: Membership) -> None:
        self._rooms.setdefault(row.room_id, {})["member"] = row.position
        self._users.setdefault(row.user_id, {})["member"] = row.position
        feed = self._feeds.get(row.user_id)
        if feed is None:
            return
        if row.membership == "join":
            self._enter(feed, row.room_id)
        elif row.room_id in feed.rooms:
            feed.rooms.discard(row.room_id)
            self._exit(feed, row.room_id)

    def _enter(self, feed: Feed, room_id: str) -> None:
        feed.rooms.add(room_id)
        self._by_room.setdefault(room_id, set()).add(feed)

    def _exit(self, feed: Feed, room_id: str) -> None:
        feeds = self._by_room[room_id]
        feeds.discard(feed)
        if not feeds:
            del self._by_room[room_id]

    def _drop_idle(self) -> None:
        """Drops some feeds that nobody has used for long; called as new ones are made."""
        before = self._clock.now_ms() - IDLE_FEED_SECONDS * 1000
        for user_id in _first(self._feeds, 20):
            feed = self._feeds[user_id]
            if feed.waiters or feed.used_ms > before:
                self._feeds[user_id] = self._feeds.pop(user_id)  # to the end of the queue
                continue
            del self._feeds[user_id]
            for room_id in feed.rooms:
                self._exit(feed, room_id)


def _first(keys: Iterable[str], count: int) -> list[str]:
    return [key for key, _ in zip(keys, range(count), strict=False)]
