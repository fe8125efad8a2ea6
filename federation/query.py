"""Asking other servers about their users' profiles and what their aliases stand for.

https://spec.matrix.org/v1.19/server-server-api/#querying-for-information

Only the server in an ID is asked about it, so what it says is the truth by definition; what is kept from
it is only what clients can read: fields of the right type, identifiers that are identifiers.
"""

from typing import Any

from federation.client import Backoff, FederationClient, Limits
from federation.errors import BadAnswer, for_client
from federation.shapes import renderable
from homeserver.accounts.profiles import AVATAR_URL, DISPLAYNAME, MAX_AVATAR_URL, TIME_ZONE, is_valid_key
from homeserver.errors import RemoteError
from homeserver.protocol.ids import domain_of, is_valid_room_id, is_valid_server_name

_QUERY = "/_matrix/federation/v1/query/"
# A profile is smaller than 64 KiB; an escape makes up to six bytes of one.
PROFILE = Limits(seconds=15.0, max_body=6 * 65_536, backoff=Backoff.HEED)
ALIAS = Limits(seconds=15.0, max_body=1024 * 1024, backoff=Backoff.HEED)
MAX_SERVERS = 100
MAX_STRING = 4096


class Queries:
    """The ports RemoteProfiles and RemoteAliases."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    async def profile(self, user_id: str, key: str | None) -> dict[str, Any]:
        query = {"user_id": user_id} if key is None else {"user_id": user_id, "field": key}
        server = domain_of(user_id)
        try:
            given = renderable(server, await self._client.get(server, _QUERY + "profile", query, PROFILE))
        except RemoteError as error:
            raise for_client(error, "Profile") from error
        return {
            name: value
            for name, value in given.items()
            if (key is None or name == key) and is_valid_key(name) and _is_profile_value(name, value)
        }

    async def resolve(self, alias: str) -> tuple[str, list[str]]:
        server = domain_of(alias)
        try:
            given = await self._client.get(server, _QUERY + "directory", {"room_alias": alias}, ALIAS)
            return _room_and_servers(server, given)
        except RemoteError as error:
            raise for_client(error, f"Room alias {alias}") from error


def _is_profile_value(name: str, value: Any) -> bool:
    if name == AVATAR_URL:
        return isinstance(value, str) and value.startswith("mxc://") and len(value) <= MAX_AVATAR_URL
    if name in (DISPLAYNAME, TIME_ZONE):
        return isinstance(value, str) and len(value) <= MAX_STRING
    return True


def _room_and_servers(server: str, given: dict[str, Any]) -> tuple[str, list[str]]:
    """The server itself is named last: whoever knows the alias may know the room."""
    room_id, servers = given.get("room_id"), given.get("servers")
    if not isinstance(room_id, str) or not is_valid_room_id(room_id):
        raise BadAnswer(f"{server} answered no room ID.")
    listed = servers[:MAX_SERVERS] if isinstance(servers, list) else []
    names = [each for each in listed if isinstance(each, str) and is_valid_server_name(each)]
    return room_id, list(dict.fromkeys([*names, server]))
