"""Single events, and the state of a room before an event.

https://spec.matrix.org/v1.19/server-server-api/#retrieving-events
"""

from typing import Annotated, Any, Literal

from federation import served
from federation.participation import room_of_participant
from federation.server.auth import SERVER, Origin
from federation.visibility import ServerSight
from homeserver.errors import InvalidParam, MissingParam, NotFound
from homeserver.http.endpoint import Query, Request, get
from homeserver.rooms.room import Room
from homeserver.server import Server
from storage import events, timeline
from storage.auth_chains import auth_chain
from storage.events import REJECTED, StoredEvent
from storage.state_events import state_events
from storage.transaction import Transaction

_BATCH = 100
_MOST_SCANNED = 1000


class GetRoomState(Request, kw_only=True):
    room_id: str
    event_id: Annotated[str, Query()]


@get("/_matrix/federation/v1/state/{room_id}", auth=SERVER, missing=MissingParam)
async def get_room_state(server: Server, me: Origin, req: GetRoomState) -> bytes:
    room = await room_of_participant(server, me.server_name, req.room_id)

    def read(tx: Transaction) -> bytes:
        state, chain = _state_before(tx, room, req.event_id)
        return served.answer(auth_chain=served.array(chain.values()), pdus=served.array(state.values()))

    return await server.db.read(read)


@get("/_matrix/federation/v1/state_ids/{room_id}", auth=SERVER, missing=MissingParam)
async def get_room_state_ids(server: Server, me: Origin, req: GetRoomState) -> bytes:
    room = await room_of_participant(server, me.server_name, req.room_id)

    def read(tx: Transaction) -> bytes:
        state, chain = _state_before(tx, room, req.event_id)
        return served.answer(
            auth_chain_ids=served.encode(list(chain)), pdu_ids=served.encode(list(state))
        )

    return await server.db.read(read)


def _state_before(tx: Transaction, room: Room, event_id: str) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The state that the event met, and its auth chain, as event ID → JSON."""
    stored = events.by_id(tx, [event_id]).get(event_id)
    if stored is None or stored.room != room.nid or stored.status == REJECTED or stored.state_after is None:
        raise NotFound(f"Could not find event {event_id}")
    if room.partial:
        raise NotFound("This server does not know the whole state of the room yet.")
    state = state_events(tx, stored.state_before) if stored.state_before is not None else {}
    return state, auth_chain(tx, room.nid, state.values(), room.version.hashed_event_ids)


class GetEvent(Request, kw_only=True):
    event_id: str


@get("/_matrix/federation/v1/event/{event_id}", auth=SERVER)
async def get_event(server: Server, me: Origin, req: GetEvent) -> bytes:
    stored = await server.events.get(req.event_id)
    if stored is None or stored.status == REJECTED:
        raise NotFound(f"Could not find event {req.event_id}")
    room = await room_of_participant(server, me.server_name, stored.event.room_id)
    origin, now_ms = server.config.server_name, server.clock.now_ms()

    def read(tx: Transaction) -> bytes:
        sight = ServerSight(tx, room.nid, me.server_name)
        return served.transaction(origin, now_ms, sight.served([stored]))

    return await server.db.read(read)


class GetEventByTimestamp(Request, kw_only=True):
    room_id: str
    ts: Annotated[int, Query()]
    dir: Annotated[Literal["f", "b"], Query()]


@get("/_matrix/federation/v1/timestamp_to_event/{room_id}", auth=SERVER, missing=MissingParam)
async def get_event_by_timestamp(server: Server, me: Origin, req: GetEventByTimestamp) -> dict[str, Any]:
    if not 0 <= req.ts < 2**63:
        raise InvalidParam("That is no moment.")
    room = await room_of_participant(server, me.server_name, req.room_id)

    def read(tx: Transaction) -> StoredEvent | None:
        sight = ServerSight(tx, room.nid, me.server_name)
        for scanned in range(0, _MOST_SCANNED, _BATCH):
            rows = timeline.near(
                tx, room.nid, req.ts, None, backwards=req.dir == "b", skip=scanned, limit=_BATCH
            )
            if visible := sight.visible(rows):
                return visible[0]
            if len(rows) < _BATCH:
                break
        return None

    stored = await server.db.read(read)
    if stored is None:
        direction = "backward" if req.dir == "b" else "forward"
        raise NotFound(f"Unable to find event from {req.ts} in {direction} direction")
    return {"event_id": stored.event_id, "origin_server_ts": stored.event.origin_server_ts}
