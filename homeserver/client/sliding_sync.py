"""Simplified sliding sync, in its accepted form and in the one clients used before.

https://github.com/matrix-org/matrix-spec-proposals/pull/4186

The two differ in where parameters stand and what they are called; `homeserver.sync.sliding` knows one.
"""

from collections.abc import Callable, Collection
from typing import Annotated, TypeVar

from homeserver.errors import InvalidParam, MatrixError
from homeserver.http.endpoint import USER, Query, Request, post
from homeserver.http.requester import Requester
from homeserver.server import Server
from homeserver.sync.inbox import LIMIT
from homeserver.sync.presence import STATES
from homeserver.sync.sliding.connections import UnknownPos
from homeserver.sync.sliding.request import (
    ACCEPTED,
    MOST_EVENTS,
    UNSTABLE,
    Extensions,
    Form,
    ListConfig,
    RoomConfig,
    RoomFilters,
    Scope,
    SlidingRequest,
    ToDeviceRequest,
)
from homeserver.sync.sliding.required_state import MEMBER, Pattern, Wish
from homeserver.sync.tokens import SlidingToken, StreamToken

LONGEST_WAIT_MS = 600_000
MOST_LISTS = 100
MOST_PATTERNS = 500
LONGEST_CONN_ID = 255

T = TypeVar("T")
Range = tuple[int, int]


class Filters(Request):
    is_dm: bool | None = None
    spaces: list[str] | None = None
    is_encrypted: bool | None = None
    is_invite: bool | None = None
    is_invited: bool | None = None
    room_types: list[str | None] | None = None
    not_room_types: list[str | None] | None = None
    tags: list[str] | None = None
    not_tags: list[str] | None = None


class StatePattern(Request):
    type: str | None = None
    state_key: str | None = None


class RequiredState(Request):
    include: list[StatePattern] = []
    exclude: list[StatePattern] = []
    lazy_members: bool = False


class Subscription(Request):
    timeline_limit: int
    required_state: RequiredState


class List(Subscription):
    range: Range | None = None
    filters: Filters | None = None


class UnstableSubscription(Request):
    timeline_limit: int
    required_state: list[tuple[str, str]] = []


class UnstableList(UnstableSubscription):
    ranges: list[Range] | None = None
    range: Range | None = None
    filters: Filters | None = None


class Switch(Request):
    enabled: bool | None = None


class Scoped(Switch):
    lists: list[str] | None = None
    rooms: list[str] | None = None


class ToDevice(Switch):
    limit: int | None = None
    since: str | None = None


class ThreadSubscriptions(Switch):
    limit: int | None = None


class ExtensionConfigs(Request, rename={"thread_subscriptions": "io.element.msc4308.thread_subscriptions"}):
    to_device: ToDevice | None = None
    e2ee: Switch | None = None
    account_data: Scoped | None = None
    receipts: Scoped | None = None
    typing: Scoped | None = None
    thread_subscriptions: ThreadSubscriptions | None = None


class SlidingSyncBody(Request, kw_only=True):
    conn_id: str = ""
    pos: str | None = None
    timeout: int = 0
    set_presence: str | None = None
    lists: dict[str, List] = {}
    room_subscriptions: dict[str, Subscription] = {}
    extensions: ExtensionConfigs | None = None


class UnstableSlidingSyncBody(Request, kw_only=True):
    pos: Annotated[str | None, Query()] = None
    timeout: Annotated[int, Query()] = 0
    set_presence: Annotated[str | None, Query()] = None
    conn_id: str | None = None
    lists: dict[str, UnstableList] | None = None
    room_subscriptions: dict[str, UnstableSubscription] | None = None
    extensions: ExtensionConfigs | None = None


@post("/_matrix/client/v4/sync", auth=USER, guests=True, cancel_on_disconnect=True)
async def sliding_sync(server: Server, me: Requester, req: SlidingSyncBody) -> bytes:
    lists = {
        name: ListConfig(
            _config(each.timeline_limit, _wish(each.required_state)),
            _filters(each.filters),
            _ranges([each.range] if each.range is not None else None),
        )
        for name, each in req.lists.items()
    }
    subscriptions = {
        room_id: _config(each.timeline_limit, _wish(each.required_state))
        for room_id, each in req.room_subscriptions.items()
    }
    return await _sync(server, me, req, req.conn_id, ACCEPTED, lists, subscriptions)


@post(
    "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync",
    auth=USER,
    guests=True,
    cancel_on_disconnect=True,
)
async def unstable_sliding_sync(server: Server, me: Requester, req: UnstableSlidingSyncBody) -> bytes:
    lists = {
        name: ListConfig(
            _config(each.timeline_limit, _unstable_wish(each.required_state, me.user_id)),
            _filters(each.filters),
            _ranges(each.ranges if each.ranges is not None else [each.range] if each.range else None),
        )
        for name, each in (req.lists or {}).items()
    }
    subscriptions = {
        room_id: _config(each.timeline_limit, _unstable_wish(each.required_state, me.user_id))
        for room_id, each in (req.room_subscriptions or {}).items()
    }
    return await _sync(server, me, req, req.conn_id or "", UNSTABLE, lists, subscriptions)


