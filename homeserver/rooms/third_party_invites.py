"""Inviting people by an address: an identity server says who they are, or keeps the invite for them.

https://spec.matrix.org/v1.19/client-server-api/#third-party-invites
https://spec.matrix.org/v1.19/identity-service-api/#association-lookup

Whoever may not invite learns nothing of an address and gives none away: the room is looked at first. The
client names the identity server and lends its token there, so a refusal of that token must not read as if
the client's token here were meant.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from homeserver.errors import BadGateway, Forbidden, InvalidParam, MatrixError, RemoteError, RemoteRefused
from homeserver.protocol.ids import is_valid_server_name, is_valid_user_id
from homeserver.rooms.head import Head
from homeserver.rooms.registry import Registry
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms

THIRD_PARTY_INVITE = "m.room.third_party_invite"
LONGEST_ADDRESS = 500
MOST_KEYS = 10
# What the client can do something about; any other refusal is told as M_FORBIDDEN.
PASSED_ON = frozenset({"M_TERMS_NOT_SIGNED", "M_INVALID_EMAIL", "M_UNRECOGNIZED"})

Content = dict[str, Any]
log = Logger()


@dataclass(frozen=True, slots=True)
class ThirdPartyId:
    """`server` is the identity server to ask, `token` the user's access token there."""

    server: str
    token: str
    medium: str
    address: str

    @classmethod
    def checked(cls, server: str, token: str, medium: str, address: str) -> "ThirdPartyId":
        """In the form in which identity servers know addresses. Raises InvalidParam."""
        if not is_valid_server_name(server):
            raise InvalidParam("id_server is no name of a server.")
        if not address or len(address) > LONGEST_ADDRESS or not token.isascii() or not token.isprintable():
            raise InvalidParam("The address or the access token is not one.")
        if medium == "email":
            return cls(server, token, medium, address.strip().casefold())
        if medium == "msisdn":
            return cls(server, token, medium, address.strip().removeprefix("+"))
        raise InvalidParam("The medium is email or msisdn.")

    def hashed(self, pepper: str) -> str:
        digest = hashlib.sha256(f"{self.address} {self.medium} {pepper}".encode()).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


class IdentityServers(Protocol):
    """Asking them: the port, which `federation.identity_servers` implements. Each raises RemoteError."""

    async def get(self, server: str, path: str, token: str) -> Content: ...

    async def post(self, server: str, path: str, token: str, content: Mapping[str, Any]) -> Content: ...


