"""Sliding sync: of all that is new for a user, what a connection asks for and was not sent yet.

https://github.com/matrix-org/matrix-spec-proposals/pull/4186

An answer covers the window from the client's position to one taken once, like /sync's. Which rooms have
news, and which of them are asked for, is decided from numbers in memory; only rooms that are told are looked
into. A room with news that is not asked for falls behind: its position is written down (`connections`), and
when it is asked for it is told from there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import orjson

from homeserver.accounts.account_data import AccountData
from homeserver.clock import Clock
from homeserver.sync.notifier import Feed, Notifier
from homeserver.sync.request import Window
from homeserver.sync.sliding.connections import Connection, Connections, Sent, State
from homeserver.sync.sliding.extensions import Extended, ExtensionsPart, News
from homeserver.sync.sliding.labels import Labels
from homeserver.sync.sliding.request import SlidingRequest
from homeserver.sync.sliding.required_state import Required
from homeserver.sync.sliding.room_list import RoomList, Selection, Wanted
from homeserver.sync.sliding.rooms import Part, Parts, RoomParts, Visit
from homeserver.sync.stays import Past, pasts
from homeserver.sync.tokens import SlidingToken, StreamToken
from storage.database import Database


@dataclass(slots=True)
class _Answer:
    rooms: dict[str, Part]
    counts: Mapping[str, int]
    extended: Extended
    state: State

    @property
    def is_empty(self) -> bool:
        return not self.rooms and not self.extended.has_news


@dataclass(frozen=True, slots=True)
class _Settled:
    """There was nothing to tell up to here, whatever the lists' counts are."""

    version: int
    upto: StreamToken
    counts: Mapping[str, int]


