"""Remote servers on the loopback interface: one that says whatever a test wants, byte by byte, over TLS."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httptools
import orjson
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import Factory, Protocol

from tests.federation.authority import Authority

the_reactor: Any = reactor


@dataclass(frozen=True)
class Asked:
    method: str
    uri: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


def answer(content: Any, status: int = 200, **headers: str) -> bytes:
    """A whole HTTP answer; `content` may be bytes."""
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    lines = [f"HTTP/1.1 {status} Status", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Remote:
    """`reply(asked)` gives bytes, sent at once; a list of bytes, sent one by one with `pause` seconds
    between; or None: no answer ever. `CLOSE` in a list ends the connection."""

    CLOSE = b"\0close"

    def __init__(
        self,
        authority: Authority,
        reply: Callable[[Asked], bytes | Sequence[bytes] | None],
        names: Sequence[str] = ("localhost", "127.0.0.1"),
        *,
        pause: float = 0.01,
        expired: bool = False,
        plain: bool = False,
    ) -> None:
        self.reply = reply
        self.pause = pause
        self.asked: list[Asked] = []
        self.connections: list[RemoteConnection] = []
        self.opened = 0
        factory: Any = Factory.forProtocol(lambda: RemoteConnection(self))
        factory.noisy = False
        if plain:
            self._port = the_reactor.listenTCP(0, factory, interface="127.0.0.1")
        else:
            context = authority.context_factory(*names, expired=expired)
            self._port = the_reactor.listenSSL(0, factory, context, interface="127.0.0.1")
        self.port: int = self._port.getHost().port

    @property
    def name(self) -> str:
        return f"localhost:{self.port}"

    async def close(self) -> None:
        for connection in list(self.connections):
            connection.transport.abortConnection()
        await maybeDeferred(self._port.stopListening)


class RemoteConnection(Protocol):
    transport: Any

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._timers: list[Any] = []

    def connectionMade(self) -> None:
        self._remote.connections.append(self)
        self._remote.opened += 1
        self._start()

    def connectionLost(self, reason: Any = None) -> None:
        self._remote.connections.remove(self)
        for timer in self._timers:
            if timer.active():
                timer.cancel()

    def _start(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._url, self._body = b"", b""
        self._headers: dict[str, str] = {}

    def dataReceived(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.write(answer({}, 400))
            self.transport.loseConnection()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode()
        asked = Asked(method, self._url.decode(), dict(self._headers), self._body)
        self._url, self._headers, self._body = b"", {}, b""
        self._remote.asked.append(asked)
        reply = self._remote.reply(asked)
        if isinstance(reply, bytes):
            self.transport.write(reply)
        elif reply is not None:
            for index, piece in enumerate(reply):
                self._timers.append(the_reactor.callLater(index * self._remote.pause, self._send, piece))

    def _send(self, piece: bytes) -> None:
        if piece == Remote.CLOSE:
            self.transport.loseConnection()
        else:
            self.transport.write(piece)
