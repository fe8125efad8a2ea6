"""Asking another server about a room and the rooms within it.

https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1hierarchyroomid

An answer is the word of the server that gave it, and is remembered as such: whoever lies about a room does so
only to those who were told to ask that server. That there was no answer is remembered too, for less time.
"""

from typing import Any

from federation.client import Backoff, FederationClient, Json, Limits, path_of
from federation.errors import BadAnswer
from federation.shapes import renderable
from federation.shared import Expiring, SingleFlight
from homeserver.clock import Clock
from homeserver.errors import RemoteError
from homeserver.protocol.ids import is_valid_room_id
from homeserver.rooms.hierarchy import RemoteSpace
from homeserver.rooms.summary import RESTRICTED, SPACE, Child, Summary, in_order

LIMITS = Limits(seconds=10.0, max_body=4 * 1024 * 1024, backoff=Backoff.HEED)
REMEMBERED_MS = 5 * 60_000
FAILURE_REMEMBERED_MS = 60_000
MOST_REMEMBERED = 500
MOST_CHILDREN = 500
MOST_ALLOWED = 50
MAX_TEXT = 65_536
MAX_COUNT = 2**53 - 1

_TEXTS = (
    "name", "topic", "canonical_alias", "join_rule", "room_type", "encryption", "room_version"
)


class SpaceHierarchy:
    """The port RemoteHierarchy."""

    def __init__(self, client: FederationClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._answers: Expiring[tuple[str, str], RemoteSpace | str] = Expiring(MOST_REMEMBERED)
        self._flights: SingleFlight[tuple[str, str], RemoteSpace] = SingleFlight()

    async def ask(self, server: str, room_id: str) -> RemoteSpace:
        known = self._answers.get((server, room_id), self._clock.now_ms())
        if isinstance(known, str):
            raise RemoteError(known)
        if known is not None:
            return known
        return await self._flights.run((server, room_id), lambda: self._ask(server, room_id))

    async def _ask(self, server: str, room_id: str) -> RemoteSpace:
        key = server, room_id
        path = path_of("/_matrix/federation/v1/hierarchy", room_id)
        try:
            given = await self._client.get(server, path, {"suggested_only": "false"}, LIMITS)
            space = _space(server, room_id, renderable(server, given))
        except RemoteError as error:
            self._answers.put(key, str(error), self._clock.now_ms() + FAILURE_REMEMBERED_MS)
            raise
        self._answers.put(key, space, self._clock.now_ms() + REMEMBERED_MS)
        return space


def _space(server: str, room_id: str, given: Json) -> RemoteSpace:
    room = _summary(given.get("room"))
    if room is None or room.room_id != room_id:
        raise BadAnswer(f"{server} did not tell of the room it was asked about.")
    listed = {child.room_id for child in room.children}
    children: dict[str, Summary] = {}
    for each in _listed(given.get("children"))[:MOST_CHILDREN]:
        child = _summary(each)
        if child is not None and child.room_id in listed:
            children[child.room_id] = child
    inaccessible = {each for each in _listed(given.get("inaccessible_children")) if isinstance(each, str)}
    return RemoteSpace(room, children, frozenset(inaccessible & listed))


def _summary(given: Any) -> Summary | None:
    """The fields the specification has, where they are of their type; None for what is no room."""
    if not isinstance(given, dict):
        return None
    room_id, joined = given.get("room_id"), given.get("num_joined_members")
    if not isinstance(room_id, str) or not is_valid_room_id(room_id):
        return None
    shown: Json = {
        "room_id": room_id,
        "num_joined_members": joined if type(joined) is int and 0 <= joined <= MAX_COUNT else 0,
        "world_readable": given.get("world_readable") is True,
        "guest_can_join": given.get("guest_can_join") is True,
    }
    for name in _TEXTS:
        text = given.get(name)
        if isinstance(text, str) and len(text) <= MAX_TEXT:
            shown[name] = text
    avatar = given.get("avatar_url")
    if isinstance(avatar, str) and avatar.startswith("mxc://") and len(avatar) <= 4096:
        shown["avatar_url"] = avatar
    # Before the field was specified, no join rule meant that the room is public.
    join_rule = shown.setdefault("join_rule", "public")
    allowed: tuple[str, ...] = ()
    if join_rule in RESTRICTED:
        each_allowed = _listed(given.get("allowed_room_ids"))[:MOST_ALLOWED]
        allowed = tuple(each for each in each_allowed if isinstance(each, str) and is_valid_room_id(each))
    if allowed:
        shown["allowed_room_ids"] = list(allowed)
    children = _children(given.get("children_state")) if shown.get("room_type") == SPACE else ()
    return Summary(room_id, shown, join_rule, shown["world_readable"], allowed, children)


def _children(given: Any) -> tuple[Child, ...]:
    children: dict[str, Child] = {}
    for each in _listed(given)[:MOST_CHILDREN]:
        if isinstance(each, dict) and each.get("type") == "m.space.child":
            child = Child.of(
                each.get("state_key"), each.get("content"), each.get("sender"), each.get("origin_server_ts")
            )
            if child is not None:
                children[child.room_id] = child
    return in_order(children.values())


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