class SlidingSync:
    def __init__(
        self,
        db: Database,
        clock: Clock,
        notifier: Notifier,
        account_data: AccountData,
        labels: Labels,
        connections: Connections,
        room_list: RoomList,
        rooms: RoomParts,
        extensions: ExtensionsPart,
    ) -> None:
        self._db = db
        self._clock = clock
        self._notifier = notifier
        self._account_data = account_data
        self._labels = labels
        self._connections = connections
        self._room_list = room_list
        self._rooms = rooms
        self._extensions = extensions

    async def sync(self, request: SlidingRequest) -> bytes:
        """The response body. With a `pos`, waits up to `timeout_ms` for news. Raises UnknownPos."""
        connection, state = await self._connections.open(request)
        feed = await self._notifier.feed(request.user_id)
        self._extensions.acknowledge(request)
        since, version = None, 0
        if request.pos is not None:
            since, version = request.pos.stream, request.pos.version
            if since.position > (now := self._notifier.now()).position:
                since = now  # of a database that was put back to an earlier time
            if since.position <= connection.answered:
                self._rooms.asks_again(request, connection.number, since.position)
            connection.answered = since.position
        deadline = self._clock.now_ms() + request.timeout_ms
        seen, settled = self._resume(connection, request, version, since)
        while True:
            if seen is None or feed.has_news_since(seen):
                window = Window(since, self._notifier.now(), self._notifier.started_at)
                answer = await self._answer(request, feed, window, connection, state)
                if since is None or not answer.is_empty:
                    return self._finish(request, connection, version, window, answer)
                seen, settled = window.upto, answer
                if feed.has_news_since(seen):
                    continue
            left_ms = deadline - self._clock.now_ms()
            if left_ms <= 0:
                return await self._quiet(request, connection, version, feed, seen, settled)
            await self._notifier.wait(feed, left_ms / 1000)

    @staticmethod
    def _resume(
        connection: Connection, request: SlidingRequest, version: int, since: StreamToken | None
    ) -> tuple[StreamToken | None, "_Answer | _Settled | None"]:
        """Up to where it is known that this very request finds nothing."""
        settled = connection.settled
        to_device = request.extensions.to_device
        if (
            isinstance(settled, _Settled)
            and settled.version == version
            and settled.upto == since
            and (to_device is None or to_device.since == since)
            and connection.asked is not None
            and connection.asked.asks_like(request)
        ):
            return since, settled
        return None, None

    def _finish(
        self, request: SlidingRequest, connection: Connection, version: int, window: Window, answer: _Answer
    ) -> bytes:
        version = self._connections.save(connection, version, answer.state)
        body: dict[str, Any] = {
            "pos": str(SlidingToken(window.upto, connection.number, version)),
            "lists": {name: {"count": count} for name, count in answer.counts.items()},
            "rooms": answer.rooms,
            "extensions": answer.extended.body,
        }
        return orjson.dumps(body)

    async def _quiet(
        self,
        request: SlidingRequest,
        connection: Connection,
        version: int,
        feed: Feed,
        seen: StreamToken,
        found: "_Answer | _Settled | None",
    ) -> bytes:
        """Where nothing is new since `seen`, the client may as well go on from now."""
        upto = seen if feed.has_news_since(seen) else self._notifier.now()
        counts: Mapping[str, int] = {}
        extensions: dict[str, Any] = {}
        if found is not None:
            counts = found.counts
            if isinstance(found, _Answer):
                version = self._connections.save(connection, version, found.state)
        if request.extensions.to_device is not None:
            extensions["to_device"] = {"next_batch": str(upto), "events": []}
        if request.extensions.e2ee:
            extensions["e2ee"] = await self._extensions.counts(request)
        connection.asked = replace(request, pos=None)
        connection.settled = _Settled(version, upto, counts)
        return orjson.dumps(
            {
                "pos": str(SlidingToken(upto, connection.number, version)),
                "lists": {name: {"count": count} for name, count in counts.items()},
                "rooms": {},
                "extensions": extensions,
            }
        )

    async def _answer(
        self, request: SlidingRequest, feed: Feed, window: Window, connection: Connection, state: State
    ) -> _Answer:
        ignored = await self._account_data.ignored_users(request.user_id)
        labels = await self._labels.of(request.user_id)
        selection = Selection([], {}, {})
        if request.lists or request.subscriptions or state.rooms:
            selection = await self._room_list.select(request, state, labels, ignored, window)
        news = await self._extensions.news(request, window, state, selection)
        since = await self._since(request, window, state, selection)
        visits = [
            visit
            for room_id, want in selection.wanted.items()
            if (visit := self._visit(request, window, state, want, since[room_id], news)) is not None
        ]
        parts = await self._rooms.of(request, window, connection.number, visits, ignored)
        starts = {room_id: start.of_extensions for room_id, start in since.items()}
        extended = await self._extensions.of(
            request, window, feed, state, selection.wanted, starts, news, parts.shown, ignored
        )
        after = self._state_after(request, window, state, selection, news, parts)
        return _Answer(parts.rooms, selection.counts, extended, after)

    async def _since(
        self, request: SlidingRequest, window: Window, state: State, selection: Selection
    ) -> "dict[str, _Start]":
        """From where on each wanted room is told."""
        starts: dict[str, _Start] = {}
        moved: dict[str, int] = {}
        for room_id, want in selection.wanted.items():
            sent = state.rooms.get(room_id)
            since = None if sent is None else sent.upto if sent.upto is not None else window.after
            starts[room_id] = _Start(since, since)
            row = want.entry.row
            if row.membership in ("leave", "ban") if since is None else row.position > since:
                moved[room_id] = since or 0
        for room_id, past in (
            await pasts(self._db, request.user_id, moved, window.upto.position)
        ).items():
            start = starts[room_id]
            start.past = past
            joined = selection.wanted[room_id].entry.row.membership == "join"
            if not (past.stayed_joined if joined else past.at_since == "join"):
                start.since = None
        return starts

    @staticmethod
    def _visit(
        request: SlidingRequest, window: Window, state: State, want: Wanted, start: "_Start", news: News
    ) -> Visit | None:
        """None where there is nothing to tell."""
        entry = want.entry
        room_id, row = entry.row.room_id, entry.row
        sent = state.rooms.get(room_id)
        known = state.required.get(sent.required) if sent is not None else None
        if sent is None or start.told is None:
            was_joined = start.past is not None and start.past.was_joined
            return Visit(want, None, sent, None, was_joined=was_joined)
        moved = row.position > start.told
        if row.membership != "join":
            if not moved and sent.is_dm == entry.is_dm:
                return None
            was_joined = start.past.was_joined if start.past is not None else True
            since = start.since if row.membership not in ("invite", "knock") else None
            return Visit(want, since, sent, known, was_joined=was_joined)
        expand = start.since is not None and want.limit > sent.limit
        own_receipt = request.form.counts and (
            sent.upto is not None
            or any(receipt.user_id == row.user_id for receipt in news.receipts.get(room_id, ()))
        )
        if (
            start.since is None
            or moved
            or entry.facts.position > start.told
            or expand
            or own_receipt
            or sent.is_dm != entry.is_dm
        ):
            return Visit(want, start.since, sent, known, expand)
        if known is not None and want.required != known:
            return Visit(want, start.since, sent, known, only_state=True)
        return None

    def _state_after(
        self,
        request: SlidingRequest,
        window: Window,
        state: State,
        selection: Selection,
        news: News,
        parts: Parts,
    ) -> State:
        """What the client will have once it has this answer."""
        changes: dict[str, Sent] = {}
        wishes: dict[str, Required] = {}
        for room_id, want in selection.wanted.items():
            required = want.required
            sent = state.rooms.get(room_id)
            name = _name(required, sent, state)
            wishes[name] = required
            limit = parts.limits.get(room_id, want.limit if sent is None else sent.limit)
            changes[room_id] = Sent(None, limit, name, want.entry.is_dm)
        if window.since is not None:
            for entry in selection.entries:
                room_id = entry.row.room_id
                sent = state.rooms.get(room_id)
                if sent is None or sent.upto is not None or room_id in selection.wanted:
                    continue
                if (
                    max(entry.activity, entry.row.position) > window.after
                    or news.touches(room_id)
                    or self._extensions.typing_changed(window, room_id)
                ):
                    changes[room_id] = sent._replace(upto=window.after)
        return state.with_rooms(changes, wishes, request.extensions.kept)


@dataclass(slots=True)
class _Start:
    """`told`: up to where the connection has the room; `since`: the same, None to tell it afresh."""

    told: int | None
    since: int | None
    past: Past | None = None

    @property
    def of_extensions(self) -> int | None:
        """Of a room that was left and joined again all is told: what the connection has of it is old."""
        if self.since is None and self.past is not None and self.past.had_joined:
            return 0
        return self.since


def _name(required: Required, sent: Sent | None, state: State) -> str:
    """The name of a wish, without working it out for each room again."""
    if sent is not None and state.required.get(sent.required) == required:
        return sent.required
    return _new_name(required)


@lru_cache(maxsize=1024)
def _new_name(required: Required) -> str:
    return required.name
