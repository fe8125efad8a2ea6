"""Reading what users reported, on the paths that administration tools know.

Reports of events come as other servers' tools expect them; those of rooms and of people have lists of their
own in the same manner.
"""

from typing import Annotated, Any, Literal

from homeserver.errors import InvalidParam, NotFound
from homeserver.http.endpoint import ADMIN, Query, Request, Requester, delete, get
from homeserver.server import Server
from storage.reports import Report

_EVENTS = "/_synapse/admin/v1/event_reports"
_ROOMS = "/_synapse/admin/v1/room_reports"
_USERS = "/_synapse/admin/v1/user_reports"


class ListReports(Request, kw_only=True):
    skip: Annotated[int, Query("from")] = 0
    limit: Annotated[int, Query()] = 100
    dir: Annotated[Literal["f", "b"], Query()] = "b"
    user_id: Annotated[str | None, Query()] = None
    room_id: Annotated[str | None, Query()] = None
    event_sender_user_id: Annotated[str | None, Query()] = None
    target_user_id: Annotated[str | None, Query()] = None


class OneReport(Request, kw_only=True):
    report_id: str

    @property
    def number(self) -> int:
        if not self.report_id.isascii() or not self.report_id.isdigit() or len(self.report_id) > 18:
            raise InvalidParam("The number of a report is a whole number.")
        return int(self.report_id)


@get(_EVENTS, auth=ADMIN)
async def list_event_reports(server: Server, me: Requester, req: ListReports) -> dict[str, Any]:
    reports, response = await _page(server, "event", req)
    response["event_reports"] = [await _event_report(server, report) for report in reports]
    return response


@get(_EVENTS + "/{report_id}", auth=ADMIN)
async def get_event_report(server: Server, me: Requester, req: OneReport) -> dict[str, Any]:
    report = await server.reports.get("event", req.number)
    stored = await server.events.get(report.event_id or "")
    event = {**stored.event.pdu, "event_id": stored.event_id} if stored is not None else None
    return {**await _event_report(server, report), "event_json": event}


@delete(_EVENTS + "/{report_id}", auth=ADMIN)
async def delete_event_report(server: Server, me: Requester, req: OneReport) -> None:
    await server.reports.delete("event", req.number)


@get(_ROOMS, auth=ADMIN)
async def list_room_reports(server: Server, me: Requester, req: ListReports) -> dict[str, Any]:
    reports, response = await _page(server, "room", req)
    response["room_reports"] = [await _room_report(server, report) for report in reports]
    return response


@get(_ROOMS + "/{report_id}", auth=ADMIN)
async def get_room_report(server: Server, me: Requester, req: OneReport) -> dict[str, Any]:
    return await _room_report(server, await server.reports.get("room", req.number))


@delete(_ROOMS + "/{report_id}", auth=ADMIN)
async def delete_room_report(server: Server, me: Requester, req: OneReport) -> None:
    await server.reports.delete("room", req.number)


@get(_USERS, auth=ADMIN)
async def list_user_reports(server: Server, me: Requester, req: ListReports) -> dict[str, Any]:
    reports, response = await _page(server, "user", req)
    response["user_reports"] = [_user_report(report) for report in reports]
    return response


@get(_USERS + "/{report_id}", auth=ADMIN)
async def get_user_report(server: Server, me: Requester, req: OneReport) -> dict[str, Any]:
    return _user_report(await server.reports.get("user", req.number))


@delete(_USERS + "/{report_id}", auth=ADMIN)
async def delete_user_report(server: Server, me: Requester, req: OneReport) -> None:
    await server.reports.delete("user", req.number)


async def _page(
    server: Server, kind: Literal["event", "room", "user"], req: ListReports
) -> tuple[list[Report], dict[str, Any]]:
    wanted = {
        "p.reporter": req.user_id,
        "p.room_id": req.room_id,
        "e.sender": req.event_sender_user_id,
        "p.reported_user": req.target_user_id,
    }
    reports, total = await server.reports.page(
        kind,
        {column: text for column, text in wanted.items() if text is not None},
        skip=req.skip,
        limit=req.limit,
        newest_first=req.dir == "b",
    )
    response: dict[str, Any] = {"total": total}
    following = req.skip + len(reports)
    if reports and following < total:
        response["next_token"] = following
    return reports, response


def _report(report: Report) -> dict[str, Any]:
    return {
        "id": report.number,
        "received_ts": report.ts,
        "reason": report.reason,
        "user_id": report.reporter,
    }


async def _room_report(server: Server, report: Report) -> dict[str, Any]:
    room_id = report.room_id or ""
    shown: dict[str, Any] = {**_report(report), "room_id": room_id, "name": None, "canonical_alias": None}
    try:
        state = (await server.rooms.get(room_id)).head.state.entries
    except NotFound:  # deleted since
        return shown
    for name, type, key in (
        ("name", "m.room.name", "name"),
        ("canonical_alias", "m.room.canonical_alias", "alias"),
    ):
        entry = state.get((type, ""))
        stored = await server.events.get(entry.event_id) if entry is not None else None
        shown[name] = stored.event.content.get(key) if stored is not None else None
    return shown


async def _event_report(server: Server, report: Report) -> dict[str, Any]:
    shown = await _room_report(server, report)
    return {**shown, "event_id": report.event_id, "sender": report.sender, "score": report.score}


def _user_report(report: Report) -> dict[str, Any]:
    return {**_report(report), "target_user_id": report.reported_user}
