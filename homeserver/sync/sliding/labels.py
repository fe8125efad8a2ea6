"""What a user's own account data says of their rooms: direct messages, tags, and whether invites are wanted.

https://spec.matrix.org/v1.19/client-server-api/#direct-messaging
https://spec.matrix.org/v1.19/client-server-api/#room-tagging

Clients wrote it, so anything may stand in it. It is read at once and dropped when any of it changes.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from storage import sliding_sync as store
from storage.database import Change, Database

DIRECT = "m.direct"
TAG = "m.tag"
INVITES = "m.invite_permission_config"
_TYPES = (DIRECT, TAG, INVITES, None)


@dataclass(frozen=True, slots=True)
class UserLabels:
    direct: frozenset[str] = frozenset()
    tags: Mapping[str, frozenset[str]] = field(default_factory=dict)
    blocks_invites: bool = False


class Labels:
    def __init__(self, db: Database, most: int = 20_000) -> None:
        self._db = db
        self._most = most
        self._known: OrderedDict[str, UserLabels] = OrderedDict()
        self._changes = 0

    async def of(self, user_id: str) -> UserLabels:
        known = self._known.get(user_id)
        if known is not None:
            return known
        changes = self._changes
        labels = _labels(await self._db.read(store.labels, user_id))
        if changes == self._changes:
            self._known[user_id] = labels
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        return labels

    def follow(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.stream == "account_data" and change.data[1] in _TYPES:
                self._changes += 1
                for user_id in change.users:
                    self._known.pop(user_id, None)


def _labels(rows: Sequence[tuple[str, str, bytes]]) -> UserLabels:
    direct: frozenset[str] = frozenset()
    tags: dict[str, frozenset[str]] = {}
    blocks_invites = False
    for room_id, type, json in rows:
        content: dict[str, Any] = orjson.loads(json) if json else {}
        if room_id:
            if type == TAG and isinstance(named := content.get("tags"), dict):
                tags[room_id] = frozenset(named)
        elif type == DIRECT:
            lists = [rooms for rooms in content.values() if isinstance(rooms, list)]
            direct = frozenset(each for rooms in lists for each in rooms if isinstance(each, str))
        elif type == INVITES:
            blocks_invites = content.get("default_action") == "block"
    return UserLabels(direct, tags, blocks_invites)
