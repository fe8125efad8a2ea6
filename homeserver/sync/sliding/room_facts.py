"""What rooms are sorted and filtered by, without having them in memory.

A few numbers for each room, read for many rooms in two statements and then carried on from the stream. Of a
room that somebody is only invited to, the stripped state that came with the invite says what it is.
"""

from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import Any

import orjson

from homeserver.protocol import visibility
from homeserver.rooms.head import Committed
from storage import sliding_sync as store
from storage.database import Change, Database
from storage.memberships import Membership

CREATE = "m.room.create"
ENCRYPTION = "m.room.encryption"
VISIBILITY = "m.room.history_visibility"
BUMP_TYPES = frozenset(store.BUMP_TYPES)
_SHOWN_MOST = 10_000


class Facts:
    """`position` of the last event, `bump` of the last one that counts as activity.

    `open`: the history was never hidden from anybody who is a member now.
    """

    __slots__ = ("bump", "encrypted", "nid", "open", "position", "room_type")

    def __init__(
        self,
        nid: int,
        position: int,
        bump: int,
        room_type: str | None,
        encrypted: bool,
        is_open: bool = False,
    ) -> None:
        self.nid = nid
        self.position = position
        self.bump = bump
        self.room_type = room_type
        self.encrypted = encrypted
        self.open = is_open


class RoomFacts:
    def __init__(self, db: Database, most: int = 100_000) -> None:
        self._db = db
        self._most = most
        self._known: OrderedDict[str, Facts] = OrderedDict()
        # What was committed while a read was under way, for each read.
        self._meanwhile: list[list[tuple[int, Committed]]] = []
        self._shown: OrderedDict[str, Facts] = OrderedDict()

    def cached(self, room_id: str) -> Facts | None:
        return self._known.get(room_id)

    async def load(self, room_ids: Collection[str]) -> None:
        """Has these rooms at hand, as far as this server knows them."""
        missing = [room_id for room_id in room_ids if room_id not in self._known]
        if not missing:
            return
        meanwhile: list[tuple[int, Committed]] = []
        self._meanwhile.append(meanwhile)
        try:
            rows = await self._db.read(store.room_facts, missing)
        finally:
            self._meanwhile = [each for each in self._meanwhile if each is not meanwhile]
        for row in rows:
            room_type = _room_type(orjson.loads(row.create).get("content")) if row.create else None
            is_open = all(_is_open(orjson.loads(json).get("content")) for json in row.visibilities)
            self._known[row.room_id] = Facts(
                row.nid, row.position, row.bump, room_type, row.encrypted, is_open
            )
        for position, committed in meanwhile:
            self._apply(position, committed)
        while len(self._known) > self._most:
            self._known.popitem(last=False)

    def shown(self, row: Membership) -> Facts:
        """As the stripped state of an invite or a knock shows the room."""
        facts = self._shown.get(row.event_id)
        if facts is None:
            facts = self._shown[row.event_id] = _stripped_facts(row)
            if len(self._shown) > _SHOWN_MOST:
                self._shown.popitem(last=False)
        return facts

    def follow(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if isinstance(change.data, Committed):
                for meanwhile in self._meanwhile:
                    meanwhile.append((change.position, change.data))
                self._apply(change.position, change.data)

    def _apply(self, position: int, committed: Committed) -> None:
        event = committed.stored.event
        facts = self._known.get(event.room_id)
        if facts is None:
            return
        facts.position = max(facts.position, position)
        if event.type in BUMP_TYPES:
            facts.bump = max(facts.bump, position)
        if event.state_key == "":
            if event.type == CREATE:
                facts.room_type = _room_type(event.content)
            elif event.type == ENCRYPTION:
                facts.encrypted = True
            elif event.type == VISIBILITY:
                facts.open = facts.open and _is_open(event.content)


def _is_open(content: dict[str, Any] | None) -> bool:
    return visibility.sees_all_while_joined([visibility.history_visibility(content)])


def _room_type(content: object) -> str | None:
    room_type = content.get("type") if isinstance(content, dict) else None
    return room_type if isinstance(room_type, str) else None


def _stripped_facts(row: Membership) -> Facts:
    room_type, encrypted = None, False
    for event in orjson.loads(row.invite_state or b"[]"):
        if not isinstance(event, dict) or event.get("state_key") != "":
            continue
        if event.get("type") == CREATE:
            room_type = _room_type(event.get("content"))
        elif event.get("type") == ENCRYPTION:
            encrypted = True
    return Facts(0, row.position, row.position, room_type, encrypted)
