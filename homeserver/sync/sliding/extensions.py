"""The extensions of a sliding sync: what comes beside the rooms, or for them, if the client asks.

to_device https://github.com/matrix-org/matrix-spec-proposals/pull/3885
e2ee https://github.com/matrix-org/matrix-spec-proposals/pull/3884
account_data https://github.com/matrix-org/matrix-spec-proposals/pull/3959
receipts https://github.com/matrix-org/matrix-spec-proposals/pull/3960
typing https://github.com/matrix-org/matrix-spec-proposals/pull/3961
thread_subscriptions https://github.com/matrix-org/matrix-spec-proposals/pull/4308

Those that speak of rooms follow the rooms: where a room is told from some position on, so are its receipts,
its account data and who types. One that is asked for anew tells of its rooms from the beginning.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from homeserver.push.thread_subscriptions import ThreadSubscriptions, shown
from homeserver.sync.account_data_part import AccountDataPart, RoomData
from homeserver.sync.filters import EVERYTHING
from homeserver.sync.inbox import LIMIT, Inbox
from homeserver.sync.joined_room import receipt_content
from homeserver.sync.key_counts import KeyCounts
from homeserver.sync.notifier import Feed, Notifier
from homeserver.sync.people import People
from homeserver.sync.request import Answer, SyncRequest, Window
from homeserver.sync.sliding.connections import State
from homeserver.sync.sliding.request import THREAD_SUBSCRIPTIONS, Scope, SlidingRequest
from homeserver.sync.sliding.room_list import Selection, Wanted
from homeserver.sync.tokens import StreamToken
from homeserver.sync.typing import Typing
from storage import receipts as receipt_rows
from storage import sliding_sync as store
from storage.database import Database
from storage.receipts import Receipt

Since = Mapping[str, int | None]
"""From where on each room is told; None: from the beginning."""


@dataclass(slots=True)
class News:
    """What happened in the window beside the events, in rooms that the connection has.

    `has_all_data`: `room_data` is not only what changed, but everything.
    """

    account_data: list[dict[str, Any]] = field(default_factory=list)
    room_data: RoomData = field(default_factory=dict)
    has_all_data: bool = False
    receipts: dict[str, list[Receipt]] = field(default_factory=dict)

    def touches(self, room_id: str) -> bool:
        return room_id in self.room_data or room_id in self.receipts


@dataclass(slots=True)
class Extended:
    """`has_news`: there is something the client waits for."""

    body: dict[str, Any] = field(default_factory=dict)
    has_news: bool = False

    def add(self, name: str, content: dict[str, Any], *, news: bool = True) -> None:
        self.body[name] = content
        self.has_news = self.has_news or news


class ExtensionsPart:
    def __init__(
        self,
        db: Database,
        notifier: Notifier,
        inbox: Inbox,
        account_data: AccountDataPart,
        people: People,
        key_counts: KeyCounts,
        typing: Typing,
        thread_subscriptions: ThreadSubscriptions,
    ) -> None:
        self._db = db
        self._notifier = notifier
        self._inbox = inbox
        self._account_data = account_data
        self._people = people
        self._key_counts = key_counts
        self._typing = typing
        self._thread_subscriptions = thread_subscriptions

    def acknowledge(self, request: SlidingRequest) -> None:
        if position := self._acknowledged(request):
            self._inbox.acknowledge(request.user_id, request.device_id, position)

    def _acknowledged(self, request: SlidingRequest) -> int:
        """Up to where the device has its messages."""
        asked = request.extensions.to_device
        if asked is None or asked.since is None:
            return 0
        # A token of a database that was put back to an earlier time acknowledges nothing to come.
        return min(asked.since.position, self._notifier.now().position)

    async def news(
        self, request: SlidingRequest, window: Window, state: State, selection: Selection
    ) -> News:
        news = News()
        own = self._notifier.user_news(request.user_id)
        if request.extensions.account_data is not None:
            fresh = is_fresh(request, state, "account_data", request.extensions.account_data)
            answer = Answer()
            asked = SyncRequest(request.user_id, request.device_id, window.since, EVERYTHING)
            whole = Window(None, window.upto, window.memory_from) if fresh else window
            news.room_data = await self._account_data.add(answer, asked, whole, own)
            news.has_all_data = fresh
            news.account_data = answer.account_data
        if request.extensions.receipts is not None or request.form.counts:
            news.receipts = await self._receipts(window, state, selection, own)
        return news

    async def _receipts(
        self, window: Window, state: State, selection: Selection, own: Mapping[str, int]
    ) -> dict[str, list[Receipt]]:
        """Of the rooms that the connection has."""
        if window.since is None:
            return {}
        everywhere = window.touches(own.get("receipt"))  # a private one of the reader's own, in any room
        rooms = [
            entry.row.room_id
            for entry in selection.entries
            if entry.row.room_id in state.rooms
            and entry.row.membership == "join"
            and (
                everywhere or self._notifier.room_news(entry.row.room_id).get("receipt", 0) > window.after
            )
        ]
        return await self._receipts_since(rooms, window.after, window.upto.position)

    async def _receipts_since(
        self, rooms: Sequence[str], since: int, upto: int
    ) -> dict[str, list[Receipt]]:
        found: dict[str, list[Receipt]] = {}
        if rooms:
            for receipt in await self._db.read(receipt_rows.receipts_since, rooms, since, upto):
                found.setdefault(receipt.room_id, []).append(receipt)
        return found

    def typing_changed(self, window: Window, room_id: str) -> bool:
        return window.since is not None and self._typing.position(room_id) > window.after_ephemeral

    async def of(
        self,
        request: SlidingRequest,
        window: Window,
        feed: Feed,
        state: State,
        wanted: Mapping[str, Wanted],
        since: Since,
        news: News,
        shown: Mapping[str, list[str]],
        ignored: frozenset[str],
    ) -> Extended:
        """`shown`: the events in the timelines of this answer, by room."""
        asked = request.extensions
        extended = Extended()
        if asked.to_device is not None:
            await self._add_to_device(extended, request, window)
        if asked.e2ee:
            await self._add_e2ee(extended, request, window, feed)
        if asked.account_data is not None:
            rooms = _scoped(wanted, since, asked.account_data, request, state, "account_data")
            await self._add_account_data(extended, request, window, rooms, news)
        if asked.receipts is not None:
            rooms = _scoped(wanted, since, asked.receipts, request, state, "receipts")
            await self._add_receipts(extended, request, window, rooms, news, shown, ignored)
        if asked.typing is not None:
            rooms = _scoped(wanted, since, asked.typing, request, state, "typing")
            self._add_typing(extended, window, state, rooms, ignored)
        if asked.thread_subscriptions:
            await self._add_thread_subscriptions(extended, request, window, state)
        return extended

    async def counts(self, request: SlidingRequest) -> dict[str, Any]:
        """The part of `e2ee` that is in every answer."""
        counts = self._key_counts.cached(request.user_id, request.device_id)
        if counts is None:
            counts = await self._key_counts.of(request.user_id, request.device_id)
        return {"device_one_time_keys_count": counts[0], "device_unused_fallback_key_types": counts[1]}

    async def _add_to_device(self, extended: Extended, request: SlidingRequest, window: Window) -> None:
        asked = request.extensions.to_device
        limit = min(asked.limit, LIMIT) if asked is not None else LIMIT
        events, upto = await self._inbox.waiting(
            request.user_id, request.device_id, self._acknowledged(request), window.upto.position, limit
        )
        extended.add(
            "to_device", {"next_batch": str(StreamToken(upto)), "events": events}, news=bool(events)
        )

    async def _add_e2ee(
        self, extended: Extended, request: SlidingRequest, window: Window, feed: Feed
    ) -> None:
        lists = await self._people.device_lists(request.user_id, feed, window)
        own = self._notifier.user_news(request.user_id)
        changed = window.since is not None and own.get("one_time_keys", 0) > window.after
        content = await self.counts(request)
        if lists:
            content["device_lists"] = lists
        extended.add("e2ee", content, news=bool(lists) or changed)

    async def _add_account_data(
        self, extended: Extended, request: SlidingRequest, window: Window, rooms: Since, news: News
    ) -> None:
        found: dict[str, list[dict[str, Any]]] = {}
        behind = []
        if not news.has_all_data:
            behind = [room_id for room_id, since in rooms.items() if since != window.after]
        for room_id in rooms.keys() - behind:
            if room_id in news.room_data:
                found[room_id] = news.room_data[room_id]
        if behind:
            for room_id, type, content, position in await self._db.read(
                store.room_account_data, request.user_id, behind, window.upto.position
            ):
                since = rooms[room_id]
                if (since is None and content) or (since is not None and position > since):
                    event = {"type": type, "content": orjson.Fragment(content or b"{}")}
                    found.setdefault(room_id, []).append(event)
        body: dict[str, Any] = {}
        if news.account_data:
            body["global"] = news.account_data
        if found:
            body["rooms"] = found
        if body:
            extended.add("account_data", body)

    async def _add_receipts(
        self,
        extended: Extended,
        request: SlidingRequest,
        window: Window,
        rooms: Since,
        news: News,
        shown: Mapping[str, list[str]],
        ignored: frozenset[str],
    ) -> None:
        """Of rooms told afresh one's own, and those at the events that are shown."""
        upto = window.upto.position
        found = {
            room_id: list(news.receipts.get(room_id, ()))
            for room_id, since in rooms.items()
            if since == window.after
        }
        behind = {
            room_id: since for room_id, since in rooms.items() if since is not None and since < window.after
        }
        if behind:
            since = min(behind.values())
            for room_id, some in (await self._receipts_since(list(behind), since, upto)).items():
                found[room_id] = [receipt for receipt in some if receipt.position > behind[room_id]]
        afresh = [room_id for room_id, since in rooms.items() if since is None]
        showing = [room_id for room_id in rooms if shown.get(room_id)]
        if afresh or showing:
            events = [event_id for room_id in showing for event_id in shown[room_id]]
            whose = {room_id: since is None for room_id, since in rooms.items()}
            for row in await self._db.read(
                store.receipts_of, [*{*afresh, *showing}], request.user_id, events, upto
            ):
                receipt = Receipt(*row)
                if whose[receipt.room_id] or receipt.user_id != request.user_id:
                    found.setdefault(receipt.room_id, []).append(receipt)
        body: dict[str, Any] = {}
        for room_id, receipts in found.items():
            content = receipt_content(receipts, request.user_id, ignored)
            if content:
                body[room_id] = {"type": "m.receipt", "content": content}
        if body:
            extended.add("receipts", {"rooms": body})

    def _add_typing(
        self, extended: Extended, window: Window, state: State, rooms: Since, ignored: frozenset[str]
    ) -> None:
        body = {}
        for room_id, since in rooms.items():
            sent = state.rooms.get(room_id)
            # A room is behind from a position in the stream, in which typing has no place.
            behind = since != window.after or (sent is not None and sent.upto is not None)
            if not self._typing.position(room_id) or not (behind or self.typing_changed(window, room_id)):
                continue
            users = [user_id for user_id in self._typing.users(room_id) if user_id not in ignored]
            if users or since is not None:
                body[room_id] = {"type": "m.typing", "content": {"user_ids": users}}
        if body:
            extended.add("typing", {"rooms": body})

    async def _add_thread_subscriptions(
        self, extended: Extended, request: SlidingRequest, window: Window, state: State
    ) -> None:
        """The latest changes; `prev_batch` is where those that did not fit begin."""
        is_new = THREAD_SUBSCRIPTIONS not in state.extensions
        news = self._notifier.user_news(request.user_id).get("thread_subscription")
        if not is_new and not window.touches(news):
            return
        since, most = 0 if is_new else window.after, request.extensions.thread_subscriptions
        found, more = await self._thread_subscriptions.changes(
            request.user_id, since, window.upto.position, most
        )
        if found:
            body = shown(found)
            if more is not None:
                body["prev_batch"] = str(StreamToken(more))
            extended.add("io.element.msc4308.thread_subscriptions", body)


def is_fresh(request: SlidingRequest, state: State, name: str, scope: Scope) -> bool:
    """Whether the connection did not ask for it so far."""
    return f"{name} {scope.name}" not in state.extensions


def _scoped(
    wanted: Mapping[str, Wanted],
    since: Since,
    scope: Scope,
    request: SlidingRequest,
    state: State,
    name: str,
) -> dict[str, int | None]:
    """The joined rooms that an extension is asked for, and from where on."""
    fresh = is_fresh(request, state, name, scope)
    return {
        room_id: None if fresh else since[room_id]
        for room_id, want in wanted.items()
        if want.entry.row.membership == "join" and _covers(scope, room_id, want)
    }


def _covers(scope: Scope, room_id: str, want: Wanted) -> bool:
    if any(scope.lists is None or name in scope.lists for name in want.lists):
        return True
    return want.subscribed and (scope.rooms is None or room_id in scope.rooms)
