"""Filters: what a client wants to see of a sync, of a room's history or of a search.

https://spec.matrix.org/v1.19/client-server-api/#filtering

The subtle idea: a definition is validated and compiled once into immutable matchers, and the compiled
object is cached by the text it came from. Clients send the same inline filter with every request, so a
sync pays a dictionary lookup, and two requests with equal filters hold the very same object, which lets
sync share computed answers by identity. Stored filters are named by their content's hash: uploading one
twice stores it once, and a name never changes its meaning, so that cache needs no invalidation.
"""

import hashlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import orjson
from msgspec import UNSET, UnsetType

from homeserver.errors import BadJson, InvalidParam, MatrixError, NotFound, TooLarge
from homeserver.sync.filter_rules import EventFilter, Fields, Filter, RoomEventFilter, RoomFilter, Types
from storage import filters as store
from storage.database import Database

MAX_LIMIT = 1000
"""No filter lifts a request above this many events, whatever its `limit` says."""

MAX_STORED_BYTES = 65_536
MAX_CACHED_CHARACTERS = 8192
"""Larger ones are compiled for each request: memory for them would be the clients' to use up."""

UserId = Annotated[str, msgspec.Meta(pattern="^@")]
RoomId = Annotated[str, msgspec.Meta(pattern="^!")]
Limit = Annotated[int, msgspec.Meta(ge=0)]


__all__ = [
    "EVERYTHING", "EventFilter", "Filter", "Filters", "RoomEventFilter", "RoomFilter", "parse",
    "parse_room_event_filter", "room_event_filter",
]

# The definitions as clients write them. Unknown keys are ignored: old and new clients send them.


class _EventFilterSpec(msgspec.Struct):
    limit: Limit | UnsetType = UNSET
    types: list[str] | UnsetType = UNSET
    not_types: list[str] | UnsetType = UNSET
    senders: list[UserId] | UnsetType = UNSET
    not_senders: list[UserId] | UnsetType = UNSET


class _RoomEventFilterSpec(_EventFilterSpec):
    rooms: list[RoomId] | UnsetType = UNSET
    not_rooms: list[RoomId] | UnsetType = UNSET
    contains_url: bool | UnsetType = UNSET
    lazy_load_members: bool = False
    include_redundant_members: bool = False
    unread_thread_notifications: bool = False
    related_by_senders: list[UserId] | UnsetType = UNSET
    related_by_rel_types: list[str] | UnsetType = UNSET


class _RoomFilterSpec(msgspec.Struct):
    rooms: list[RoomId] | UnsetType = UNSET
    not_rooms: list[RoomId] | UnsetType = UNSET
    include_leave: bool = False
    state: _RoomEventFilterSpec | UnsetType = UNSET
    timeline: _RoomEventFilterSpec | UnsetType = UNSET
    ephemeral: _RoomEventFilterSpec | UnsetType = UNSET
    account_data: _RoomEventFilterSpec | UnsetType = UNSET


class _FilterSpec(msgspec.Struct):
    event_fields: list[str] | UnsetType = UNSET
    event_format: Literal["client", "federation"] = "client"
    presence: _EventFilterSpec | UnsetType = UNSET
    account_data: _EventFilterSpec | UnsetType = UNSET
    room: _RoomFilterSpec | UnsetType = UNSET


EVERYTHING = Filter()


def _set(values: list[str] | UnsetType) -> frozenset[str] | None:
    return None if isinstance(values, UnsetType) else frozenset(values)


def _event_rules(spec: _EventFilterSpec) -> dict[str, Any]:
    senders, not_types = _set(spec.senders), _set(spec.not_types)
    types = None if isinstance(spec.types, UnsetType) else Types(spec.types)
    not_senders = _set(spec.not_senders) or frozenset()
    limit = None if isinstance(spec.limit, UnsetType) else min(spec.limit, MAX_LIMIT)
    nobody = senders is not None and not senders - not_senders
    return {
        "limit": limit,
        "types": types,
        "not_types": Types(not_types) if not_types else None,
        "senders": senders,
        "not_senders": not_senders,
        "is_trivial": types is None and not not_types and senders is None and not not_senders,
        "is_empty": spec.types == [] or "*" in (not_types or ()) or nobody or limit == 0,
    }


def _event_filter(spec: _EventFilterSpec | UnsetType) -> EventFilter:
    return EventFilter() if isinstance(spec, UnsetType) else EventFilter(**_event_rules(spec))


def _room_event_filter(spec: _RoomEventFilterSpec | UnsetType) -> RoomEventFilter:
    if isinstance(spec, UnsetType):
        return RoomEventFilter()
    rules = _event_rules(spec)
    rooms, not_rooms = _set(spec.rooms), _set(spec.not_rooms) or frozenset()
    related_senders, related_types = _set(spec.related_by_senders), _set(spec.related_by_rel_types)
    url = None if isinstance(spec.contains_url, UnsetType) else spec.contains_url
    plain = rooms is None and not not_rooms and url is None
    rules["is_trivial"] &= plain and related_senders is None and related_types is None
    rules["is_empty"] |= rooms is not None and not rooms - not_rooms
    return RoomEventFilter(
        **rules,
        rooms=rooms,
        not_rooms=not_rooms,
        contains_url=url,
        lazy_load_members=spec.lazy_load_members,
        include_redundant_members=spec.include_redundant_members,
        unread_thread_notifications=spec.unread_thread_notifications,
        related_by_senders=related_senders,
        related_by_rel_types=related_types,
    )


