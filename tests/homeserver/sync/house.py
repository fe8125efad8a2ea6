"""A house with /sync: what `homeserver.app.wiring` builds for it, around real rooms on a real database."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from homeserver.accounts.account_data import AccountData
from homeserver.devices.device_lists import DeviceLists
from homeserver.devices.spare_keys import SpareKeys
from homeserver.push.rules import PushRules
from homeserver.push.unread import Unread
from homeserver.rooms.aggregations import Aggregations
from homeserver.rooms.serialize import Serializer
from homeserver.sync.account_data_part import AccountDataPart
from homeserver.sync.ephemeral import Ephemeral
from homeserver.sync.event_format import EventFormat
from homeserver.sync.filters import Filter
from homeserver.sync.joined_room import JoinedRooms
from homeserver.sync.key_counts import KeyCounts
from homeserver.sync.lazy_members import LazyMembers
from homeserver.sync.left_room import LeftRooms
from homeserver.sync.notifier import Notifier
from homeserver.sync.people import People
from homeserver.sync.presence import Presence
from homeserver.sync.request import SyncRequest
from homeserver.sync.rooms_part import RoomsPart
from homeserver.sync.service import Sync
from homeserver.sync.tokens import StreamToken
from homeserver.sync.typing import Typing
from tests.homeserver.rooms.house import House
from tests.homeserver.sync.fakes import FakeClock
from tests.storage.conftest import SynchronousDatabase

Body = dict[str, Any]


class SyncHouse(House):
    def __init__(self, db: SynchronousDatabase) -> None:
        super().__init__(db)
        database = db.database
        self.clock = FakeClock()
        push_rules = PushRules(database)
        account_data = AccountData(database)
        unread = Unread(database, push_rules, self._ignored_users)
        key_counts = KeyCounts(database, SpareKeys())
        database.follow(key_counts.follow)
        ephemeral = Ephemeral(self.clock)
        self.typing = Typing(self.clock, ephemeral)
        self.presence = Presence(
            database, self.clock, ephemeral, joined_rooms=self.memberships.joined_rooms, enabled=True
        )
        self.notifier = Notifier(database, self.clock, self.memberships, ephemeral)
        database.follow(self.notifier.follow)
        event_format = EventFormat(
            Serializer(self.events, self.clock), Aggregations(database, self._ignored_users)
        )
        joined = JoinedRooms(database, self.rooms, event_format, self.typing, LazyMembers())
        left = LeftRooms(database, self.events, event_format)
        self.rooms_part = RoomsPart(
            database, self.notifier, self.rooms, joined, left, account_data, unread, self.typing
        )
        self.service = Sync(
            database,
            self.clock,
            self.notifier,
            self.rooms_part,
            AccountDataPart(database, push_rules),
            People(self.clock, self.notifier, self.rooms, DeviceLists(database), self.presence),
            key_counts,
        )

    def request(self, user_id: str, since: str | None = None, **options: Any) -> SyncRequest:
        token = StreamToken.parse(since) if since is not None else None
        return SyncRequest(user_id, "DEVICE", token, options.pop("filter", Filter()), **options)

    def sync(self, user_id: str, since: str | None = None, **options: Any) -> Body:
        body: Body = orjson.loads(self.run(self.service.sync(self.request(user_id, since, **options))))
        return body

    def after_window(self, news: Callable[[], Awaitable[object]]) -> None:
        """Does something once, just after the next sync has settled what it will tell of."""
        part: Any = self.rooms_part
        add = part.add

        async def then_add(*args: Any) -> Any:
            part.add = add
            await news()
            return await add(*args)

        part.add = then_add


def timeline(body: Body, room_id: str, section: str = "join") -> list[str]:
    """What the messages say, and the members' new memberships."""
    part = body.get("rooms", {}).get(section, {}).get(room_id)
    if part is None:
        return []
    contents = [event["content"] for event in part["timeline"]["events"]]
    return [content.get("body") or content.get("membership") or "?" for content in contents]
