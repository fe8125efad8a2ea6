"""What users keep of a room follows them to its replacement: tags, push rules, and that it is a direct chat.

https://spec.matrix.org/v1.19/client-server-api/#room-upgrades

Anybody may create a room that claims to replace another. So the old room is asked: its tombstone must name
the new one. Whoever upgrades the room joins its replacement like everybody else.
"""

from collections.abc import Sequence
from typing import Any

import orjson
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from homeserver.accounts.account_data import encode
from homeserver.accounts.tags import TAG
from homeserver.errors import NotFound, TooLarge
from homeserver.push.rules import PushRules
from homeserver.rooms.head import Committed
from homeserver.rooms.registry import Registry
from homeserver.rooms.room import Room
from storage import account_data as store
from storage.database import Change
from storage.transaction import Transaction

log = Logger()

DIRECT = "m.direct"


class UpgradedRooms:
    def __init__(self, registry: Registry, push_rules: PushRules) -> None:
        self._registry = registry
        self._push_rules = push_rules
        registry.db.follow(self._follow)

    def _follow(self, changes: Sequence[Change]) -> None:
        for change in changes:
            row = change.data.membership if isinstance(change.data, Committed) else None
            if row is None or row.membership != "join" or row.previous == "join":
                continue
            room = self._registry.cached(row.room_id)
            replaced = _predecessor(room) if room is not None else None
            if replaced is not None and self._registry.memberships.is_local(row.user_id):
                following = Deferred.fromCoroutine(self._bring(row.user_id, replaced, row.room_id))
                following.addErrback(_report, row.user_id)

    async def _bring(self, user_id: str, replaced: str, replacement: str) -> None:
        try:
            old = await self._registry.get(replaced)
        except NotFound:
            return
        event_id = old.head.event_id("m.room.tombstone")
        tombstone = await self._registry.events.get(event_id) if event_id is not None else None
        if tombstone is None or tombstone.event.content.get("replacement_room") != replacement:
            return
        if old.membership(user_id) not in ("join", "leave"):
            return
        await self._registry.db.write(_copy, user_id, replaced, replacement)
        try:
            await self._push_rules.extend_to(user_id, replacement, replaced=replaced)
        except TooLarge:
            return  # they have as many rules as anybody may have


def _predecessor(room: Room) -> str | None:
    create = room.head.create
    named = create.content.get("predecessor") if create is not None else None
    room_id = named.get("room_id") if isinstance(named, dict) else None
    return room_id if isinstance(room_id, str) and room_id != room.room_id else None


def _copy(tx: Transaction, user_id: str, replaced: str, replacement: str) -> None:
    tags = store.get_account_data(tx, user_id, replaced, TAG)
    if tags and store.get_account_data(tx, user_id, replacement, TAG) is None:
        store.set_account_data(tx, user_id, replacement, TAG, tags)
    direct = _extended(store.get_account_data(tx, user_id, None, DIRECT), replaced, replacement)
    if direct is not None:
        store.set_account_data(tx, user_id, None, DIRECT, encode(direct))


def _extended(stored: bytes | None, replaced: str, replacement: str) -> dict[str, Any] | None:
    """m.direct with the replacement wherever the old room stands; None if that changes nothing."""
    direct = orjson.loads(stored) if stored else {}
    changed = False
    for user_id, rooms in direct.items():
        if isinstance(rooms, list) and replaced in rooms and replacement not in rooms:
            direct[user_id] = [*rooms, replacement]
            changed = True
    return direct if changed else None


def _report(failure: Failure, user_id: str) -> None:
    log.failure("{user_id} was not followed to the replacement of a room", failure, user_id=user_id)
