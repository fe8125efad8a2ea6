"""Account data in sync: global, of rooms, and the push rules that are shown as such.

https://spec.matrix.org/v1.19/client-server-api/#client-config
"""

from collections.abc import Mapping
from typing import Any

import orjson

from homeserver.push.rules import PushRules
from homeserver.sync.request import Answer, SyncRequest, Window
from storage import account_data as store
from storage.database import Database

PUSH_RULES = "m.push_rules"
RoomData = dict[str, list[dict[str, Any]]]


class AccountDataPart:
    def __init__(self, db: Database, push_rules: PushRules) -> None:
        self._db = db
        self._push_rules = push_rules

    async def add(
        self, answer: Answer, request: SyncRequest, window: Window, news: Mapping[str, int]
    ) -> RoomData:
        """Puts the global data into the answer; returns that of rooms, by room ID."""
        rooms: RoomData = {}
        wanted = request.filter.account_data
        wanted_in_rooms = request.filter.room.account_data
        after = 0 if request.full_state else window.after
        if (
            window.since is None
            or request.full_state
            or window.is_cold
            or news.get("push_rules", 0) > window.after
        ) and wanted.matches(PUSH_RULES):
            rules = self._push_rules.as_account_data(request.user_id)
            answer.account_data.append({"type": PUSH_RULES, "content": rules})
        if not request.full_state and not window.touches(news.get("account_data")):
            return rooms
        for room_id, type, content in await self._db.read(
            store.account_data_since, request.user_id, after, window.upto.position
        ):
            event: dict[str, Any] = {"type": type, "content": orjson.Fragment(content)}
            if room_id is None:
                if wanted.matches(type):
                    answer.account_data.append(event)
            elif wanted_in_rooms.matches(type, room_id=room_id):
                rooms.setdefault(room_id, []).append(event)
        return rooms
