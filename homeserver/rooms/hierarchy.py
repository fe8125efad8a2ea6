"""Walking a tree of spaces, and the summary of one room; other servers are asked about rooms of theirs.

https://spec.matrix.org/v1.19/client-server-api/#discovering-rooms-within-spaces
https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1hierarchyroomid

A page's token names the last room shown, and nothing is remembered for it: the next page walks the tree again
up to that room. So it goes on at the right place whatever came or went meanwhile, in any process and after
a restart. Each room is shown once, which also ends every loop.
"""

import base64
import binascii
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
from twisted.internet.defer import Deferred, gatherResults

from homeserver.clock import Clock
from homeserver.errors import Forbidden, InvalidParam, MissingToken, NotFound, RemoteError
from homeserver.rooms.memberships import Memberships
from homeserver.rooms.summary import SHOWN, Child, Summary, of_facts
from storage import room_summaries
from storage.database import Database

DEFAULT_LIMIT = 50
MOST_ROOMS_A_PAGE = 100
MOST_DEPTH = 30
MOST_ROOMS = 5_000
# Rooms looked at together, and the bounds of what one request makes other servers do.
_AHEAD = 20
_SERVERS_A_ROOM = 3
_MOST_ASKED = 60
_PATIENCE_MS = 20_000


@dataclass(frozen=True, slots=True)
class RemoteSpace:
    """A server's word on a room and its children, if it is a space; `inaccessible` are to be left alone."""

    room: Summary
    children: dict[str, Summary]
    inaccessible: frozenset[str]


class RemoteHierarchy(Protocol):
    async def ask(self, server: str, room_id: str) -> RemoteSpace:
        """Raises RemoteError. Answers, and that there was none, are remembered for a while."""
        ...


@dataclass(slots=True)
class _Known:
    """A room as a walk knows it. `resident`: this server's word, not another's."""

    summary: Summary
    resident: bool


class Hierarchy:
    def __init__(
        self,
        db: Database,
        clock: Clock,
        memberships: Memberships,
        server_name: str,
        remote: RemoteHierarchy | None = None,
    ) -> None:
        self._db = db
        self._clock = clock
        self._memberships = memberships
        self._server_name = server_name
        self._remote = remote

    async def page(
        self,
        user_id: str,
        room_id: str,
        *,
        suggested_only: bool = False,
        max_depth: int | None = None,
        limit: int | None = None,
        since: str | None = None,
    ) -> dict[str, Any]:
        """Rooms of the tree that the user may see. Raises Forbidden, InvalidParam."""
        if (limit is not None and limit <= 0) or (max_depth is not None and max_depth < 0):
            raise InvalidParam("limit is greater than zero, and max_depth is not negative.")
        limit = min(limit or DEFAULT_LIMIT, MOST_ROOMS_A_PAGE)
        depth = MOST_DEPTH if max_depth is None else min(max_depth, MOST_DEPTH)
        last, seen = _parse(since, room_id, suggested_only, depth) if since is not None else (None, 0)
        asker = await self._asker(user_id)
        walk = _Walk(self, asker, suggested_only, depth)
        passed: list[Summary] = []
        rooms: list[Summary] = []
        more = False
        found = last is None
        async for summary in walk.rooms(room_id):
            if not found:
                passed.append(summary)
                found = summary.room_id == last
            elif len(rooms) == limit:
                more = True
                break
            else:
                rooms.append(summary)
        if not walk.began:
            raise Forbidden("You are not allowed to view this room.")
        if not found:  # the room is gone: what was shown before it is about as many
            rest = passed[seen - 1 :]
            rooms, more = rest[:limit], len(rest) > limit
        answer: dict[str, Any] = {"rooms": [each.entry(suggested_only=suggested_only) for each in rooms]}
        if more:
            shown = rooms[-1].room_id
            answer["next_batch"] = _token(room_id, suggested_only, depth, shown, seen + len(rooms))
        return answer

    async def summary(self, user_id: str | None, room_id: str, via: Sequence[str] = ()) -> dict[str, Any]:
        """One room, with the user's membership. NotFound also where they may not see it."""
        asker = await self._asker(user_id) if user_id is not None else _NOBODY
        known = (await self.local([room_id])).get(room_id)
        if known is None or not known.resident:
            if user_id is None and self._remote is not None:
                raise MissingToken("Other servers are asked for users only.")
            told = await self._ask_any(room_id, via)
            if told is not None:
                known = _Known(told.room, False)
        if known is None or not asker.may_see(known):
            raise NotFound("Room not found.")
        if user_id is None:
            return known.summary.shown
        return {**known.summary.shown, "membership": asker.memberships.get(room_id, "leave")}

    async def for_server(self, origin: str, room_id: str, *, suggested_only: bool = False) -> dict[str, Any]:
        """A room and its children, for another server. NotFound where its users can be shown nothing."""
        summaries = await self._open_to(origin, [room_id])
        room = summaries.get(room_id)
        if room is None:
            raise NotFound("Room does not exist.")
        wanted = [
            child.room_id for child in room.children if child.suggested or not suggested_only
        ][:MOST_ROOMS_A_PAGE]
        children = await self._open_to(origin, wanted)
        shown = [each for child in wanted if (each := children.get(child)) is not None]
        return {
            "room": room.entry(suggested_only=suggested_only),
            "children": [each.entry() for each in shown],
            "inaccessible_children": [child for child, each in children.items() if each is None],
        }

    async def local(self, room_ids: Collection[str]) -> dict[str, _Known]:
        """The rooms that this server knows."""
        facts = await self._db.read(room_summaries.read, room_ids, SHOWN, [self._server_name])
        found = {}
        for room_id, each in facts.items():
            summary = of_facts(each)
            if summary is not None:
                resident = "join" in each.present.get(self._server_name, ())
                found[room_id] = _Known(summary, resident)
        return found

    async def _open_to(self, origin: str, room_ids: Sequence[str]) -> dict[str, Summary | None]:
        """The rooms this server is in; None for those that the other one can neither join nor read."""
        facts = await self._db.read(room_summaries.read, room_ids, SHOWN, [self._server_name, origin])
        summaries: dict[str, Summary | None] = {}
        restricted: set[str] = set()
        for room_id, each in facts.items():
            summary = of_facts(each)
            if summary is None or "join" not in each.present.get(self._server_name, ()):
                continue
            is_open = summary.is_open or bool(each.present.get(origin))
            summaries[room_id] = summary if is_open else None
            if not is_open and summary.allowed:
                restricted.add(room_id)
        found = {room_id: of_facts(facts[room_id]) for room_id in restricted}
        allowed = {each for summary in found.values() if summary is not None for each in summary.allowed}
        here = await self._db.read(room_summaries.present_in, allowed, origin) if allowed else set()
        for room_id, summary in found.items():
            if summary is not None and any(each in here for each in summary.allowed):
                summaries[room_id] = summary
        return summaries

    async def _ask_any(self, room_id: str, via: Iterable[str]) -> RemoteSpace | None:
        """The first answer of these servers."""
        if self._remote is None:
            return None
        for server in [each for each in via if each != self._server_name][:_SERVERS_A_ROOM]:
            try:
                return await self._remote.ask(server, room_id)
            except (RemoteError, Forbidden):
                continue
        return None

    async def _asker(self, user_id: str) -> "_Asker":
        rows = await self._memberships.of(user_id)
        memberships = {room_id: row.membership for room_id, row in rows.items()}
        return _Asker(
            memberships, {room_id for room_id, membership in memberships.items() if membership == "join"}
        )


