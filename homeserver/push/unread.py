"""Unread counts: read from the database once, then carried on in memory event by event.

https://spec.matrix.org/v1.19/client-server-api/#receiving-notifications

The subtle idea: an event costs the same however many users have counts of its room in memory. It goes into
a short log of the room, and a user's counts catch up with the log when they are asked for, which only
happens for users who are just being served. Counts that the log cannot mend (a receipt in the middle, new
push rules, a membership, a redaction) are dropped and read again.
"""

from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from homeserver.protocol.push_rules import DEFAULT_BASES, Outcome, bases
from homeserver.push.rules import PushRules
from homeserver.rooms.head import Committed
from storage import unread as store
from storage.database import Change, Database
from storage.receipts import MAIN

_MEMBER = "m.room.member"
_LOGGED = 128
_MOST_ROOMS = 20_000


@dataclass(frozen=True, slots=True)
class UnreadCounts:
    """Of the whole room; `threads` are those with anything unread, by root, and are part of the whole.

    `main_*` is what is left for the main timeline: what clients get that ask for threads apart.
    """

    notification_count: int = 0
    highlight_count: int = 0
    main_notification_count: int = 0
    main_highlight_count: int = 0
    threads: Mapping[str, Outcome] = field(default_factory=dict)


NOTHING_UNREAD = UnreadCounts()


class _Entry(NamedTuple):
    """An event in a room's log. `own` are the outcomes of users for whom it is not the base."""

    position: int
    event_id: str
    base: int
    thread: str | None
    sender: str
    reads: bool
    redacts: bool
    own: Mapping[str, Outcome]


@dataclass(slots=True)
class _Thread:
    notify: int
    highlight: int
    first: int
    last: int


class _Counts:
    """One user's counts in one room, as of the position `upto`."""

    __slots__ = ("bases", "ignored", "rules", "shown", "threads", "upto")

    def __init__(
        self, rules: object, table: Sequence[Outcome], ignored: Collection[str], upto: int
    ) -> None:
        self.rules = rules
        self.bases = table
        self.ignored = ignored
        self.upto = upto
        self.threads: dict[str | None, _Thread] = {}
        self.shown: UnreadCounts | None = None

    def add(self, thread: str | None, notify: int, highlight: int, first: int, last: int) -> None:
        if not (notify or highlight):
            return
        known = self.threads.get(thread)
        if known is None:
            self.threads[thread] = _Thread(notify, highlight, first, last)
        else:
            known.notify += notify
            known.highlight += highlight
            known.first = min(known.first, first)
            known.last = max(known.last, last)

    def start(self, unread: store.Unread) -> None:
        """What the database says. A row of the user's own takes the place of its event's base."""
        for thread, base, events, first, last in unread.bases:
            notify, highlight = self.bases[base]
            self.add(thread, notify * events, highlight * events, first, last)
        for thread, position, notify, highlight, base in unread.rows:
            replaced, unlit = self.bases[base]
            self.add(thread, notify - replaced, highlight - unlit, position, position)

    def apply(self, user_id: str, entry: _Entry) -> bool:
        """Goes on by one event; False where the counts have to be read again."""
        self.upto = entry.position
        if entry.redacts and self.threads:
            return False
        if entry.sender == user_id:
            if entry.reads and self.threads.pop(entry.thread, None) is not None:
                self.shown = None
            return True
        outcome = entry.own.get(user_id) if entry.own else None
        notify, highlight = outcome if outcome is not None else self.bases[entry.base]
        if notify and entry.sender not in self.ignored:
            self.add(entry.thread, notify, highlight, entry.position, entry.position)
            self.shown = None
        return True

    def read(self, thread_id: str | None, position: int) -> bool:
        """Everything up to the position is read, in one thread or (None) in all; False: read again."""
        if thread_id is None:
            threads = list(self.threads)
        else:
            threads = [None if thread_id == MAIN else thread_id]
        for thread in threads:
            counts = self.threads.get(thread)
            if counts is None or position < counts.first:
                continue
            if position < counts.last:
                return False
            del self.threads[thread]
            self.shown = None
        return True

    def show(self) -> UnreadCounts:
        if self.shown is None:
            self.shown = _shown(self.threads)
        return self.shown


