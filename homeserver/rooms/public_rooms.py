"""The published room directory, listed from memory.

https://spec.matrix.org/v1.19/client-server-api/#published-room-directory

Each published room has one summary here, made once from the database and then kept up by following the
stream: a room's own state changes and its joins and leaves. So a listing is a walk over a sorted list,
whatever the size of the rooms. Pages are cut by the sort key, not by a number, and so neither repeat nor
skip a room when others come and go between two requests.
"""

import base64
import binascii
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol

import orjson
from twisted.internet.defer import Deferred, DeferredLock

from homeserver.errors import Forbidden, InvalidParam
from homeserver.rooms.head import Committed
from storage import directory as store
from storage import events as event_rows
from storage import state_at
from storage.database import Change, Database
from storage.directory import Published
from storage.transaction import Transaction

DEFAULT_LIMIT = 100
MOST_ROOMS = 500
_ROOMS_A_READ = 200

SHOWN: Mapping[str, str] = {
    "m.room.create": "type",
    "m.room.name": "name",
    "m.room.topic": "topic",
    "m.room.canonical_alias": "alias",
    "m.room.avatar": "url",
    "m.room.join_rules": "join_rule",
    "m.room.history_visibility": "history_visibility",
    "m.room.guest_access": "guest_access",
}
"""The state a summary shows: event type -> the one field of its content."""

SortKey = tuple[int, str]


_SEARCHED = ("m.room.name", "m.room.topic", "m.room.canonical_alias")