@dataclass(frozen=True, slots=True)
class _Asker:
    memberships: dict[str, str]
    joined: set[str]

    def may_see(self, known: _Known) -> bool:
        return known.summary.shown_to(self.memberships.get(known.summary.room_id), self.joined)


_NOBODY = _Asker({}, set())


class _Walk:
    """One walk through a tree, depth first."""

    def __init__(self, hierarchy: Hierarchy, asker: _Asker, suggested_only: bool, depth: int) -> None:
        self.began = False
        self._hierarchy = hierarchy
        self._asker = asker
        self._suggested_only = suggested_only
        self._depth = depth
        self._known: dict[str, _Known | None] = {}
        self._told: dict[str, Summary] = {}
        self._inaccessible: set[str] = set()
        self._asked = 0
        self._until = hierarchy._clock.now_ms() + _PATIENCE_MS

    async def rooms(self, root: str) -> AsyncIterator[Summary]:
        # The next room is the last of the stack: (room, servers that may know it, depth).
        stack: list[tuple[str, tuple[str, ...], int]] = [(root, (), 0)]
        seen: set[str] = set()
        while stack and len(seen) < MOST_ROOMS:
            room_id, via, depth = stack.pop()
            if room_id in seen:
                continue
            seen.add(room_id)
            if room_id not in self._known:
                ahead = [(room_id, via), *((each[0], each[1]) for each in reversed(stack[-_AHEAD:]))]
                await self._look_at([each for each in ahead if each[0] not in self._known])
            known = self._known.get(room_id)
            if known is None or not self._asker.may_see(known):
                continue
            self.began = True
            yield known.summary
            if depth < self._depth and known.summary.is_space:
                stack.extend(
                    (child.room_id, child.via, depth + 1)
                    for child in reversed(known.summary.children)
                    if self._wanted(child) and child.room_id not in seen
                )

    def _wanted(self, child: Child) -> bool:
        return child.suggested or not self._suggested_only

    async def _look_at(self, rooms: Sequence[tuple[str, tuple[str, ...]]]) -> None:
        local = await self._hierarchy.local([room_id for room_id, _ in rooms])
        elsewhere = []
        for room_id, via in rooms:
            known = local.get(room_id)
            self._known[room_id] = known
            if known is not None and known.resident:
                continue
            told = self._told.get(room_id)
            if told is not None:
                self._known[room_id] = _Known(told, False)
            # Of a space only its own entry tells what its children are.
            if via and (told is None or told.is_space) and room_id not in self._inaccessible:
                elsewhere.append((room_id, via))
        asked = [Deferred.fromCoroutine(self._ask(room_id, via)) for room_id, via in elsewhere]
        await gatherResults(asked, consumeErrors=True)

    async def _ask(self, room_id: str, via: tuple[str, ...]) -> None:
        if self._asked >= _MOST_ASKED or self._hierarchy._clock.now_ms() > self._until:
            return
        self._asked += 1
        told = await self._hierarchy._ask_any(room_id, via)
        if told is not None:
            self._known[room_id] = _Known(told.room, False)
            self._told.update(told.children)
            self._inaccessible |= told.inaccessible


def _token(room_id: str, suggested_only: bool, depth: int, last: str, seen: int) -> str:
    packed = orjson.dumps([room_id, suggested_only, depth, last, seen])
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def _parse(token: str, room_id: str, suggested_only: bool, depth: int) -> tuple[str, int]:
    """(the last room shown, how many were)."""
    try:
        room, suggested, deep, last, seen = orjson.loads(
            base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        )
    except (ValueError, TypeError, binascii.Error):
        raise InvalidParam("The token is not one of this server's.") from None
    if not isinstance(last, str) or type(seen) is not int or seen < 1 or room != room_id:
        raise InvalidParam("The token is not one of this server's.")
    if suggested is not suggested_only or deep != depth:
        raise InvalidParam("suggested_only and max_depth cannot change on paginated requests.")
    return last, seen
