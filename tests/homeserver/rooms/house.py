"""The rooms of one server without HTTP around them: real rooms on a real database, run synchronously."""

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from homeserver.protocol.signing import SigningKey
from homeserver.rooms.create import CreateOptions
from homeserver.rooms.directory import Directory
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.head import Identity
from homeserver.rooms.history import Context, History
from homeserver.rooms.memberships import Memberships
from homeserver.rooms.pages import Page
from homeserver.rooms.public_rooms import PublicRooms
from homeserver.rooms.registry import Registry
from homeserver.rooms.rooms import Rooms
from tests.storage.conftest import SynchronousDatabase

ALICE, BOB, CAROL = "@alice:here", "@bob:here", "@carol:here"
T = TypeVar("T")


class StepClock:
    """A millisecond later each time it is asked."""

    def __init__(self) -> None:
        self._now = 1_700_000_000_000

    def now_ms(self) -> int:
        self._now += 1
        return self._now

    def call_later(self, seconds: float, call: Any, *args: Any) -> Any:
        return NEVER


class Never:
    """The timer of what never comes: nothing here has to wait for it."""

    def active(self) -> bool:
        return False

    def cancel(self) -> None:
        """It does not come anyway."""


NEVER = Never()


class House:
    def __init__(self, db: SynchronousDatabase) -> None:
        database = db.database
        clock: Any = StepClock()
        self.db = db
        self.ignored: dict[str, frozenset[str]] = {}
        self.events = EventStore(database, 1000)
        self.memberships = Memberships(database, "here")
        self.registry = Registry(
            database, clock, Identity("here", SigningKey.generate()), self.events, self.memberships,
            lambda event, head: (0, None, ()),
        )
        database.follow(self.memberships.follow)
        database.follow(self.registry.follow)
        self.directory = Directory(self.registry, "here")
        aliases: Any = self.directory
        self.rooms = Rooms(database, self.registry, self._profile, aliases, "12", self._blocks_invites)
        self.public_rooms = PublicRooms(database)
        self.history = History(self.registry, self._ignored_users)

    async def _blocks_invites(self, user_id: str, sender: str) -> bool:
        return False

    async def _profile(self, user_id: str) -> dict[str, Any]:
        return {"displayname": user_id[1:].partition(":")[0]}

    async def _ignored_users(self, user_id: str) -> frozenset[str]:
        return self.ignored.get(user_id, frozenset())

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        result: T = SynchronousDatabase._wait(Deferred.fromCoroutine(coroutine))
        return result

    def room(self, *members: str, creator: str = ALICE, **options: Any) -> str:
        """A public room with these members besides its creator."""
        room_id = self.run(self.rooms.create(creator, CreateOptions(**{"preset": "public_chat", **options})))
        self.join(room_id, *members)
        return room_id

    def join(self, room_id: str, *members: str) -> None:
        for user_id in members:
            self.run(self.rooms.join(room_id, user_id))

    def leave(self, room_id: str, user_id: str) -> None:
        self.run(self.rooms.leave(room_id, user_id))

    def say(self, room_id: str, body: str, sender: str = ALICE, **content: Any) -> str:
        return self.run(self.rooms.send(room_id, sender, "m.room.message", {"body": body, **content}))

    def set_state(self, room_id: str, type: str, content: dict[str, Any], sender: str = ALICE) -> str:
        return self.run(self.rooms.set_state(room_id, sender, type, "", content))

    def set_visibility(self, room_id: str, visibility: str) -> str:
        return self.set_state(room_id, "m.room.history_visibility", {"history_visibility": visibility})

    def messages(self, room_id: str, user_id: str = ALICE, **options: Any) -> Page:
        given = {"backwards": True, "start": None, "stop": None, "limit": 100, **options}
        return self.run(self.history.messages(room_id, user_id, **given))

    def read(self, room_id: str, user_id: str, **options: Any) -> list[str]:
        """The messages somebody can read, oldest first."""
        return bodies(self.messages(room_id, user_id, backwards=False, **options))

    def context(self, room_id: str, user_id: str, event_id: str, limit: int = 10, **options: Any) -> Context:
        return self.run(self.history.context(room_id, user_id, event_id, limit, **options))


def bodies(page: Page) -> list[str]:
    return [stored.event.content["body"] for stored in page.events if "body" in stored.event.content]
