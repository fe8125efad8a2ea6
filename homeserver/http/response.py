"""Rendering: every response, errors included, is made here and leaves as one block of bytes.

https://spec.matrix.org/v1.19/client-server-api/#web-browser-clients (CORS on everything)
https://spec.matrix.org/v1.19/client-server-api/#standard-error-response

The heads of the common statuses are joined once: an ordinary answer costs one concatenation.
"""

from http import HTTPStatus
from typing import Any

import orjson

from homeserver.errors import LimitExceeded, MatrixError
from homeserver.protocol import canonical_json

_CORS = (
    b"Access-Control-Allow-Origin: *\r\n"
    b"Access-Control-Allow-Methods: GET, HEAD, POST, PUT, DELETE, OPTIONS\r\n"
    b"Access-Control-Allow-Headers: X-Requested-With, Content-Type, Authorization, Date,"
    b" If-Match, If-None-Match\r\n"
    b"Access-Control-Expose-Headers: Retry-After, ETag\r\n"
)
_JSON = b"Content-Type: application/json\r\n"
_NO_STORE = b"Cache-Control: no-store\r\n"
"""Two accounts in one browser ask for the same URL, and are not to wait for, or get, each other's answer."""


def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Status"
    return f"HTTP/1.1 {status} {phrase}\r\nServer: Hearth\r\n".encode()


_HEADS = {status.value: _status_line(status.value) + _CORS for status in HTTPStatus}
_JSON_HEADS = {status: head + _NO_STORE + _JSON + b"Content-Length: " for status, head in _HEADS.items()}
_OK = _JSON_HEADS[200]


class Response:
    """An answer other than "200 with JSON": a status, headers, or a body that is not JSON."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self, status: int = 200, body: bytes | dict[str, Any] = b"{}", headers: dict[str, str] | None = None
    ) -> None:
        self.status = status
        self.body = body
        self.headers = headers or {}


class Rendered:
    """Head (without the blank line's end) and body apart, so that HEAD can leave the body out."""

    __slots__ = ("body", "head", "status")

    def __init__(self, status: int, head: bytes, body: bytes) -> None:
        self.status = status
        self.head = head
        self.body = body


def render(result: Any) -> Rendered:
    """What a handler returned: None, dict, JSON bytes or a Response."""
    if result is None:
        return _EMPTY
    kind = type(result)
    if kind is bytes:
        body = result
    elif kind is dict or kind is list:
        body = canonical_json.write(result)
    elif kind is Response:
        return _render_response(result)
    else:
        raise TypeError(f"a handler returned {kind.__name__}")
    return Rendered(200, b"%b%d\r\n" % (_OK, len(body)), body)


def _render_response(response: Response) -> Rendered:
    status = response.status
    body = response.body if isinstance(response.body, bytes) else orjson.dumps(response.body)
    if not response.headers:
        return Rendered(status, b"%b%d\r\n" % (_JSON_HEADS[status], len(body)), body)
    lines = [_HEADS[status]]
    has_body = status not in (204, 304)
    given = {name.lower() for name in response.headers}
    if "cache-control" not in given:
        lines.append(_NO_STORE)
    if has_body and "content-type" not in given:
        lines.append(_JSON)
    for name, value in response.headers.items():
        if "\r" in value or "\n" in value:
            raise ValueError("a header value contains a line break")
        lines.append(f"{name}: {value}\r\n".encode())
    if has_body:
        lines.append(b"Content-Length: %d\r\n" % len(body))
    return Rendered(status, b"".join(lines), body)


def render_error(error: MatrixError) -> Rendered:
    response = Response(error.status, error.body())
    if isinstance(error, LimitExceeded):
        response.headers["Retry-After"] = str(-(-error.retry_after_ms // 1000))
    return _render_response(response)


def _preflight() -> Rendered:
    return _render_response(Response(200, b"{}", {"Access-Control-Max-Age": "86400"}))


_EMPTY = Rendered(200, b"%b2\r\n" % _OK, b"{}")
PREFLIGHT = _preflight()
INTERNAL_ERROR = render_error(MatrixError("Internal server error.", status=500))
