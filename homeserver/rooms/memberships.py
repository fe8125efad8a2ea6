"""Who is in which room, in memory: a user's rooms, and a room's local members.

Rows are loaded when first asked for and then follow the stream. A load that runs while a membership
changes is mended with what arrived meanwhile.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from homeserver.protocol.ids import server_of
from homeserver.rooms.head import Committed, OutOfBand, StateCompleted
from storage import memberships
from storage.database import Change, Database
from storage.memberships import Membership

Listener = Callable[[Membership], None]


class Memberships:
    """`of(user)` gives every membership of a user; `local_members(room)` those of a room in memory.

    `forget_left`: what was left counts as forgotten, whatever stands in the database.
    """

    def __init__(
        self, db: Database, server_name: str, users: int = 20_000, *, forget_left: bool = False
    ) -> None:
        self._forget_left = forget_left
        self._db = db
        self._server_name = server_name
        self._most_users = users
        self._users: OrderedDict[str, dict[str, Membership]] = OrderedDict()
        self._loads: dict[str, list[list[_Change]]] = {}
        self._rooms: dict[str, set[str]] = {}
        self._listeners: list[Listener] = []

    def on_change(self, listener: Listener) -> None:
        """Calls it with each membership that was committed."""
        self._listeners.append(listener)

    async def of(self, user_id: str) -> Mapping[str, Membership]:
        """All memberships of a user by room ID, forgotten ones too. Do not change it."""
        rows = self._users.get(user_id)
        if rows is not None:
            self._users.move_to_end(user_id)
            return rows
        meanwhile: list[_Change] = []
        self._loads.setdefault(user_id, []).append(meanwhile)
        try:
            rows = await self._db.read(memberships.of_user, user_id)
            if self._forget_left:
                for room_id in list(rows):
                    _mark_forgotten(room_id, rows)
        finally:
            # By identity: another load may have heard of just the same changes, or of none.
            others = [each for each in self._loads[user_id] if each is not meanwhile]
            if others:
                self._loads[user_id] = others
            else:
                del self._loads[user_id]
        for change in meanwhile:
            change(rows)
        self._users[user_id] = rows
        if len(self._users) > self._most_users:
            self._users.popitem(last=False)
        return rows

    def cached(self, user_id: str) -> Mapping[str, Membership] | None:
        return self._users.get(user_id)

    async def joined_rooms(self, user_id: str) -> list[str]:
        return [row.room_id for row in (await self.of(user_id)).values() if row.membership == "join"]

    def is_local(self, user_id: str) -> bool:
        return server_of(user_id) == self._server_name

    def room_loaded(self, room_id: str, joined: Iterable[str]) -> None:
        """From now on the local members of this room are kept."""
        self._rooms[room_id] = {user_id for user_id in joined if self.is_local(user_id)}

    def room_dropped(self, room_id: str) -> None:
        self._rooms.pop(room_id, None)

    def local_members(self, room_id: str) -> set[str]:
        """The joined local members of a room that is in memory."""
        return self._rooms.get(room_id, set())

    def follow(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.stream == "event":
                news = change.data
                rows: list[Membership] = []
                if isinstance(news, Committed | OutOfBand):
                    rows = [news.membership] if news.membership is not None else []
                    if isinstance(news, Committed):
                        rows += news.changed
                elif isinstance(news, StateCompleted):
                    rows = [*news.memberships]
                for number, row in enumerate(rows):
                    # Whoever listens hears of the room once at least.
                    if not number or self._concerns_us(row.user_id):
                        self._apply(replace(row, position=change.position))
            elif change.stream == "forget":
                self._forget(*change.data)

    def _concerns_us(self, user_id: str) -> bool:
        """Of a room that is joined fifty thousand come at once, of whom nobody here has asked."""
        return user_id in self._users or user_id in self._loads or self.is_local(user_id)

    def _apply(self, row: Membership) -> None:
        self._change(row.user_id, partial(_put, row))
        if self._forget_left:
            self._forget(row.user_id, row.room_id)
        members = self._rooms.get(row.room_id)
        if members is not None and self.is_local(row.user_id):
            if row.membership == "join":
                members.add(row.user_id)
            else:
                members.discard(row.user_id)
        for listener in self._listeners:
            listener(row)

    def _forget(self, user_id: str, room_id: str) -> None:
        self._change(user_id, partial(_mark_forgotten, room_id))

    def _change(self, user_id: str, change: "_Change") -> None:
        rows = self._users.get(user_id)
        if rows is not None:
            change(rows)
        for meanwhile in self._loads.get(user_id, ()):
            meanwhile.append(change)


_Change = Callable[[dict[str, Membership]], None]
"""What happens to a user's rows; harmless where they show it already."""


def _put(row: Membership, rows: dict[str, Membership]) -> None:
    known = rows.get(row.room_id)
    if known is None or known.position < row.position:
        rows[row.room_id] = row


def _mark_forgotten(room_id: str, rows: dict[str, Membership]) -> None:
    row = rows.get(room_id)
    if row is not None and row.membership in ("leave", "ban"):
        rows[room_id] = replace(row, forgotten=True)