def _shown(threads: Mapping[str | None, _Thread]) -> UnreadCounts:
    counts = {thread: (each.notify, each.highlight) for thread, each in threads.items() if each.notify > 0}
    if not counts:
        return NOTHING_UNREAD
    notify = sum(each for each, _ in counts.values())
    highlight = sum(each for _, each in counts.values())
    main = counts.pop(None, (0, 0))
    apart = {thread: each for thread, each in counts.items() if thread is not None}
    return UnreadCounts(notify, highlight, *main, apart)


class _Room:
    """The last events of a room, all those after `since`, and the counts of its users."""

    __slots__ = ("last", "log", "since", "special", "users")

    def __init__(self, since: int) -> None:
        self.since = since
        self.last = since
        self.log: deque[_Entry] = deque()
        self.users: dict[str, _Counts] = {}
        # Users whose table may depend on the number of members.
        self.special: set[str] = set()

    def append(self, entry: _Entry) -> None:
        self.last = entry.position
        if not self.users:
            self.log.clear()
            self.since = entry.position
            return
        self.log.append(entry)
        if len(self.log) > _LOGGED:
            self.since = self.log.popleft().position

    def position_of(self, event_id: str) -> int | None:
        for entry in reversed(self.log):
            if entry.event_id == event_id:
                return entry.position
        return None


