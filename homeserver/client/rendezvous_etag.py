"""Signing in by QR code, the channel between the devices: MSC4108 as of 2024, which clients still speak.

https://github.com/matrix-org/matrix-spec-proposals/pull/4108

The payload is the plain body; its version is an ETag. Creating answers with a URL, and no request needs a
token.
"""

from email.utils import formatdate
from typing import Any

from homeserver.accounts.rendezvous import ConcurrentWrite, Session
from homeserver.client.rendezvous import sessions
from homeserver.errors import InvalidParam, MissingParam
from homeserver.http.endpoint import OPEN, HttpRequest, Request, Response, delete, get, post, put
from homeserver.server import Server

PROTOCOL = "org.matrix.msc4108"
_PATH = f"/_matrix/client/unstable/{PROTOCOL}/rendezvous"
_NO_CACHE = {"Cache-Control": "no-store, no-transform", "Pragma": "no-cache"}
# More than a payload may have: what is a little too large is answered, and the connection goes on.
MAX_BODY = 65_536


class OneSession(Request, kw_only=True):
    session_id: str


@post(_PATH, auth=OPEN, rate="rendezvous_create", raw=True, max_body=MAX_BODY)
def create_etag_session(server: Server, http: HttpRequest) -> Response:
    session = sessions(server).create(PROTOCOL, _text(http))
    base_url = (server.config.public_baseurl or f"https://{server.config.server_name}").rstrip("/")
    return Response(201, {"url": f"{base_url}{_PATH}/{session.id}"}, _headers(session))


@get(_PATH + "/{session_id}", auth=OPEN, rate="rendezvous")
def get_etag_payload(server: Server, http: HttpRequest, req: OneSession) -> Response:
    session = sessions(server).get(PROTOCOL, req.session_id)
    if session.version in _etags(http, b"if-none-match"):
        return Response(304, b"", _headers(session))
    return Response(
        200,
        session.data.encode(),
        {**_headers(session), "Content-Type": "text/plain", "X-Content-Type-Options": "nosniff"},
    )


@put(_PATH + "/{session_id}", auth=OPEN, rate="rendezvous", raw=True, max_body=MAX_BODY)
def put_etag_payload(server: Server, http: HttpRequest, req: OneSession) -> Response:
    if b"if-match" not in http.headers:
        raise MissingParam("The header If-Match is missing.")
    [version] = _etags(http, b"if-match")[:1] or [""]
    try:
        session = sessions(server).replace(PROTOCOL, req.session_id, _text(http), version)
    except ConcurrentWrite as error:
        body: dict[str, Any] = {
            "errcode": "M_UNKNOWN",
            "org.matrix.msc4108.errcode": "M_CONCURRENT_WRITE",
            "error": "The payload has changed.",
        }
        return Response(412, body, _headers(error.session))
    return Response(202, b"", _headers(session))


@delete(_PATH + "/{session_id}", auth=OPEN, rate="rendezvous")
def delete_etag_session(server: Server, req: OneSession) -> Response:
    sessions(server).delete(PROTOCOL, req.session_id)
    return Response(204, b"")


def _headers(session: Session) -> dict[str, str]:
    return {
        "ETag": f'"{session.version}"',
        "Expires": formatdate(session.expires / 1000, usegmt=True),
        "Last-Modified": formatdate(session.modified / 1000, usegmt=True),
        **_NO_CACHE,
    }


def _etags(http: HttpRequest, header: bytes) -> list[str]:
    given = http.headers.get(header, b"").decode("latin-1").split(",")
    return [each.strip().removeprefix("W/").strip('"') for each in given]


def _text(http: HttpRequest) -> str:
    kind = http.headers.get(b"content-type", b"text/plain").partition(b";")[0].strip().lower()
    if kind != b"text/plain":
        raise InvalidParam("The payload must be text/plain.")
    try:
        return http.body.decode()
    except UnicodeDecodeError:
        raise InvalidParam("The payload is not UTF-8.") from None