class Summary:
    """`shown` has the field that `SHOWN` names for each type, where it is a non-empty string.

    `key` is the place in the list, `text` what a search term is looked for in.
    """

    __slots__ = ("_chunk", "joined", "key", "room_id", "shown", "text")

    def __init__(self, room_id: str, joined: int, shown: Mapping[str, str]) -> None:
        self.room_id = room_id
        self.joined = joined
        self.shown = shown
        self.key: SortKey = (-joined, room_id)
        self.text = "\n".join(shown.get(type, "") for type in _SEARCHED).casefold()
        self._chunk: dict[str, Any] | None = None

    def chunk(self) -> dict[str, Any]:
        """Made once: not to be changed."""
        if self._chunk is None:
            self._chunk = self._make_chunk()
        return self._chunk

    def _make_chunk(self) -> dict[str, Any]:
        shown = self.shown
        entry = {
            "room_id": self.room_id,
            "num_joined_members": self.joined,
            "world_readable": shown.get("m.room.history_visibility") == "world_readable",
            "guest_can_join": shown.get("m.room.guest_access") == "can_join",
            "join_rule": shown.get("m.room.join_rules", "invite"),
            "name": shown.get("m.room.name"),
            "topic": shown.get("m.room.topic"),
            "canonical_alias": shown.get("m.room.canonical_alias"),
            "avatar_url": shown.get("m.room.avatar"),
            "room_type": shown.get("m.room.create"),
        }
        return {name: value for name, value in entry.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Search:
    """`network` None stands for all of them; a room type of None for rooms without a type.

    `term` is as it was typed: another server may have rules of its own for comparing.
    """

    term: str = ""
    room_types: frozenset[str | None] | None = None
    network: str | None = store.OWN

    @classmethod
    def of(
        cls,
        term: str | None,
        room_types: Collection[str | None] | None,
        instance_id: str | None,
        all_networks: bool,
    ) -> "Search":
        """As the request bodies of both APIs say it. Raises InvalidParam."""
        if all_networks and instance_id:
            raise InvalidParam("third_party_instance_id and include_all_networks exclude each other.")
        return cls(
            term=term or "",
            room_types=frozenset(room_types) if room_types is not None else None,
            network=None if all_networks else instance_id or store.OWN,
        )


EVERYTHING = Search()


class Listing:
    """The rooms of one network, the largest first.

    Their texts are one long string of bytes: looking through it costs a fraction of looking into each.
    """

    def __init__(self, rooms: Sequence[Summary]) -> None:
        self._rooms = rooms
        self._texts = b""
        self._starts: list[int] = []

    def matching(self, search: Search) -> Sequence[Summary]:
        rooms = self._having(search.term.casefold().encode()) if search.term else self._rooms
        if search.room_types is None:
            return rooms
        return [each for each in rooms if each.shown.get("m.room.create") in search.room_types]

    def _having(self, term: bytes) -> list[Summary]:
        if not self._starts:
            texts = [summary.text.encode() for summary in self._rooms]
            self._texts = b"\xff".join(texts)  # which no text has in it
            self._starts = [0, *accumulate(len(text) + 1 for text in texts)]
        found = []
        at = self._texts.find(term)
        while at >= 0:
            number = bisect_right(self._starts, at)
            found.append(self._rooms[number - 1])
            at = self._texts.find(term, self._starts[number])
        return found


class RemoteDirectories(Protocol):
    async def page(
        self, server: str, search: Search, limit: int | None, since: str | None
    ) -> dict[str, Any]:
        """A page of the rooms that another server lists. Forbidden, NotFound as it answers, or 502."""
        ...


class PublicRooms:
    def __init__(self, db: Database, remote: RemoteDirectories | None = None) -> None:
        self._db = db
        self._remote = remote
        self._lock = DeferredLock()
        self._summaries: dict[str, Summary] = {}
        # The networks each published room is listed in; None until somebody asks for the list.
        self._networks: dict[str, set[str]] | None = None
        self._published_changes = 0
        # Published rooms whose summary is to be read, or to be read again.
        self._stale: set[str] = set()
        # By network (None: all of them); made when asked for.
        self._listings: dict[str | None, Listing] = {}
        db.follow(self._follow)

    async def page(
        self, search: Search = EVERYTHING, *, limit: int | None = None, since: str | None = None
    ) -> dict[str, Any]:
        """A page of rooms, the largest first. Raises InvalidParam for a foreign token."""
        limit = DEFAULT_LIMIT if limit is None else max(0, min(limit, MOST_ROOMS))
        backwards, key = _parse(since) if since is not None else (False, None)
        if self._networks is None or self._stale or self._lock.locked:
            await self._lock.run(lambda: Deferred.fromCoroutine(self._load()))
        rooms = self._listing(search.network).matching(search)
        if backwards and key is not None:
            stop = bisect_left(rooms, key, key=_key)
            start = max(0, stop - limit)
        else:
            start = bisect_right(rooms, key, key=_key) if key is not None else 0
            stop = min(len(rooms), start + limit)
        chosen = rooms[start:stop]
        response: dict[str, Any] = {"chunk": [summary.chunk() for summary in chosen]}
        if chosen and stop < len(rooms):
            response["next_batch"] = _token("n", chosen[-1].key)
        if chosen and start > 0:
            response["prev_batch"] = _token("p", chosen[0].key)
        response["total_room_count_estimate"] = len(rooms)
        return response

    async def page_of(
        self, server: str, search: Search = EVERYTHING, *, limit: int | None = None, since: str | None = None
    ) -> dict[str, Any]:
        """The same of another server."""
        if self._remote is None:
            raise Forbidden("This server does not federate: it cannot list the rooms of another.")
        return await self._remote.page(server, search, limit, since)

    def _listing(self, network: str | None) -> Listing:
        listing = self._listings.get(network)
        if listing is None:
            networks = self._networks or {}
            rooms = [
                summary
                for summary in self._summaries.values()
                if summary.joined and (network is None or network in networks.get(summary.room_id, ()))
            ]
            listing = Listing(sorted(rooms, key=_key))
            if rooms:  # networks nobody knows are not remembered
                self._listings[network] = listing
        return listing

    # keeping up

    def _follow(self, changes: Sequence[Change]) -> None:
        for change in changes:
            news = change.data
            if isinstance(news, Published):
                self._published_changes += 1
                self._publish(news)
            elif isinstance(news, Committed) and news.stored.event.room_id in (self._networks or ()):
                self._event(news)

    def _publish(self, news: Published) -> None:
        if self._networks is None:
            return
        self._listings.clear()
        networks = self._networks.setdefault(news.room_id, set())
        if news.published:
            networks.add(news.network)
        else:
            networks.discard(news.network)
        if not networks:
            del self._networks[news.room_id]
            self._stale.discard(news.room_id)
            self._summaries.pop(news.room_id, None)
        elif news.room_id not in self._summaries:
            self._stale.add(news.room_id)

    def _event(self, committed: Committed) -> None:
        event, head = committed.stored.event, committed.head
        is_shown = event.state_key == "" and event.type in SHOWN
        redacts = event.redacts is not None and event.redacts in map(head.event_id, SHOWN)
        if not (is_shown or redacts or committed.membership is not None):
            return
        summary = self._summaries.get(event.room_id)
        if summary is None or redacts:
            self._stale.add(event.room_id)  # also while it is being read: that may be older than this
            return
        shown = dict(summary.shown)
        if is_shown:
            shown.pop(event.type, None)
            shown.update(_shown(event.type, event.content))
        self._put(Summary(event.room_id, head.joined, shown))

    def _put(self, summary: Summary) -> None:
        self._summaries[summary.room_id] = summary
        self._listings.clear()

    async def _load(self) -> None:
        if self._networks is None:
            self._networks = await self._read_networks()
            self._stale.update(self._networks)
        while self._stale:
            batch = list(self._stale)[:_ROOMS_A_READ]
            self._stale.difference_update(batch)
            for room_id in batch:
                self._summaries.pop(room_id, None)
            self._listings.clear()
            for summary in await self._db.read(read_summaries, batch):
                if summary.room_id in self._networks and summary.room_id not in self._stale:
                    self._put(summary)

    async def _read_networks(self) -> dict[str, set[str]]:
        while True:
            before = self._published_changes
            networks: dict[str, set[str]] = {}
            for room_id, network in await self._db.read(store.published):
                networks.setdefault(room_id, set()).add(network)
            if before == self._published_changes:
                return networks


def read_summaries(tx: Transaction, room_ids: Collection[str]) -> list[Summary]:
    """The summaries of those rooms that have a state, a few statements for all of them."""
    snapshots = store.current_snapshots(tx, room_ids)
    joined = store.joined_counts(tx, room_ids)
    rooms = [nid for nid, _ in snapshots.values()]
    candidates = state_at.numbers_in(tx, rooms, SHOWN)
    states = state_at.at(tx, {snapshot for _, snapshot in snapshots.values()}, candidates)
    numbers = [number for state in states.values() for number in state.values()]
    shown: dict[int, dict[str, str]] = {}
    for stored in event_rows.select(tx, f"WHERE {tx.any('e.nid')}", [tx.array(numbers)]):
        shown.setdefault(stored.room, {}).update(_shown(stored.event.type, stored.event.content))
    return [
        Summary(room_id, joined.get(room_id, 0), shown.get(nid, {}))
        for room_id, (nid, _) in snapshots.items()
    ]


def _shown(type: str, content: Mapping[str, Any]) -> dict[str, str]:
    value = content.get(SHOWN[type])
    return {type: value} if isinstance(value, str) and value else {}


def _key(summary: Summary) -> SortKey:
    return summary.key


def _token(direction: str, key: SortKey) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([direction, *key])).decode().rstrip("=")


def _parse(since: str) -> tuple[bool, SortKey]:
    """(towards the beginning?, the room to go on from)."""
    try:
        direction, joined, room_id = orjson.loads(base64.urlsafe_b64decode(since + "=" * (-len(since) % 4)))
    except (ValueError, TypeError, binascii.Error):
        raise InvalidParam("The token is not one of this server's.") from None
    if direction not in ("n", "p") or type(joined) is not int or not isinstance(room_id, str):
        raise InvalidParam("The token is not one of this server's.")
    return direction == "p", (joined, room_id)