def _room_filter(spec: _RoomFilterSpec | UnsetType) -> RoomFilter:
    if isinstance(spec, UnsetType):
        return RoomFilter()
    return RoomFilter(
        rooms=_set(spec.rooms),
        not_rooms=_set(spec.not_rooms) or frozenset(),
        include_leave=spec.include_leave,
        state=_room_event_filter(spec.state),
        timeline=_room_event_filter(spec.timeline),
        ephemeral=_room_event_filter(spec.ephemeral),
        account_data=_room_event_filter(spec.account_data),
    )


T = TypeVar("T")


def _decode(decode: Callable[[bytes], T], text: str) -> T:
    # A RecursionError is how the decoder refuses absurd nesting; a UnicodeError is a lone surrogate.
    try:
        return decode(text.encode())
    except msgspec.ValidationError as e:
        raise BadJson(f"Invalid filter: {e}") from e
    except (msgspec.DecodeError, RecursionError, UnicodeError) as e:
        raise BadJson("The filter is not valid JSON.") from e


_FILTER = msgspec.json.Decoder(_FilterSpec)
_ROOM_EVENT_FILTER = msgspec.json.Decoder(_RoomEventFilterSpec)


def parse(text: str) -> Filter:
    """Compile a sync filter from its JSON; the same text gives the same object. Raises BadJson."""
    return _parse_cached(text) if len(text) <= MAX_CACHED_CHARACTERS else _parse(text)


def _parse(text: str) -> Filter:
    spec = _decode(_FILTER.decode, text)
    fields = None if isinstance(spec.event_fields, UnsetType) or not spec.event_fields else spec.event_fields
    return Filter(
        event_fields=None if fields is None else Fields(fields),
        event_format=spec.event_format,
        presence=_event_filter(spec.presence),
        account_data=_event_filter(spec.account_data),
        room=_room_filter(spec.room),
    )


def parse_room_event_filter(text: str) -> RoomEventFilter:
    """The `filter` of `/messages`, `/context` and search, from its JSON. Raises BadJson."""
    if len(text) <= MAX_CACHED_CHARACTERS:
        return _parse_room_event_filter_cached(text)
    return _parse_room_event_filter(text)


def _parse_room_event_filter(text: str) -> RoomEventFilter:
    return _room_event_filter(_decode(_ROOM_EVENT_FILTER.decode, text))


_parse_cached = lru_cache(maxsize=1024)(_parse)
_parse_room_event_filter_cached = lru_cache(maxsize=1024)(_parse_room_event_filter)


def room_event_filter(text: str | None) -> RoomEventFilter:
    """The same from a query parameter, where absent means everything. Raises InvalidParam."""
    if not text:
        return RoomEventFilter()
    try:
        return parse_room_event_filter(text)
    except BadJson as e:
        raise InvalidParam(e.message) from e


class Filters:
    """The filters users have uploaded."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._known: dict[tuple[str, str], Filter] = {}

    async def create(self, user_id: str, definition: Mapping[str, Any]) -> str:
        """Validate and keep a filter, and return its ID."""
        try:
            text = orjson.dumps(definition, option=orjson.OPT_SORT_KEYS)
        except TypeError as e:
            raise BadJson(f"Invalid filter: {e}") from e
        if len(text) > MAX_STORED_BYTES:
            raise TooLarge("The filter is too large.")
        parse(text.decode())
        filter_id = hashlib.sha256(text).hexdigest()[:24]
        await self._db.write(store.add_filter, user_id, filter_id, text)
        return filter_id

    async def definition(self, user_id: str, filter_id: str) -> bytes:
        """The JSON as it was uploaded; NotFound if this user has no such filter."""
        if _is_id(filter_id):
            found = await self._db.read(store.filter_definition, user_id, filter_id)
            if found is not None:
                return found
        raise NotFound("Unknown filter.")

    async def resolve(self, user_id: str, parameter: str | None) -> Filter:
        """The `filter` parameter of `/sync`: absent, inline JSON or an ID. Raises InvalidParam."""
        if not parameter:
            return EVERYTHING
        if known := self._known.get((user_id, parameter)):
            return known
        try:
            if parameter.lstrip().startswith("{"):
                return parse(parameter)
            compiled = parse((await self.definition(user_id, parameter)).decode())
        except MatrixError as e:
            raise InvalidParam(e.message) from e
        if len(self._known) >= 2000:
            self._known.clear()
        self._known[user_id, parameter] = compiled
        return compiled


def _is_id(filter_id: str) -> bool:
    return len(filter_id) == 24 and filter_id.isascii() and filter_id.isalnum()
