"""Room aliases: making, resolving and deleting this server's names for rooms.

https://spec.matrix.org/v1.19/client-server-api/#room-aliases

Anyone in a room may name it; its creator, somebody with power in the room, or an administrator takes a name
away. `m.room.canonical_alias` is checked against this directory when it is set, and tidied up after a name
is gone, if whoever deleted it may do that too.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from homeserver.errors import BadJson, Forbidden, InvalidParam, MatrixError, NotFound, RoomInUse
from homeserver.protocol.ids import domain_of, is_valid_alias
from homeserver.rooms.head import Proposal
from homeserver.rooms.registry import Registry
from homeserver.rooms.room import Room
from storage import directory as store
from storage.transaction import Transaction

CANONICAL_ALIAS = "m.room.canonical_alias"


class AliasExists(MatrixError):
    status, errcode = 409, "M_UNKNOWN"


class RemoteAliases(Protocol):
    async def resolve(self, alias: str) -> tuple[str, list[str]]:
        """Asks the alias's server: the room's ID and servers that know the room. NotFound, or 502."""
        ...


class Directory:
    def __init__(self, registry: Registry, server_name: str, remote: RemoteAliases | None = None) -> None:
        self._registry = registry
        self._remote = remote
        self._db = registry.db
        self._server_name = server_name

    def local_alias(self, localpart: str) -> str:
        """The alias that `room_alias_name` stands for; raises InvalidParam."""
        alias = f"#{localpart}:{self._server_name}"
        if not localpart or ":" in localpart or any(map(str.isspace, localpart)) or not is_valid_alias(alias):
            raise InvalidParam("This is not the local part of an alias.")
        return alias

    async def is_taken(self, alias: str) -> bool:
        return await self._db.read(store.find_alias, alias) is not None

    def add(self, tx: Transaction, alias: str, room_id: str, creator: str) -> None:
        """For a room that is being created. Raises RoomInUse."""
        if not store.add_alias(tx, alias, room_id, creator, self._registry.clock.now_ms()):
            raise RoomInUse("That alias is taken.")

    async def create(self, user_id: str, alias: str, room_id: str) -> None:
        """Names a room its user is in. Raises InvalidParam, Forbidden, AliasExists."""
        self._require_own(alias)
        try:
            room = await self._registry.get(room_id)
        except NotFound:
            raise NotFound("This server does not know the room.") from None
        if room.membership(user_id) != "join":
            raise Forbidden("Only members of a room may give it an alias.")
        now_ms = self._registry.clock.now_ms()
        if not await self._db.write(store.add_alias, alias, room_id, user_id, now_ms):
            raise AliasExists(f"Room alias {alias} already exists.")

    async def resolve(self, alias: str) -> tuple[str, list[str]]:
        """The room's ID and the servers to join it through; this one first, if it is in the room.

        Raises InvalidParam, NotFound, and 502 where another server failed to tell.
        """
        if not is_valid_alias(alias):
            raise InvalidParam("Room alias invalid.")
        if domain_of(alias) != self._server_name and self._remote is not None:
            room_id, named = await self._remote.resolve(alias)
            servers = await self._joined_servers(room_id)
            servers |= dict.fromkeys(name for name in named if name != self._server_name)
            return room_id, list(servers)
        found = await self._db.read(store.find_alias, alias)
        if found is None:
            raise NotFound(f"Room alias {alias} not found.")
        servers = dict.fromkeys([self._server_name])
        return found.room_id, list(servers | await self._joined_servers(found.room_id))

    async def delete(self, user_id: str, alias: str, *, is_admin: bool = False) -> None:
        """Raises InvalidParam, NotFound, Forbidden."""
        self._require_own(alias)
        found = await self._db.read(store.find_alias, alias)
        if found is None:
            raise NotFound(f"Room alias {alias} not found.")
        room = await self._known(found.room_id)
        has_power = room is not None and may_set_alias(room, user_id)
        if not (is_admin or found.creator == user_id or has_power):
            raise Forbidden("You neither created this alias nor have power in its room.")
        await self._db.write(store.remove_alias, alias)
        if room is not None and has_power:
            await self._take_from_canonical(room, user_id, alias)

    async def aliases_of(self, room_id: str) -> list[str]:
        return await self._db.read(store.aliases_of, room_id)

    async def validate_canonical_alias(self, content: Mapping[str, Any], room_id: str) -> None:
        """Aliases that this event adds must be valid and point at the room.

        Raises InvalidParam, or 400 M_BAD_ALIAS.
        """
        listed = _aliases_in(content)
        room = await self._known(room_id)
        kept = _aliases_in(await self._canonical(room) or {}, strict=False) if room is not None else set()
        added = listed - kept
        for alias in added:
            if not is_valid_alias(alias):
                raise InvalidParam(f"{alias!r} is not a room alias.")
        found = await self._db.read(store.room_ids, added) if added else {}
        for alias in added:
            if found.get(alias) != room_id:
                raise MatrixError(f"The alias {alias!r} does not point to this room.", errcode="M_BAD_ALIAS")

    # the published directory: the list itself is in `public_rooms`

    def publish(self, tx: Transaction, room_id: str) -> None:
        """For a room that is being created."""
        store.publish(tx, room_id)

    async def set_published(
        self, user_id: str, room_id: str, published: bool, *, is_admin: bool = False
    ) -> None:
        """Raises NotFound, Forbidden."""
        room = await self._registry.get(room_id)
        if not (is_admin or may_set_alias(room, user_id)):
            raise Forbidden("You do not have the power to change the published directory for this room.")
        await self._db.write(store.publish if published else store.unpublish, room_id)

    async def is_published(self, room_id: str) -> bool:
        """NotFound if this server does not know the room."""
        await self._registry.get(room_id)
        return await self._db.read(store.is_published, room_id)

    # how it is done

    def _require_own(self, alias: str) -> None:
        if not is_valid_alias(alias):
            raise InvalidParam("Room alias invalid.")
        if domain_of(alias) != self._server_name:
            raise InvalidParam("The alias belongs to another server.")

    async def _known(self, room_id: str) -> Room | None:
        try:
            return await self._registry.get(room_id)
        except NotFound:
            return None

    async def _joined_servers(self, room_id: str) -> dict[str, None]:
        """As the keys of a dictionary, which keeps them in order: this one first, if it is among them."""
        room = await self._known(room_id)
        if room is None:
            return {}
        servers = {
            domain_of(state_key): None
            for (type, state_key), entry in room.head.state.entries.items()
            if type == "m.room.member" and entry.membership == "join"
        }
        return dict.fromkeys([self._server_name]) | servers if self._server_name in servers else servers

    async def _canonical(self, room: Room) -> dict[str, Any] | None:
        event_id = room.head.event_id(CANONICAL_ALIAS)
        stored = await self._registry.events.get(event_id) if event_id is not None else None
        return stored.event.content if stored is not None else None

    async def _take_from_canonical(self, room: Room, user_id: str, alias: str) -> None:
        content = await self._canonical(room)
        if content is None or alias not in _aliases_in(content, strict=False):
            return
        content = dict(content)
        if content.get("alias") == alias:
            del content["alias"]
        if isinstance(content.get("alt_aliases"), list):
            content["alt_aliases"] = [other for other in content["alt_aliases"] if other != alias]
        proposal = Proposal(CANONICAL_ALIAS, user_id, content, "")
        await self._registry.append(room.room_id, [proposal])


def may_set_alias(room: Room, user_id: str) -> bool:
    """The power to name a room: that to send its m.room.canonical_alias."""
    levels = room.head.levels
    return room.membership(user_id) == "join" and levels.user(user_id) >= levels.event(CANONICAL_ALIAS, True)


def _aliases_in(content: Mapping[str, Any], *, strict: bool = True) -> set[str]:
    """`alias` and `alt_aliases`; a new event with something else in them is BadJson if `strict`."""
    alias = content.get("alias")
    others = content.get("alt_aliases")
    listed = others if isinstance(others, list) else []
    if strict and not (
        (alias is None or isinstance(alias, str))
        and (others is None or isinstance(others, list))
        and all(isinstance(other, str) for other in listed)
    ):
        raise BadJson("`alias` is a string and `alt_aliases` a list of strings.")
    return {each for each in (alias, *listed) if isinstance(each, str) and each}