class ThirdPartyInvites:
    def __init__(self, registry: Registry, rooms: Rooms, servers: IdentityServers) -> None:
        self._registry = registry
        self._rooms = rooms
        self._servers = servers

    async def invite(self, room_id: str, sender: str, who: ThirdPartyId, *, is_direct: bool = False) -> None:
        """Invites the user who has the address, or whoever will have it. Raises MatrixError."""
        room = await self._rooms.require_joined(room_id, sender)
        _require_power(room.tip, sender)
        user_id = await self._look_up(who)
        if user_id is None:
            stored = await self._store(room, sender, who)
            if isinstance(stored, str):
                user_id = stored
            else:
                token = stored.pop("token")
                await self._rooms.set_state(room_id, sender, THIRD_PARTY_INVITE, token, stored)
                return
        content = {"is_direct": True} if is_direct else None
        await self._rooms.invite(room_id, sender, user_id, content=content)

    async def invite_first(
        self, room_id: str, sender: str, people: Sequence[ThirdPartyId], *, is_direct: bool, alone: bool
    ) -> None:
        """For a new room. Invites that fail undo nothing, as it is there; if nobody was invited (`alone`:
        these are all there are), it is said."""
        inviting = [
            Deferred.fromCoroutine(self.invite(room_id, sender, who, is_direct=is_direct)) for who in people
        ]
        outcomes: list[tuple[bool, Any]] = await DeferredList(inviting, consumeErrors=True)
        failures = [outcome.value for succeeded, outcome in outcomes if not succeeded]
        for failure in failures:
            if not isinstance(failure, MatrixError) or (alone and len(failures) == len(people)):
                raise failure
            log.info("an invite to {room} failed: {reason}", room=room_id, reason=failure.message)

    async def _look_up(self, who: ThirdPartyId) -> str | None:
        """The user who has the address, if the identity server knows one."""
        try:
            found = await self._find(who)
            if found is None:  # a new pepper, in the middle of it
                found = await self._find(who, last=True) or {}
        except RemoteError as error:
            raise _for_client(who, error) from error
        mappings = found.get("mappings")
        if not isinstance(mappings, dict):
            raise _nonsense(who)
        user_id = next(iter(mappings.values()), None)
        if user_id is not None and not (isinstance(user_id, str) and is_valid_user_id(user_id)):
            raise _nonsense(who)
        return user_id

    async def _find(self, who: ThirdPartyId, *, last: bool = False) -> Content | None:
        details = await self._servers.get(who.server, "/hash_details", who.token)
        pepper, algorithms = details.get("lookup_pepper"), details.get("algorithms")
        if not isinstance(pepper, str) or not isinstance(algorithms, list) or "sha256" not in algorithms:
            raise _nonsense(who)
        asked = {"algorithm": "sha256", "pepper": pepper, "addresses": [who.hashed(pepper)]}
        try:
            return await self._servers.post(who.server, "/lookup", who.token, asked)
        except RemoteRefused as error:
            if error.errcode == "M_INVALID_PEPPER" and not last:
                return None
            raise

    async def _store(self, room: Room, sender: str, who: ThirdPartyId) -> Content | str:
        """The content of the event, with the `token`; or the user, if somebody got the address just now."""
        asked = await self._about(room, sender)
        asked |= {"medium": who.medium, "address": who.address, "room_id": room.room_id, "sender": sender}
        try:
            given = await self._servers.post(who.server, "/store-invite", who.token, asked)
        except RemoteRefused as error:
            user_id = error.body.get("mxid") if error.errcode == "M_THREEPID_IN_USE" else None
            if isinstance(user_id, str) and is_valid_user_id(user_id):
                return user_id
            raise _for_client(who, error) from error
        except RemoteError as error:
            raise _for_client(who, error) from error
        content = _event_content(given)
        if content is None:
            raise _nonsense(who)
        return content

    async def _about(self, room: Room, sender: str) -> Content:
        """What the identity server may tell the invited person of the room."""
        shown: Content = {}
        for name, type, key in (
            ("room_alias", "m.room.canonical_alias", "alias"),
            ("room_avatar_url", "m.room.avatar", "url"),
            ("room_join_rules", "m.room.join_rules", "join_rule"),
            ("room_name", "m.room.name", "name"),
            ("room_type", "m.room.create", "type"),
        ):
            content = await self._registry.state_content(room, type)
            shown[name] = content.get(key) if content is not None else None
        member = await self._registry.state_content(room, "m.room.member", sender) or {}
        shown["sender_display_name"] = member.get("displayname")
        shown["sender_avatar_url"] = member.get("avatar_url")
        return {name: value for name, value in shown.items() if isinstance(value, str) and value}


def _require_power(tip: Head, sender: str) -> None:
    if tip.levels.user(sender) < tip.levels.invite:
        raise Forbidden("You do not have the power to invite people to this room.")


def _event_content(given: Content) -> Content | None:
    token, display_name, listed = given.get("token"), given.get("display_name"), given.get("public_keys")
    if not isinstance(token, str) or not 0 < len(token) <= 255 or not isinstance(display_name, str):
        return None
    if not isinstance(listed, list) or not 0 < len(listed) <= MOST_KEYS:
        return None
    keys = []
    for entry in listed:
        if not isinstance(entry, dict):
            return None
        key = {name: entry.get(name) for name in ("public_key", "key_validity_url")}
        if not all(isinstance(value, str) for value in key.values()):
            return None
        keys.append(key)
    return {"token": token, "display_name": display_name, "public_keys": keys, **keys[0]}


def _nonsense(who: ThirdPartyId) -> MatrixError:
    return BadGateway(f"The identity server {who.server} did not answer well.")


def _for_client(who: ThirdPartyId, error: RemoteError) -> MatrixError:
    if not isinstance(error, RemoteRefused) or not 400 <= error.status < 500:
        return _nonsense(who)
    errcode = error.errcode if error.errcode in PASSED_ON else "M_FORBIDDEN"
    return Forbidden(f"The identity server {who.server} refuses: {error.message}", errcode=errcode)
