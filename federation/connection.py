"""One HTTP/1.1 connection to another server, on httptools' parser: one request at a time, all of it bounded.

https://www.rfc-editor.org/rfc/rfc9112

Twisted's own client keeps any number of response headers, which lets a remote fill the memory with a few
bytes a header; here the head, the body and the silence between two pieces each have a limit.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httptools
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from federation.errors import BadAnswer, Unreachable

MAX_HEAD = 64 * 1024
MAX_HEADERS = 200
MAX_INTERIM = 8
# Until the first byte. Proxies in front of servers wait for one minute, mostly.
PATIENCE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Reply:
    """Header names are lower case; of a repeated header the last value counts."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes | bytearray


class Stale(Unreachable):
    """A kept connection had ended before the request reached anybody."""


class Connection(Protocol):
    """`idle(self)` is called when a request is done and another may follow, `gone(self)` at the end."""

    transport: Any

    def __init__(
        self, reactor: Any, idle: Callable[["Connection"], None], gone: Callable[["Connection"], None]
    ) -> None:
        self._reactor = reactor
        self._on_idle = idle
        self._on_gone = gone
        self._waiting: Deferred[Reply] | None = None
        self._connected = False
        self.requests = 0
        self.idle_since = 0.0
        self._begin(0, 0.0)

    def _begin(self, max_body: int, silence: float) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._body = bytearray()
        self._head_size = 0
        self._header_count = 0
        self._interim = 0
        self._received = False
        self._in_body = False
        self._complete = False
        self._keep = False
        self._max_body = max_body
        self._silence = silence
        self._silence_timer: Any = None

    def connectionMade(self) -> None:
        self._connected = True
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)

    def ask(self, request: bytes, *, max_body: int, silence: float) -> "Deferred[Reply]":
        """Sends a whole request. Cancelling it, as a time limit does, ends the connection."""
        self.requests += 1
        self._begin(max_body, silence)
        self._waiting = Deferred(lambda _: self._abandon())
        if self._connected:
            self._silence_timer = self._reactor.callLater(PATIENCE_SECONDS, self._fall_silent)
            self.transport.write(request)
        else:
            self._fail(Stale("The connection has ended."))
        waiting: Deferred[Reply] = self._waiting
        return waiting

    def close(self) -> None:
        if self._connected:
            self.transport.abortConnection()

    # The transport

    def dataReceived(self, data: bytes) -> None:
        if self._waiting is None:
            self.close()  # nobody asked
            return
        self._received = True
        if not self._in_body:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, ValueError) as error:
            if not self._complete:
                self._fail(BadAnswer(f"The answer cannot be read: {error.__context__ or error}"))
                return
            self.close()
        if self._complete:
            self._finish(self._keep)
        elif not self._in_body and self._head_size > MAX_HEAD:
            self._fail(BadAnswer("The head of the answer is too large."))
        elif self._silence_timer is not None:
            self._silence_timer.reset(self._silence)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._connected = False
        if self._waiting is not None:
            ends_with_connection = self._in_body and not (
                b"content-length" in self._headers or b"transfer-encoding" in self._headers
            )
            if ends_with_connection and isinstance(reason.value, ConnectionDone):
                self._finish(False)
            elif self.requests > 1 and not self._received:
                self._fail(Stale("The kept connection had ended."))
            else:
                self._fail(Unreachable(f"The connection ended: {_why(reason)}"))
        self._on_gone(self)

    # The parser

    def on_message_begin(self) -> None:
        if self._complete:
            self._keep = False  # more than was asked for

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_count += 1
        if self._header_count > MAX_HEADERS:
            raise ValueError("too many headers")
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        if self._complete:
            return
        status = self._parser.get_status_code()
        if status < 200:
            self._interim += 1
            if self._interim > MAX_INTERIM or status == 101:
                raise ValueError("too many interim answers")
            return
        length = self._headers.get(b"content-length", b"")
        if length.isdigit() and int(length[:20]) > self._max_body:
            raise _TooLarge
        self._in_body = True
        self._keep = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        if self._complete:
            return
        if len(self._body) + len(body) > self._max_body:
            raise _TooLarge
        self._body += body

    def on_message_complete(self) -> None:
        if self._in_body:
            self._complete = True
        else:
            self._headers = {}

    # Ending

    def _finish(self, keep: bool) -> None:
        reply = Reply(self._parser.get_status_code(), self._headers, self._body)
        waiting, self._waiting = self._waiting, None
        self._stop_timer()
        self._begin(0, 0.0)
        if keep and self._connected:
            self.idle_since = self._reactor.seconds()
            self._on_idle(self)
        else:
            self.close()
        if waiting is not None:
            waiting.callback(reply)

    def _fail(self, error: Exception) -> None:
        waiting, self._waiting = self._waiting, None
        self._stop_timer()
        self._begin(0, 0.0)
        self.close()
        if waiting is not None:
            waiting.errback(error)

    def _abandon(self) -> None:
        self._waiting = None
        self._stop_timer()
        self.close()

    def _fall_silent(self) -> None:
        self._silence_timer = None
        self._fail(Unreachable("The server fell silent before the end of its answer."))

    def _stop_timer(self) -> None:
        if self._silence_timer is not None and self._silence_timer.active():
            self._silence_timer.cancel()
        self._silence_timer = None


class _TooLarge(ValueError):
    def __str__(self) -> str:
        return "it is too large"


def _why(reason: Failure) -> str:
    value = reason.value
    return f"{type(value).__name__} {value}".strip()
