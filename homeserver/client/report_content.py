"""Reporting events, rooms and people.

https://spec.matrix.org/v1.19/client-server-api/#reporting-content
"""

from homeserver.http.endpoint import USER, Request, post
from homeserver.http.requester import Requester
from homeserver.server import Server

_ROOM = "/_matrix/client/v3/rooms/{room_id}/report"


class ReportRoom(Request, kw_only=True):
    room_id: str
    reason: str


class ReportEvent(Request, kw_only=True):
    room_id: str
    event_id: str
    reason: str | None = None
    score: int | None = None


class ReportUser(Request, kw_only=True):
    user_id: str
    reason: str


@post(_ROOM, auth=USER, rate="report")
async def report_room(server: Server, me: Requester, req: ReportRoom) -> None:
    await server.reports.report_room(me.user_id, req.room_id, req.reason)


@post(_ROOM + "/{event_id}", auth=USER, rate="report")
async def report_event(server: Server, me: Requester, req: ReportEvent) -> None:
    await server.reports.report_event(me.user_id, req.room_id, req.event_id, req.reason, req.score)


@post("/_matrix/client/v3/users/{user_id}/report", auth=USER, rate="report")
async def report_user(server: Server, me: Requester, req: ReportUser) -> None:
    await server.reports.report_user(me.user_id, req.user_id, req.reason)
