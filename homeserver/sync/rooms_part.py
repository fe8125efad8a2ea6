"""The rooms of a sync: which have something to tell, under which heading, and from when on.

https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync

Whoever was not joined all the time since `since` gets the room afresh (see `stays`).
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson

from homeserver.accounts.account_data import AccountData
from homeserver.push.unread import Unread
from homeserver.rooms.rooms import Rooms
from homeserver.sync.account_data_part import RoomData
from homeserver.sync.joined_room import JoinedRooms, Visit
from homeserver.sync.left_room import LeftRooms
from homeserver.sync.notifier import Notifier
from homeserver.sync.request import Answer, SyncRequest, Window
from homeserver.sync.stays import Past, pasts, rows_at
from homeserver.sync.typing import Typing
from storage import account_data as account_data_rows
from storage import receipts as receipt_rows
from storage import rooms as room_rows
from storage.database import Database
from storage.memberships import Membership
from storage.receipts import Receipt


class RoomsPart:
    def __init__(
        self,
        db: Database,
        notifier: Notifier,
        rooms: Rooms,
        joined: JoinedRooms,
        left: LeftRooms,
        account_data: AccountData,
        unread: Unread,
        typing: Typing,
    ) -> None:
        self._db = db
        self._notifier = notifier
        self._rooms = rooms
        self._joined = joined
        self._left = left
        self._account_data = account_data
        self._unread = unread
        self._typing = typing

    async def add(
        self,
        answer: Answer,
        request: SyncRequest,
        window: Window,
        news: Mapping[str, int],
        room_data: RoomData,
    ) -> list[str]:
        """Fills the answer's rooms; returns the rooms newly joined."""
        ignored = await self._account_data.ignored_users(request.user_id)
        rows = await self._rows(request, window)
        pasts = await self._pasts(request, window, rows)
        joined = [row for row in rows if row.membership == "join"]
        new = self._new(request, window, joined, pasts)
        receipts = await self._receipts(joined, window, news, new)
        if window.since is not None and new:
            room_data = {**room_data, **await self._account_data_of(request, new)}
        visits = await self._visits(request, window, joined, pasts, new, receipts, room_data)
        counts = await self._unread.many(request.user_id, [visit.room_id for visit in visits])
        if window.since is None:
            self._joined.starts_afresh(request)
        for visit in visits:
            visit.unread = counts[visit.room_id]
        answer.join = await self._joined.parts(request, window, visits, ignored)
        for row in rows:
            if row.membership == "invite" and row.position > window.after:
                if row.sender in ignored:
                    continue
                if await self._account_data.blocks_invites(request.user_id, row.sender):
                    continue
                answer.invite[row.room_id] = {"invite_state": {"events": _stripped(row)}}
            elif row.membership == "knock" and row.position > window.after:
                answer.knock[row.room_id] = {"knock_state": {"events": _stripped(row)}}
            elif row.membership in ("leave", "ban"):
                await self._add_left(answer, request, window, row, pasts, ignored, room_data)
        if window.since is None:
            return []
        return [visit.room_id for visit in visits if visit.is_new]

    async def _rows(self, request: SyncRequest, window: Window) -> list[Membership]:
        """Where the user stands in each room at the end of the window."""
        memberships = await self._rooms.memberships.of(request.user_id)
        rows = [row for row in memberships.values() if request.filter.room.matches(row.room_id)]
        return await rows_at(self._db, rows, window.upto.position)

    async def _pasts(
        self, request: SyncRequest, window: Window, rows: Sequence[Membership]
    ) -> dict[str, Past]:
        """For the rooms where the user's membership changed in the window."""
        if window.since is None:
            return {}
        changed = {
            row.room_id: window.after
            for row in rows
            if row.position > window.after and row.membership not in ("invite", "knock")
        }
        return await pasts(self._db, request.user_id, changed, window.upto.position)

    def _new(
        self, request: SyncRequest, window: Window, joined: Sequence[Membership], pasts: Mapping[str, Past]
    ) -> set[str]:
        """The joined rooms that are told from their beginning."""
        if window.since is None:
            return {row.room_id for row in joined}
        new = {row.room_id for row in joined if (p := pasts.get(row.room_id)) and not p.stayed_joined}
        if not request.lazy_members:
            new.update(row.room_id for row in joined if self._rooms.completed_at(row.room_id) > window.after)
        return new

    async def _account_data_of(self, request: SyncRequest, room_ids: Collection[str]) -> RoomData:
        """All there is, for it may be older than the stay."""
        wanted = request.filter.room.account_data
        found: RoomData = {}
        for room_id in room_ids:
            found[room_id] = [
                {"type": type, "content": orjson.Fragment(content)}
                for type, content in await self._db.read(
                    account_data_rows.room_account_data, request.user_id, room_id
                )
                if wanted.matches(type, room_id=room_id)
            ]
        return found

    async def _receipts(
        self, joined: Sequence[Membership], window: Window, news: Mapping[str, int], new: Collection[str]
    ) -> dict[str, list[Receipt]]:
        if window.touches(news.get("receipt")):  # a private one of the reader's own, in any room
            rooms = [row.room_id for row in joined]
        else:
            rooms = [
                row.room_id
                for row in joined
                if self._notifier.room_news(row.room_id).get("receipt", 0) > window.after
            ]
        found: dict[str, list[Receipt]] = {}
        follows_on = [room_id for room_id in rooms if room_id not in new]
        for some, since in ((follows_on, window.after), (list(new), 0)):
            if some:
                for receipt in await self._db.read(
                    receipt_rows.receipts_since, some, since, window.upto.position
                ):
                    found.setdefault(receipt.room_id, []).append(receipt)
        return found

    async def _visits(
        self,
        request: SyncRequest,
        window: Window,
        joined: Sequence[Membership],
        pasts: Mapping[str, Past],
        new: Collection[str],
        receipts: Mapping[str, list[Receipt]],
        room_data: RoomData,
    ) -> list[Visit]:
        """The joined rooms that may have something to tell."""
        everything = window.since is None or request.full_state
        last: Mapping[str, int] = {}
        if window.is_cold and not everything and joined:
            last = await self._db.read(room_rows.last_positions, [row.room_id for row in joined])
        visits = []
        for row in joined:
            room_id = row.room_id
            past, is_new = pasts.get(room_id), room_id in new
            # Without its members the room would look like another one: it is told when they are there.
            if not request.lazy_members and self._rooms.lacks_members(room_id):
                continue
            since = 0 if is_new else window.after
            if request.only_new and is_new:
                is_new, since = False, max(window.after, past.began - 1 if past is not None else 0)
            event_news = last.get(room_id) or self._notifier.room_news(room_id).get("event", 0)
            if (
                everything
                or since != window.after
                or event_news > window.after
                or room_id in receipts
                or room_id in room_data
                or self._typing.position(room_id) > window.after_ephemeral
            ):
                data = room_data.get(room_id, [])
                visits.append(Visit(room_id, is_new, since, receipts.get(room_id, []), data))
        return visits

    async def _add_left(
        self,
        answer: Answer,
        request: SyncRequest,
        window: Window,
        row: Membership,
        pasts: Mapping[str, Past],
        ignored: frozenset[str],
        room_data: RoomData,
    ) -> None:
        past = pasts.get(row.room_id)
        if window.since is None:
            if row.forgotten or not request.filter.room.include_leave:
                return
        elif past is None or not past.has_left:
            return
        follows_on = request.only_new or (
            past is not None and (past.at_since == "join" or "join" not in past.since_then)
        )
        since = window.after if follows_on else 0
        data = room_data.get(row.room_id, [])
        answer.leave[row.room_id] = await self._left.part(request, row, since, ignored, data)


def _stripped(row: Membership) -> Any:
    return orjson.Fragment(row.invite_state or b"[]")
