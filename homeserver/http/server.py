"""One HTTP/1.1 connection, on httptools' parser and a bare Twisted protocol.

https://www.rfc-editor.org/rfc/rfc9112

Requests on a connection are answered strictly one after another: a request that arrives while another
runs waits in `_waiting`, and when a few wait, or the client does not read its answers, reading stops.
That one rule gives pipelining its order and bounds what a connection may hold.

Time limits are kept by one sweep over all connections (`HttpFactory.sweep`) rather than a timer for each
request: the sweep costs microseconds, timers would cost as much as the request.
"""

from collections import deque
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any

import httptools
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress, IPushProducer, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.tcp import Connection as TcpConnection
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from homeserver.errors import MatrixError, TooLarge
from homeserver.http.application import Application
from homeserver.http.context import request_id
from homeserver.http.endpoint import MAX_BODY
from homeserver.http.request import HttpRequest
from homeserver.http.response import INTERNAL_ERROR, Rendered

log = Logger()

MAX_HEAD = 32 * 1024
MAX_WAITING = 32
HEAD_SECONDS = 30.0
STALL_SECONDS = 30.0
IDLE_SECONDS = 180.0
LINGER_SECONDS = 2.0


@implementer(IPushProducer)
class HttpConnection(Protocol):
    transport: Any

    def __init__(self, factory: "HttpFactory") -> None:
        self.http = factory
        self._application = factory.application
        self._parser = httptools.HttpRequestParser(self)
        self._request: HttpRequest | None = None
        self._in_head = False
        self._head_size = 0
        self._url = b""
        self._waiting: deque[HttpRequest] = deque()
        self._running: HttpRequest | None = None
        self._refused: HttpRequest | None = None
        self._deferred: Deferred[Rendered] | None = None
        self._expects_continue = False
        self._connected = True
        self._sends_at_once = False
        # After a fatal error or "Connection: close": what still arrives is thrown away.
        self._closing = False
        self._clogged = False
        self._paused = False
        # When the head began, when bytes last arrived, when writing got stuck: see `overdue`.
        self._head_since = 0.0
        self._active = 0.0
        self._clogged_since = 0.0

    # The transport

    def connectionMade(self) -> None:
        self._active = self.http.now()
        self._peer = getattr(self.transport.getPeer(), "host", "")
        self.http.connections.add(self)
        self.transport.registerProducer(self, True)
        self._sends_at_once = isinstance(self.transport, TcpConnection)
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        if self._closing:
            return
        self._active = self.http.now()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError:
            log.failure("reading a request failed")
            self.abort()
        except httptools.HttpParserError:
            if not self._closing:
                self._refuse(MatrixError("The request is not valid HTTP."))
        if self._in_head and not self._closing:
            self._head_size += len(data)
            if self._head_size > MAX_HEAD + 65536:
                self._refuse(_head_too_large())

    def _ignore_upgrade(self, rest: bytes) -> None:
        """An offer of HTTP/2 or the like, as some clients make with every first request.

        A server may ignore it, but the parser has already left HTTP before the body: it reads the head
        again, without the offer.
        """
        request = self._request
        if self._closing or request is None:
            return
        if self._parser.get_method() == b"CONNECT":
            self._refuse(MatrixError("This is no proxy.", status=405, errcode="M_UNRECOGNIZED"))
            return
        lines = [b"%b %b HTTP/1.1" % (self._parser.get_method(), self._url)]
        for name, value in request.headers.items():
            if name not in (b"upgrade", b"connection"):
                lines.append(b"%b: %b" % (name, value))
        self._parser = httptools.HttpRequestParser(self)
        self.dataReceived(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._connected = False
        self._closing = True
        self.http.connections.discard(self)
        self._waiting.clear()
        self._request = None
        running, deferred = self._running, self._deferred
        if running is not None and deferred is not None:
            assert running.endpoint is not None
            if running.endpoint.cancel_on_disconnect:
                deferred.cancel()

    def pauseProducing(self) -> None:
        """The client is not reading its answers."""
        self._clogged = True
        self._clogged_since = self.http.now()
        self._pause()

    def resumeProducing(self) -> None:
        self._clogged = False
        self._advance()

    def stopProducing(self) -> None:
        self._clogged = True

    # The parser

    def on_message_begin(self) -> None:
        self._in_head = True
        self._head_size = 0
        self._url = b""
        self._head_since = self._active
        self._request = self._application.new_request(self._peer)

    def on_url(self, url: bytes) -> None:
        self._url += url
        if self._request is not None:
            self._request.size += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        request = self._request
        if self._closing or request is None:
            return
        request.size += len(name) + len(value)
        if request.size > MAX_HEAD:
            self._refuse(_head_too_large())
            return
        request.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        request = self._request
        if self._closing or request is None or self._parser.should_upgrade():
            return
        self._in_head = False
        self._head_size = 0
        request.size = 0
        request.method = self._parser.get_method().decode("ascii", "replace")
        request.keep_alive = self._parser.should_keep_alive()
        path, _, query = self._url.decode("latin-1").partition("?")
        if not path.startswith("/"):
            # The absolute form, which proxies send: http://host/path.
            path = "/" + path.partition("://")[2].partition("/")[2]
        request.path = path
        request.query = query
        headers = request.headers
        if self.http.x_forwarded and b"x-forwarded-for" in headers:
            # The last entry is the one our own proxy wrote; those before it are the client's to forge.
            request.address = headers[b"x-forwarded-for"].rpartition(b",")[2].strip().decode("latin-1")
        self._application.route(request)
        length = headers.get(b"content-length")
        if length is not None and int(length) > self._max_body(request):
            self._refuse(TooLarge("The request body is too large."))
        elif b"expect" in headers and headers[b"expect"].lower() == b"100-continue":
            self._expects_continue = True
            self._continue_if_first()

    def on_body(self, body: bytes) -> None:
        request = self._request
        if self._closing or request is None:
            return
        request.size += len(body)
        if request.size > self._max_body(request):
            self._refuse(TooLarge("The request body is too large."))
        elif request.endpoint is not None:
            request.chunks.append(body)

    def on_message_complete(self) -> None:
        request = self._request
        if self._closing or request is None or self._in_head:
            return
        self._request = None
        self._expects_continue = False
        chunks = request.chunks
        if chunks:
            request.body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            request.chunks = []
        self._waiting.append(request)
        if self._running is None and not self._clogged:
            self._advance()
        elif len(self._waiting) >= MAX_WAITING:
            self._pause()

    @staticmethod
    def _max_body(request: HttpRequest) -> int:
        return request.endpoint.max_body if request.endpoint is not None else MAX_BODY

    def _continue_if_first(self) -> None:
        if self._expects_continue and self._running is None and not self._waiting:
            self._expects_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    # Answering

    def _advance(self) -> None:
        """Runs what waits, one after another, until one suspends or nothing is left."""
        while self._waiting and self._running is None and not self._clogged and self._connected:
            self._run(self._waiting.popleft())
        if self._connected and not self._clogged:
            if self._paused and len(self._waiting) < MAX_WAITING:
                self._paused = False
                self.transport.resumeProducing()
            if self._expects_continue:
                self._continue_if_first()

    def _pause(self) -> None:
        if not self._paused and self._connected:
            self._paused = True
            self.transport.pauseProducing()

    def _run(self, request: HttpRequest) -> None:
        self._running = request
        token = request_id.set(request.id)
        try:
            running = self._application.respond(request)
            try:
                awaited = running.send(None)
            except StopIteration as finished:
                self._answer(request, finished.value)
                return
            deferred = Deferred.fromCoroutine(_resume(running, awaited))
        finally:
            request_id.reset(token)
        self._deferred = deferred
        deferred.addCallback(self._answer_later, request)
        deferred.addErrback(self._failed, request)

    def _answer_later(self, rendered: Rendered, request: HttpRequest) -> None:
        self._deferred = None
        self._answer(request, rendered)
        self._advance()

    def _failed(self, failure: Failure, request: HttpRequest) -> None:
        if self._connected or not isinstance(failure.value, CancelledError):
            log.failure("{method} {path} failed", failure, method=request.method, path=request.path)
        self._answer_later(INTERNAL_ERROR, request)

    def _answer(self, request: HttpRequest, rendered: Rendered) -> None:
        self._running = None
        if not self._connected:
            return
        body = b"" if request.method == "HEAD" else rendered.body
        if request.keep_alive:
            self._send(b"%b\r\n%b" % (rendered.head, body))
        else:
            self._send(b"%bConnection: close\r\n\r\n%b" % (rendered.head, body))
            self._closing = True
            self._waiting.clear()
            if request is not self._refused:  # whose connection lingers
                self.close()
        if self.http.access_log:
            log.info("{address} {method} {path} {status} {size}", address=request.address,
                     method=request.method, path=request.path, status=rendered.status, size=len(body))

    def _send(self, data: bytes) -> None:
        """At once where nothing waits before it.

        `write` has epoll watch the socket, sends in the reactor's next turn and has epoll watch no longer.
        """
        transport = self.transport
        if self._sends_at_once and not transport.dataBuffer and not transport._tempDataBuffer:
            sent = transport.writeSomeData(data)
            if type(sent) is int:  # else what went wrong, which the next turn notices, too
                if sent == len(data):
                    return
                data = data[sent:]
        transport.write(data)

    def _refuse(self, error: MatrixError) -> None:
        """The rest of the stream is unreadable or unwanted: what was asked before is answered, then this.

        The answer is in the client's hands before the connection goes: closing while its bytes are still
        arriving would reset the connection and take the answer with it.
        """
        request = self._request or self._application.new_request(self._peer)
        self._request = None
        self._in_head = False
        self._closing = True
        request.chunks = []
        request.failure = error
        request.keep_alive = False
        self._refused = request
        self._waiting.append(request)
        self._advance()
        self.http.reactor.callLater(LINGER_SECONDS, self.close)

    def close(self) -> None:
        if self._connected:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def overdue(self, now: float) -> bool:
        """Whether the client has kept this connection waiting for too long."""
        if self._clogged:
            return now - self._clogged_since > STALL_SECONDS
        if self._running is not None:
            return False
        if self._in_head:
            return now - self._head_since > HEAD_SECONDS
        if self._request is not None:
            return now - self._active > STALL_SECONDS
        return now - self._active > IDLE_SECONDS

    def abort(self) -> None:
        if self._connected:
            self.transport.abortConnection()


@coroutine
def _resume(running: Coroutine[Any, Any, Rendered], awaited: Any) -> Generator[Any, Any, Rendered]:
    """Goes on with a coroutine that was already started and is waiting for `awaited`."""
    try:
        while True:
            try:
                value = yield awaited
            except GeneratorExit:
                running.close()
                raise
            except Exception as error:
                awaited = running.throw(error)
            else:
                awaited = running.send(value)
    except StopIteration as finished:
        rendered: Rendered = finished.value
        return rendered


def _head_too_large() -> MatrixError:
    return MatrixError("The request's head is too large.", status=431, errcode="M_TOO_LARGE")


class HttpFactory(Factory):
    """Give it to `listenTCP` or `listenSSL`. `x_forwarded`: a proxy of ours stands in front."""

    noisy = False

    def __init__(
        self, application: Application, reactor: Any, *, x_forwarded: bool = False, access_log: bool = False
    ) -> None:
        self.application = application
        self.reactor = reactor
        self.x_forwarded = x_forwarded
        self.access_log = access_log
        self.connections: set[HttpConnection] = set()
        self.now = reactor.seconds
        self._sweeper: Any = None

    def buildProtocol(self, addr: IAddress | None) -> HttpConnection:
        return HttpConnection(self)

    def startFactory(self) -> None:
        self._sweeper = self.reactor.callLater(5, self.sweep)

    def stopFactory(self) -> None:
        if self._sweeper is not None and self._sweeper.active():
            self._sweeper.cancel()
        self._sweeper = None

    def sweep(self) -> None:
        now = self.now()
        for connection in [each for each in self.connections if each.overdue(now)]:
            connection.abort()
        self._sweeper = self.reactor.callLater(5, self.sweep)
