"""Signing in by QR code, the channel between the devices: MSC4388.

https://github.com/matrix-org/matrix-spec-proposals/pull/4388

Making a session takes an account, as the proposal has it by default; using one takes its ID.
"""

from typing import Any

from homeserver.accounts.rendezvous import ConcurrentWrite, Rendezvous
from homeserver.errors import Forbidden, MatrixError, Unrecognized
from homeserver.http.endpoint import OPEN, OPTIONAL, HttpRequest, Request, delete, get, post, put
from homeserver.http.requester import Requester
from homeserver.server import Server

PROTOCOL = "io.element.msc4388"
_PATH = f"/_matrix/client/unstable/{PROTOCOL}/rendezvous"


class CreateSession(Request, kw_only=True):
    data: str


class OneSession(Request, kw_only=True):
    session_id: str


class SendPayload(Request, kw_only=True):
    session_id: str
    sequence_token: str
    data: str


@get(_PATH, auth=OPTIONAL, rate="rendezvous", guests=True)
def discover_rendezvous(server: Server, me: Requester | None) -> dict[str, bool]:
    sessions(server)
    return {"create_available": _may_create(me)}


@post(_PATH, auth=OPTIONAL, rate="rendezvous_create", guests=True)
def create_session(server: Server, me: Requester | None, req: CreateSession) -> dict[str, Any]:
    if not _may_create(me):
        raise Forbidden("Only somebody with an account here may do this.")
    session = sessions(server).create(PROTOCOL, req.data)
    return {
        "id": session.id,
        "sequence_token": session.version,
        "expires_in_ms": server.rendezvous.remaining_ms(session),
    }


@get(_PATH + "/{session_id}", auth=OPEN, rate="rendezvous")
def get_payload(server: Server, http: HttpRequest, req: OneSession) -> dict[str, Any]:
    # Nobody is to be led here by a link: what strangers wrote is not for a browser to show.
    fetched = http.headers.get(b"sec-fetch-mode"), http.headers.get(b"sec-fetch-dest")
    if fetched[0] == b"navigate" or fetched[1] == b"document":
        raise Forbidden("This is no page.")
    session = sessions(server).get(PROTOCOL, req.session_id)
    return {
        "data": session.data,
        "sequence_token": session.version,
        "expires_in_ms": server.rendezvous.remaining_ms(session),
    }


@put(_PATH + "/{session_id}", auth=OPEN, rate="rendezvous")
def send_payload(server: Server, req: SendPayload) -> dict[str, str]:
    try:
        session = sessions(server).replace(PROTOCOL, req.session_id, req.data, req.sequence_token)
    except ConcurrentWrite as error:
        session = error.session
        if session.data != req.data:  # else it is the same request again, whose answer was lost
            raise MatrixError(
                "The payload has changed.", status=409, errcode="IO_ELEMENT_MSC4388_CONCURRENT_WRITE"
            ) from None
    return {"sequence_token": session.version}


@delete(_PATH + "/{session_id}", auth=OPEN, rate="rendezvous")
def cancel_session(server: Server, req: OneSession) -> None:
    sessions(server).delete(PROTOCOL, req.session_id)


def sessions(server: Server) -> Rendezvous:
    if not server.rendezvous.enabled:
        raise Unrecognized("Unrecognized request.")
    return server.rendezvous


def _may_create(me: Requester | None) -> bool:
    return me is not None and not me.is_guest
