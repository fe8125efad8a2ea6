"""What authorises an event.

https://spec.matrix.org/v1.19/server-server-api/#retrieving-event-authorisation-information
"""

from federation import served
from federation.participation import room_of_participant
from federation.server.auth import SERVER, Origin
from homeserver.errors import NotFound
from homeserver.http.endpoint import Request, get
from homeserver.server import Server
from storage import events
from storage.auth_chains import auth_chain
from storage.events import REJECTED
from storage.transaction import Transaction


class GetEventAuth(Request, kw_only=True):
    room_id: str
    event_id: str


@get("/_matrix/federation/v1/event_auth/{room_id}/{event_id}", auth=SERVER)
async def get_event_auth(server: Server, me: Origin, req: GetEventAuth) -> bytes:
    room = await room_of_participant(server, me.server_name, req.room_id)

    def read(tx: Transaction) -> bytes:
        stored = events.by_id(tx, [req.event_id]).get(req.event_id)
        if stored is None or stored.room != room.nid or stored.status == REJECTED:
            raise NotFound(f"Could not find event {req.event_id}")
        chain = auth_chain(tx, room.nid, [stored.event.json], room.version.hashed_event_ids)
        return served.answer(auth_chain=served.array(chain.values()))

    return await server.db.read(read)
