"""Searching the rooms that one is or was in.

https://spec.matrix.org/v1.19/client-server-api/#server-side-search

A token for further results says where the page ended and, for one group's results, which group; the rest
of the request is sent again with it.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import orjson

from homeserver.errors import InvalidParam
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.history import History
from homeserver.rooms.memberships import Memberships
from homeserver.search.index import SearchIndex
from homeserver.search.page import Cursor, Eyes, Key, Page, Query, Scope, read_page
from homeserver.search.surroundings import AskedContext, Surroundings, surroundings
from homeserver.search.words import terms
from homeserver.sync.filter_rules import RoomEventFilter
from storage import search as store
from storage.database import Database
from storage.events import StoredEvent
from storage.transaction import Transaction

DEFAULT_LIMIT = 10
MOST_RESULTS = 100
MOST_CONTEXT = 50
MOST_LEFT_ROOMS = 200
ROOM_ID, SENDER = "room_id", "sender"


@dataclass(frozen=True, slots=True)
class Request:
    """`types`: those whose texts are searched; empty for all."""

    term: str
    types: frozenset[str]
    by_rank: bool
    wanted: RoomEventFilter
    context: AskedContext | None = None
    token: str | None = None


@dataclass(slots=True)
class Results:
    query: Query
    page: Page
    eyes: Eyes
    wants_profiles: bool = False
    around: dict[str, Surroundings] = field(default_factory=dict)

    def membership_of(self, stored: StoredEvent) -> str | None:
        return self.eyes.sight(stored.room).membership_of(stored)

    def sees_replaced(self, stored: StoredEvent) -> bool:
        return self.eyes.sight(stored.room).sees_replaced(stored)

    @property
    def next(self) -> str | None:
        return _token(self.page.next, "", "") if self.page.next is not None else None

    def next_of(self, key: str, value: str, room: int) -> str | None:
        """For further results of one group. `room`: the number, where the group is a room."""
        page = self.page
        more = room in page.more_of_rooms if key == ROOM_ID else value in page.more_of_senders
        if page.next is None or not (more or page.more_windows):
            return None
        return _token(page.next, key, value)


class Search:
    def __init__(
        self,
        db: Database,
        index: SearchIndex,
        memberships: Memberships,
        history: History,
        events: EventStore,
        ignored_users: Callable[[str], Awaitable[frozenset[str]]],
    ) -> None:
        self._db = db
        self._index = index
        self._memberships = memberships
        self._history = history
        self._events = events
        self._ignored_users = ignored_users

    async def find(self, user_id: str, request: Request) -> Results:
        """Raises InvalidParam for a token that is none."""
        if request.token is not None:
            cursor, key, value = _parse(request.token)
        else:
            cursor, key, value = Cursor(self._db.position), "", ""
        await self._index.take_in()
        limit = DEFAULT_LIMIT if request.wanted.limit is None else min(request.wanted.limit, MOST_RESULTS)
        sender = value if key == SENDER else None
        query = Query(terms(request.term), request.types, request.by_rank, request.wanted, limit, sender)
        rooms = await self._rooms(user_id, request.wanted)
        if key == ROOM_ID:
            rooms = {room_id: joined for room_id, joined in rooms.items() if room_id == value}
        ignored = await self._ignored_users(user_id)

        def read(tx: Transaction) -> Results:
            numbers = store.rooms_by_id(tx, list(rooms))
            searched = {number: rooms[room_id] for room_id, number in numbers.items()}
            eyes = Eyes(tx, Scope(user_id, ignored, searched))
            if request.wanted.is_empty or limit == 0:
                return Results(query, Page(), eyes)
            results = Results(query, read_page(tx, eyes, query, cursor), eyes)
            if request.context is not None:
                results.wants_profiles = request.context.profiles
                for found in results.page.found:
                    results.around[found.stored.event_id] = surroundings(
                        tx, eyes, request.context, found.stored
                    )
            return results

        return await self._db.read(read)

    async def state(self, user_id: str, room_id: str) -> list[StoredEvent]:
        """The room's state now, or as it was when the user left."""
        entries = await self._history.state(room_id, user_id)
        found = await self._events.many([entry.event_id for entry in entries.values()])
        return list(found.values())

    async def _rooms(self, user_id: str, wanted: RoomEventFilter) -> dict[str, bool]:
        """Room ID → is the user joined? Of the rooms that they left, those left last."""
        every = (await self._memberships.of(user_id)).values()
        rows = [row for row in every if wanted.matches_room(row.room_id) and not row.forgotten]
        joined = {row.room_id: True for row in rows if row.membership == "join"}
        left = sorted((row for row in rows if row.membership != "join"), key=lambda row: -row.position)
        return joined | {row.room_id: False for row in left[:MOST_LEFT_ROOMS]}


def _token(cursor: Cursor, key: str, value: str) -> str:
    after = list(cursor.after) if cursor.after is not None else None
    packed = orjson.dumps([cursor.upto, after, cursor.counted, key, value])
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def _parse(token: str) -> tuple[Cursor, str, str]:
    try:
        packed = orjson.loads(base64.urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4)))
        upto, after, counted, key, value = packed
        place = None
        if after is not None:
            rank, ts, position = after
            place = Key(float(rank), _integer(ts), _integer(position))
        cursor = Cursor(_integer(upto), place, min(_integer(counted), 2**31))
    except (ValueError, TypeError, binascii.Error):
        raise InvalidParam("This is no token of a search.") from None
    if key not in ("", ROOM_ID, SENDER) or not isinstance(value, str):
        raise InvalidParam("This is no token of a search.")
    return cursor, key, value


def _integer(value: object) -> int:
    if type(value) is not int or abs(value) > 2**62:
        raise ValueError(value)
    return value
