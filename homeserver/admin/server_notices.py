"""Sending a notice to a user, on the paths that administration tools know."""

from typing import Any

from homeserver.errors import MatrixError
from homeserver.http.endpoint import ADMIN, Request, Requester, post, put
from homeserver.server import Server

_PATH = "/_synapse/admin/v1/send_server_notice"
_WITH_TXN = _PATH + "/{txn_id}"


class Notice(Request, kw_only=True):
    user_id: str
    content: dict[str, Any]
    type: str = "m.room.message"
    state_key: str | None = None


class NoticeOnce(Notice, kw_only=True):
    txn_id: str


@post(_PATH, auth=ADMIN)
async def send_server_notice(server: Server, me: Requester, req: Notice) -> dict[str, Any]:
    return await _send(server, me, req, None)


@put(_WITH_TXN, auth=ADMIN)
async def send_server_notice_once(server: Server, me: Requester, req: NoticeOnce) -> dict[str, Any]:
    return await _send(server, me, req, req.txn_id)


@post(_WITH_TXN, auth=ADMIN)
async def post_server_notice_once(server: Server, me: Requester, req: NoticeOnce) -> dict[str, Any]:
    return await _send(server, me, req, req.txn_id)


async def _send(server: Server, me: Requester, req: Notice, txn_id: str | None) -> dict[str, Any]:
    notices = server.server_notices
    if notices is None:
        raise MatrixError("Server notices are not enabled on this server.")
    event_id = await notices.send(
        req.user_id, req.content, type=req.type, state_key=req.state_key, asked_by=me.user_id, txn_id=txn_id
    )
    return {"event_id": event_id}
