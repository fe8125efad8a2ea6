"""Full-text search.

https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3search
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import orjson

from homeserver.errors import Forbidden
from homeserver.http.endpoint import USER, Query, Request, post
from homeserver.http.requester import Requester
from homeserver.search import service
from homeserver.search.page import Found
from homeserver.search.service import MOST_CONTEXT, ROOM_ID, Results
from homeserver.search.surroundings import AskedContext, Surroundings
from homeserver.search.words import highlights
from homeserver.server import Server
from homeserver.sync.filter_rules import RoomEventFilter
from homeserver.sync.filters import parse_room_event_filter
from storage.events import StoredEvent
from storage.search import MESSAGE, NAME, TOPIC
from storage.state_at import MEMBER

_TYPES = {"content.body": MESSAGE, "content.name": NAME, "content.topic": TOPIC}
_SHOWN_OF_PROFILES = ("displayname", "avatar_url")

Limit = Annotated[int, msgspec.Meta(ge=0)]


class EventContext(msgspec.Struct, kw_only=True):
    before_limit: Limit = 5
    after_limit: Limit = 5
    include_profile: bool = False


class Group(msgspec.Struct, kw_only=True):
    key: Literal["room_id", "sender"]


class Groupings(msgspec.Struct, kw_only=True):
    group_by: list[Group] = []


class RoomEvents(msgspec.Struct, kw_only=True):
    search_term: str
    keys: list[Literal["content.body", "content.name", "content.topic"]] | None = None
    filter: dict[str, Any] | None = None
    order_by: Literal["rank", "recent"] = "rank"
    event_context: EventContext | None = None
    include_state: bool = False
    groupings: Groupings | None = None


class Categories(msgspec.Struct, kw_only=True):
    room_events: RoomEvents | None = None


class SearchRequest(Request, kw_only=True):
    next_batch: Annotated[str | None, Query()] = None
    search_categories: Categories


@post("/_matrix/client/v3/search", auth=USER, rate="search")
async def search(server: Server, me: Requester, req: SearchRequest) -> dict[str, Any]:
    asked = req.search_categories.room_events
    if asked is None:
        return {"search_categories": {}}
    if server.search is None:
        raise Forbidden("This server does not search messages.")
    wanted = RoomEventFilter()
    if asked.filter is not None:
        wanted = parse_room_event_filter(orjson.dumps(asked.filter).decode())
    types = frozenset(_TYPES[key] for key in asked.keys or ())
    results = await server.search.find(
        me.user_id,
        service.Request(
            asked.search_term,
            types if len(types) < len(_TYPES) else frozenset(),
            asked.order_by == "rank",
            wanted,
            _context(asked.event_context),
            req.next_batch,
        ),
    )
    answer: dict[str, Any] = {
        "count": results.page.count,
        "highlights": highlights(results.query.terms, [found.words for found in results.page.found]),
        "results": await _results(server, me, results),
    }
    if (token := results.next) is not None:
        answer["next_batch"] = token
    if asked.groupings is not None and asked.groupings.group_by:
        keys = {group.key for group in asked.groupings.group_by}
        answer["groups"] = {key: _groups(results, key) for key in sorted(keys)}
    if asked.include_state:
        answer["state"] = await _states(server, me, results, wanted)
    return {"search_categories": {"room_events": answer}}


def _context(asked: EventContext | None) -> AskedContext | None:
    if asked is None:
        return None
    before, after = min(asked.before_limit, MOST_CONTEXT), min(asked.after_limit, MOST_CONTEXT)
    return AskedContext(before, after, asked.include_profile)


async def _results(server: Server, me: Requester, results: Results) -> list[dict[str, Any]]:
    found = results.page.found
    events = await server.serializer.client_events(
        [each.stored for each in found],
        me.user_id,
        me.device_id,
        results,
        bundles=results.page.bundles,
    )
    answer: list[dict[str, Any]] = []
    for each, event in zip(found, events, strict=True):
        entry: dict[str, Any] = {"rank": each.rank, "result": event}
        around = results.around.get(each.stored.event_id)
        if around is not None:
            entry["context"] = await _surroundings(server, me, results, around)
        answer.append(entry)
    return answer


async def _surroundings(
    server: Server, me: Requester, results: Results, around: Surroundings
) -> dict[str, Any]:
    events = await server.serializer.client_events(
        [*around.before, *around.after],
        me.user_id,
        me.device_id,
        results,
        bundles=around.bundles,
    )
    at = len(around.before)
    answer: dict[str, Any] = {
        "start": around.start,
        "end": around.end,
        "events_before": events[:at],
        "events_after": events[at:],
    }
    if results.wants_profiles:
        answer["profile_info"] = {member.event.state_key: _profile(member) for member in around.members}
    return answer


def _profile(member: StoredEvent) -> dict[str, str]:
    content = member.event.content
    return {
        key: content[key] for key in _SHOWN_OF_PROFILES if isinstance(content.get(key), str) and content[key]
    }


def _groups(results: Results, key: str) -> dict[str, Any]:
    """The results of the page by room or by sender, the group of the first result first."""
    groups: dict[str, list[Found]] = {}
    for each in results.page.found:
        event = each.stored.event
        groups.setdefault(event.room_id if key == ROOM_ID else event.sender, []).append(each)
    answer: dict[str, Any] = {}
    for order, (value, found) in enumerate(groups.items(), 1):
        group: dict[str, Any] = {"order": order, "results": [each.stored.event_id for each in found]}
        if (token := results.next_of(key, value, found[0].stored.room)) is not None:
            group["next_batch"] = token
        answer[value] = group
    return answer


async def _states(
    server: Server, me: Requester, results: Results, wanted: RoomEventFilter
) -> dict[str, Any]:
    assert server.search is not None
    senders: dict[str, set[str]] = {}
    for each in results.page.found:
        senders.setdefault(each.stored.event.room_id, set()).add(each.stored.event.sender)
    answer = {}
    for room_id, shown in senders.items():
        state: Sequence[StoredEvent] = await server.search.state(me.user_id, room_id)
        if wanted.lazy_load_members:
            state = [
                each for each in state if each.event.type != MEMBER or each.event.state_key in shown
            ]
        answer[room_id] = await server.serializer.client_events(state, me.user_id, me.device_id)
    return answer
