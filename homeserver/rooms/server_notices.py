"""What the server itself tells its users, each in one room that is theirs alone.

https://spec.matrix.org/v1.19/client-server-api/#server-notices

Which room that is stands nowhere but in the memberships: the one that the notices user made and both know.
Whoever left it is invited to it again. That the invite cannot be declined, blocked or ignored is seen to
where invites are (`membership`, `accounts.account_data`).
"""

from dataclasses import dataclass
from typing import Any

from homeserver.accounts.accounts import Accounts
from homeserver.accounts.profiles import AVATAR_URL, DISPLAYNAME, Profiles
from homeserver.accounts.tags import Tags
from homeserver.errors import InvalidParam
from homeserver.rooms.create import CreateOptions, StateToSet, topic_content
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.turns import Turns
from storage import memberships as store
from storage.database import Database

TAG = "m.server_notice"
MESSAGE = "m.room.message"


@dataclass(frozen=True, slots=True)
class Look:
    """What the room, and the user who speaks in it, look like."""

    display_name: str | None = None
    avatar_url: str | None = None
    room_name: str | None = None
    room_avatar_url: str | None = None
    room_topic: str | None = None

    @property
    def state(self) -> dict[str, dict[str, Any]]:
        state: dict[str, dict[str, Any]] = {}
        if self.room_name is not None:
            state["m.room.name"] = {"name": self.room_name}
        if self.room_avatar_url is not None:
            state["m.room.avatar"] = {"url": self.room_avatar_url}
        if self.room_topic is not None:
            state["m.room.topic"] = topic_content(self.room_topic)
        return state


class ServerNotices:
    """`user_id` says it; an account that nobody can log in to."""

    def __init__(
        self,
        db: Database,
        accounts: Accounts,
        profiles: Profiles,
        tags: Tags,
        rooms: Rooms,
        user_id: str,
        look: Look,
        *,
        auto_join: bool,
    ) -> None:
        self._db = db
        self._accounts = accounts
        self._profiles = profiles
        self._tags = tags
        self._rooms = rooms
        self._look = look
        self._auto_join = auto_join
        self._turns = Turns()
        self.user_id = user_id

    async def prepare(self) -> None:
        """Takes the name before anybody else does, and looks as configured."""
        if await self._accounts.get(self.user_id) is None:
            await self._accounts.register(self.user_id[1:].partition(":")[0], None)
        profile = await self._profiles.local(self.user_id)
        for key, value in ((DISPLAYNAME, self._look.display_name), (AVATAR_URL, self._look.avatar_url)):
            if value is not None and profile.get(key) != value:
                await self._profiles.set_field(self.user_id, key, value)

    async def send(
        self,
        user_id: str,
        content: dict[str, Any],
        *,
        type: str = MESSAGE,
        state_key: str | None = None,
        asked_by: str | None = None,
        txn_id: str | None = None,
    ) -> str:
        """Tells a user of this server something; the event's ID, the same for the same transaction ID of
        whoever asks. Raises NotFound where there is no such user."""
        if not self._rooms.memberships.is_local(user_id):
            raise InvalidParam("Notices are for users of this server.")
        await self._accounts.require(user_id)
        async with self._turns.of(user_id):
            room_id = await self._room_of(user_id)
        if state_key is not None:
            return await self._rooms.set_state(
                room_id, self.user_id, type, state_key, content, device_id=asked_by, txn_id=txn_id
            )
        return await self._rooms.send(
            room_id, self.user_id, type, content, device_id=asked_by, txn_id=txn_id
        )

    # how it is done

    async def _room_of(self, user_id: str) -> str:
        """The user's room, made if there is none, with the user invited to it."""
        room = await self._find(user_id)
        if room is None:
            room_id = await self._make(user_id)
        else:
            room_id = room.room_id
            for type, content in self._look.state.items():
                await self._rooms.set_state(room_id, self.user_id, type, "", content)
            if room.membership(user_id) not in ("join", "invite"):
                await self._rooms.invite(room_id, self.user_id, user_id)
        if TAG not in await self._tags.get(user_id, room_id):
            await self._tags.set(user_id, room_id, TAG, {})
        if self._auto_join:
            await self._rooms.join(room_id, user_id)
        return room_id

    async def _find(self, user_id: str) -> Room | None:
        for room_id in await self._db.read(store.rooms_with, user_id, self.user_id):
            room = await self._rooms.get(room_id)
            create = room.head.create
            if create is not None and create.sender == self.user_id:
                return room
        return None

    async def _make(self, user_id: str) -> str:
        options = CreateOptions(
            preset="private_chat",
            invite=(user_id,),
            creation_content={"m.federate": False},
            initial_state=[StateToSet(type, content) for type, content in self._look.state.items()],
            # Only the server speaks here.
            power_level_content_override={"users_default": -10},
        )
        return await self._rooms.create(self.user_id, options)