async def _sync(
    server: Server,
    me: Requester,
    req: SlidingSyncBody | UnstableSlidingSyncBody,
    conn_id: str,
    form: Form,
    lists: dict[str, ListConfig],
    subscriptions: dict[str, RoomConfig],
) -> bytes:
    if len(lists) > MOST_LISTS or len(subscriptions) > form.subscriptions:
        raise InvalidParam(f"At most {MOST_LISTS} lists and {form.subscriptions} subscriptions.")
    if len(conn_id) > LONGEST_CONN_ID:
        raise InvalidParam(f"conn_id has at most {LONGEST_CONN_ID} characters.")
    if req.set_presence is not None and req.set_presence not in STATES:
        raise InvalidParam(f"set_presence is one of {', '.join(STATES)}.")
    timeout = max(0, min(req.timeout, LONGEST_WAIT_MS)) if req.pos else 0
    request = SlidingRequest(
        user_id=me.user_id,
        device_id=me.device_id or "",
        form=form,
        conn_id=conn_id,
        pos=_pos(req.pos),
        timeout_ms=timeout,
        lists=lists,
        subscriptions=subscriptions,
        extensions=_extensions(req.extensions or ExtensionConfigs()),
    )
    server.presence.seen(me.user_id, req.set_presence, me.device_id, timeout)
    return await server.sliding_sync.sync(request)


def _pos(text: str | None) -> SlidingToken | None:
    if not text:
        return None
    try:
        return SlidingToken.parse(text)
    except MatrixError:
        raise UnknownPos from None


def _config(timeline_limit: int, wish: Wish) -> RoomConfig:
    if timeline_limit < 0:
        raise InvalidParam("timeline_limit is not negative.")
    return RoomConfig(min(timeline_limit, MOST_EVENTS), wish)


def _wish(required: RequiredState) -> Wish:
    return Wish(_patterns(required.include), _patterns(required.exclude), required.lazy_members)


def _patterns(patterns: Collection[StatePattern]) -> frozenset[Pattern]:
    _at_most(len(patterns), MOST_PATTERNS)
    return frozenset((each.type, each.state_key) for each in patterns)


def _unstable_wish(required: Collection[tuple[str, str]], me: str) -> Wish:
    _at_most(len(required), MOST_PATTERNS)
    include: set[Pattern] = set()
    lazy = False
    for type, state_key in required:
        if (type, state_key) == (MEMBER, "$LAZY"):
            lazy = True
        else:
            state_key = me if state_key == "$ME" else state_key
            include.add((None if type == "*" else type, None if state_key == "*" else state_key))
    return Wish(frozenset(include), frozenset(), lazy)


def _at_most(count: int, most: int) -> None:
    if count > most:
        raise InvalidParam(f"At most {most} patterns of state.")


def _ranges(ranges: Collection[Range] | None) -> tuple[Range, ...] | None:
    for first, last in ranges or ():
        if not 0 <= first <= last:
            raise InvalidParam("A range goes from a place in the list to the same or a later one.")
    if ranges is not None and len(ranges) > MOST_LISTS:
        raise InvalidParam(f"At most {MOST_LISTS} ranges.")
    return tuple(ranges) if ranges is not None else None


def _filters(asked: Filters | None) -> RoomFilters:
    if asked is None:
        return RoomFilters()
    return RoomFilters(
        is_dm=asked.is_dm,
        spaces=_set(asked.spaces),
        is_encrypted=asked.is_encrypted,
        is_invited=asked.is_invited if asked.is_invited is not None else asked.is_invite,
        room_types=_set(asked.room_types),
        not_room_types=_set(asked.not_room_types) or frozenset(),
        tags=_set(asked.tags),
        not_tags=_set(asked.not_tags) or frozenset(),
    )


def _set(values: list[T] | None) -> frozenset[T] | None:
    return None if values is None else frozenset(values)


def _extensions(asked: ExtensionConfigs) -> Extensions:
    to_device = _if_enabled(asked.to_device, _to_device)
    return Extensions(
        to_device=to_device,
        e2ee=asked.e2ee is not None and bool(asked.e2ee.enabled),
        account_data=_if_enabled(asked.account_data, _scope),
        receipts=_if_enabled(asked.receipts, _scope),
        typing=_if_enabled(asked.typing, _scope),
        thread_subscriptions=_if_enabled(asked.thread_subscriptions, _limit) or 0,
    )


S = TypeVar("S", bound=Switch)


def _if_enabled(asked: S | None, read: Callable[[S], T]) -> T | None:
    return read(asked) if asked is not None and asked.enabled else None


def _to_device(asked: ToDevice) -> ToDeviceRequest:
    since = StreamToken.parse(asked.since) if asked.since else None
    return ToDeviceRequest(since, LIMIT if asked.limit is None else max(1, asked.limit))


def _limit(asked: ThreadSubscriptions) -> int:
    return LIMIT if asked.limit is None else max(1, min(asked.limit, LIMIT))


def _scope(asked: Scoped) -> Scope:
    return Scope(_names(asked.lists), _names(asked.rooms))


def _names(names: list[str] | None) -> frozenset[str] | None:
    return None if names is None or "*" in names else frozenset(names)
