"""A room's history, for servers that have not seen it.

https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events
"""

from typing import Annotated

from federation import served
from federation.participation import room_of_participant
from federation.server.auth import SERVER, Origin
from federation.visibility import ServerSight
from homeserver.errors import InvalidParam, MissingParam
from homeserver.http.endpoint import Query, Request, get, post
from homeserver.protocol.ids import is_valid_event_id
from homeserver.server import Server
from storage import predecessors
from storage.transaction import Transaction

MOST_BACKFILLED = 100
MOST_MISSING = 20
MOST_NAMED = 100


class Backfill(Request, kw_only=True):
    room_id: str
    v: list[str]
    limit: Annotated[int, Query()]


@get("/_matrix/federation/v1/backfill/{room_id}", auth=SERVER, missing=MissingParam)
async def backfill(server: Server, me: Origin, req: Backfill) -> bytes:
    start = _named(req.v)
    room = await room_of_participant(server, me.server_name, req.room_id)
    limit = max(0, min(req.limit, MOST_BACKFILLED))
    origin, now_ms = server.config.server_name, server.clock.now_ms()

    def read(tx: Transaction) -> bytes:
        found = predecessors.before_and_including(tx, room.nid, start, limit)
        sight = ServerSight(tx, room.nid, me.server_name)
        return served.transaction(origin, now_ms, sight.served(found))

    return await server.db.read(read)


class GetMissingPreviousEvents(Request, kw_only=True):
    room_id: str
    earliest_events: list[str]
    latest_events: list[str]
    limit: int = 10
    min_depth: int = 0


@post("/_matrix/federation/v1/get_missing_events/{room_id}", auth=SERVER)
async def get_missing_previous_events(server: Server, me: Origin, req: GetMissingPreviousEvents) -> bytes:
    earliest, latest = _named(req.earliest_events), _named(req.latest_events)
    room = await room_of_participant(server, me.server_name, req.room_id)
    limit = max(0, min(req.limit, MOST_MISSING))

    def read(tx: Transaction) -> bytes:
        found = predecessors.between(tx, room.nid, earliest, latest, limit, req.min_depth)
        sight = ServerSight(tx, room.nid, me.server_name)
        return served.answer(events=served.array(sight.served(found)))

    return await server.db.read(read)


def _named(event_ids: list[str]) -> list[str]:
    """What may be event IDs; there are no events under anything else."""
    if len(event_ids) > MOST_NAMED:
        raise InvalidParam(f"At most {MOST_NAMED} events are named.")
    return [each for each in event_ids if is_valid_event_id(each)]
