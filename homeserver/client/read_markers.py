"""The fully read marker, with receipts on the way.

https://spec.matrix.org/v1.19/client-server-api/#fully-read-markers
"""

import msgspec

from homeserver.http.endpoint import USER, Request, post
from homeserver.http.requester import Requester
from homeserver.server import Server


class SetReadMarkers(Request, kw_only=True):
    room_id: str
    fully_read: str | None = msgspec.field(default=None, name="m.fully_read")
    read: str | None = msgspec.field(default=None, name="m.read")
    read_private: str | None = msgspec.field(default=None, name="m.read.private")


@post("/_matrix/client/v3/rooms/{room_id}/read_markers", auth=USER, rate="receipt")
async def set_read_marker(server: Server, me: Requester, req: SetReadMarkers) -> None:
    given = {"m.fully_read": req.fully_read, "m.read": req.read, "m.read.private": req.read_private}
    markers = {kind: event_id for kind, event_id in given.items() if event_id is not None}
    await server.receipts.mark(me.user_id, req.room_id, markers)
    server.presence.active(me.user_id)
