"""Asking another server which rooms it lists.

https://spec.matrix.org/v1.19/server-server-api/#published-room-directory
"""

from typing import Any

from federation.client import Backoff, FederationClient, Json, Limits
from federation.errors import BadAnswer, for_client
from homeserver.errors import RemoteError
from homeserver.protocol.ids import is_valid_room_id
from homeserver.rooms.public_rooms import DEFAULT_LIMIT, MOST_ROOMS, Search
from storage.directory import OWN

_PATH = "/_matrix/federation/v1/publicRooms"
LIMITS = Limits(seconds=30.0, max_body=4 * 1024 * 1024, backoff=Backoff.HEED)
MAX_TOKEN = 4096
MAX_TEXT = 65_536
# What every client can read as a number.
MAX_COUNT = 2**53 - 1

_TEXTS = ("name", "topic", "canonical_alias", "join_rule", "room_type")


class RoomDirectories:
    """The port RemoteDirectories."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    async def page(self, server: str, search: Search, limit: int | None, since: str | None) -> Json:
        # To other servers, no limit is zero: all their rooms.
        limit = min(limit or DEFAULT_LIMIT, MOST_ROOMS)
        try:
            return _page(server, await self._ask(server, search, limit, since), limit)
        except RemoteError as error:
            raise for_client(error, f"Room list of {server}") from error

    async def _ask(self, server: str, search: Search, limit: int, since: str | None) -> Json:
        asked: Json = {"limit": limit}
        if since is not None:
            asked["since"] = since
        if search.network is not None and search.network != OWN:
            asked["third_party_instance_id"] = search.network
        wanted: Json = {}
        if search.term:
            wanted["generic_search_term"] = search.term
        if search.room_types is not None:
            wanted["room_types"] = sorted(search.room_types, key=lambda each: each or "")
        if not wanted:
            query = asked | ({"include_all_networks": "true"} if search.network is None else {})
            return await self._client.get(server, _PATH, query, LIMITS)
        content = asked | {"filter": wanted, "include_all_networks": search.network is None}
        return await self._client.post(server, _PATH, content, limits=LIMITS)


def _page(server: str, given: Json, limit: int) -> Json:
    chunk = given.get("chunk")
    if not isinstance(chunk, list):
        raise BadAnswer(f"{server} answered no list of rooms.")
    page: Json = {"chunk": [room for each in chunk[:limit] if (room := _room(each)) is not None]}
    for field in ("next_batch", "prev_batch"):
        token = given.get(field)
        if isinstance(token, str) and 0 < len(token) <= MAX_TOKEN:
            page[field] = token
    estimate = given.get("total_room_count_estimate")
    if _is_count(estimate):
        page["total_room_count_estimate"] = estimate
    return page


def _room(given: Any) -> Json | None:
    """The fields the specification has, where they are of their type; None for what is no room."""
    if not isinstance(given, dict):
        return None
    room_id, joined = given.get("room_id"), given.get("num_joined_members")
    if not isinstance(room_id, str) or not is_valid_room_id(room_id) or not _is_count(joined):
        return None
    room = {
        "room_id": room_id,
        "num_joined_members": joined,
        "world_readable": given.get("world_readable") is True,
        "guest_can_join": given.get("guest_can_join") is True,
    }
    for field in _TEXTS:
        text = given.get(field)
        if isinstance(text, str) and len(text) <= MAX_TEXT:
            room[field] = text
    avatar = given.get("avatar_url")
    if isinstance(avatar, str) and avatar.startswith("mxc://") and len(avatar) <= MAX_TOKEN:
        room["avatar_url"] = avatar
    return room


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_COUNT