class Unread:
    """Follows the stream; build it before the sync, which asks for counts when it hears of an event.

    `ignored(user_id)`: whom the user ignores. At most `most` counts are kept; the rooms that were unused
    longest go first.
    """

    def __init__(
        self,
        db: Database,
        rules: PushRules,
        ignored: Callable[[str], Awaitable[Collection[str]]],
        most: int = 200_000,
    ) -> None:
        self._db = db
        self._rules = rules
        self._ignored = ignored
        self._most = most
        self._kept = 0
        self._rooms: OrderedDict[str, _Room] = OrderedDict()
        # (user, room or None for all) of what changed while a read was under way, one set for each read.
        self._meanwhile: list[set[tuple[str, str | None]]] = []
        db.follow(self._follow)

    def cached(self, user_id: str, room_id: str) -> UnreadCounts | None:
        """The counts as of the last commit if they are in memory. Safe to call for every room of a sync."""
        room = self._rooms.get(room_id)
        if room is None:
            return None
        counts = room.users.get(user_id)
        if counts is None:
            return None
        if (counts.upto < room.last and not self._catch_up(room, user_id, counts)) or (
            counts.rules is not self._rules.version(user_id)
        ):
            self._drop(room, user_id)
            return None
        return counts.shown or counts.show()

    async def counts(self, user_id: str, room_id: str) -> UnreadCounts:
        return self.cached(user_id, room_id) or (await self._load(user_id, [room_id]))[room_id]

    async def many(self, user_id: str, room_ids: Collection[str]) -> dict[str, UnreadCounts]:
        """The counts of many rooms; what is not in memory is read in one go."""
        result, missing = {}, []
        for room_id in room_ids:
            counts = self.cached(user_id, room_id)
            if counts is None:
                missing.append(room_id)
            else:
                result[room_id] = counts
        if missing:
            result.update(await self._load(user_id, missing))
        return result

    async def _load(self, user_id: str, room_ids: Sequence[str]) -> dict[str, UnreadCounts]:
        meanwhile: set[tuple[str, str | None]] = set()
        self._meanwhile.append(meanwhile)
        try:
            ignored = await self._ignored(user_id)
            version, ruleset, upto = self._rules.version(user_id), self._rules.of(user_id), self._db.position
            for room_id in room_ids:
                self._room(room_id)
            special = not ruleset.is_default
            found = await self._db.read(store.load, user_id, room_ids, upto, ignored, special)
        finally:
            self._meanwhile = [each for each in self._meanwhile if each is not meanwhile]
        result = {}
        for room_id in room_ids:
            unread = found.get(room_id, store.Unread())
            table = bases(ruleset, room_id, unread.members) if special else DEFAULT_BASES
            counts = _Counts(version, table, ignored, upto)
            counts.start(unread)
            if (user_id, None) not in meanwhile and (user_id, room_id) not in meanwhile:
                self._keep(user_id, room_id, counts, special)
            result[room_id] = self.cached(user_id, room_id) or counts.show()
        return result

    def _room(self, room_id: str) -> _Room:
        room = self._rooms.get(room_id)
        if room is None:
            room = self._rooms[room_id] = _Room(self._db.position)
        else:
            self._rooms.move_to_end(room_id)
        return room

    def _keep(self, user_id: str, room_id: str, counts: _Counts, special: bool) -> None:
        room = self._rooms.get(room_id)
        if room is None or counts.upto < room.since:
            return
        self._kept += user_id not in room.users
        room.users[user_id] = counts
        if special:
            room.special.add(user_id)
        while (self._kept > self._most or len(self._rooms) > _MOST_ROOMS) and len(self._rooms) > 1:
            _, oldest = self._rooms.popitem(last=False)
            self._kept -= len(oldest.users)

    def _drop(self, room: _Room, user_id: str) -> None:
        if room.users.pop(user_id, None) is not None:
            self._kept -= 1
        room.special.discard(user_id)

    def _catch_up(self, room: _Room, user_id: str, counts: _Counts) -> bool:
        if counts.upto < room.since:
            return False
        news = []
        for entry in reversed(room.log):
            if entry.position <= counts.upto:
                break
            news.append(entry)
        return all(counts.apply(user_id, entry) for entry in reversed(news))

    # What the stream brings

    def _follow(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.stream == "event" and isinstance(change.data, Committed):
                self._on_event(change.position, change.data)
            elif change.stream == "receipt":
                self._on_receipt(*change.data)
            elif change.stream == "push_rules" or (
                change.stream == "account_data" and change.data == (None, "m.ignored_user_list")
            ):
                self._on_user(change.users)

    def _on_event(self, position: int, committed: Committed) -> None:
        stored = committed.stored
        event = stored.event
        room = self._rooms.get(event.room_id)
        if event.type == _MEMBER and event.state_key is not None:
            self._on_membership(event.state_key, event.room_id, room)
        if room is not None:
            self._rooms.move_to_end(event.room_id)
            own = {each.user_id: (each.notify, each.highlight) for each in committed.push if not each.joins}
            entry = _Entry(
                position,
                event.event_id,
                stored.notify,
                stored.thread,
                event.sender,
                event.type != _MEMBER,
                event.type == "m.room.redaction",
                own,
            )
            room.append(entry)

    def _on_membership(self, user_id: str, room_id: str, room: _Room | None) -> None:
        for meanwhile in self._meanwhile:
            meanwhile.add((user_id, room_id))
        if room is not None:
            for each in [user_id, *room.special]:
                self._drop(room, each)

    def _on_receipt(
        self, room_id: str, user_id: str, receipt_type: str, thread_id: str | None, event_id: str
    ) -> None:
        for meanwhile in self._meanwhile:
            meanwhile.add((user_id, room_id))
        room = self._rooms.get(room_id)
        counts = room.users.get(user_id) if room is not None else None
        if room is None or counts is None:
            return
        position = room.position_of(event_id)
        if (
            position is None
            or (counts.upto < room.last and not self._catch_up(room, user_id, counts))
            or not counts.read(thread_id, position)
        ):
            self._drop(room, user_id)

    def _on_user(self, user_ids: Collection[str]) -> None:
        for meanwhile in self._meanwhile:
            meanwhile.update((user_id, None) for user_id in user_ids)
        for room in self._rooms.values():
            for user_id in user_ids:
                if user_id in room.users:
                    self._drop(room, user_id)
