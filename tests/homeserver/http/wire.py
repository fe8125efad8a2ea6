"""A connection without a socket: bytes in, parsed answers out, on a clock that stands still."""

from types import SimpleNamespace
from typing import Any, NamedTuple

import httptools
import orjson
from twisted.internet import task
from twisted.internet.address import IPv4Address

from homeserver.accounts.requester import Requester
from homeserver.accounts.token_cache import Identity
from homeserver.errors import BadJson, UnknownToken
from homeserver.http.application import Application
from homeserver.http.endpoint import MAX_BODY, OPEN, Endpoint
from homeserver.http.rate_limit import RateLimits
from homeserver.http.server import HttpConnection, HttpFactory
from tests.homeserver.sync.fakes import FakeClock

DEFAULTS: dict[str, Any] = {
    "auth": OPEN, "aliases": (), "rate": None, "guests": False, "writes": False, "locked": False,
    "raw": False, "max_body": MAX_BODY, "cancel_on_disconnect": False, "missing": BadJson,
}


def endpoint(method: str, path: str, handler: Any, **options: Any) -> Endpoint:
    """An endpoint that stays out of the table of the real ones."""
    return Endpoint(method, path, handler, **{**DEFAULTS, **options})


class FakeTokens:
    def __init__(self, clock: FakeClock) -> None:
        self.known: dict[str, Identity] = {}
        self.looked_up: list[str] = []

    def add(self, token: str, user_id: str, **flags: Any) -> None:
        about = {name: flags.pop(name) for name in ("is_guest", "is_admin") if name in flags}
        self.known[token] = Identity(Requester(user_id, "DEVICE", **about), **flags)

    def cached(self, token: str) -> Identity | None:
        return self.known.get(token) if token in self.looked_up else None

    async def find(self, token: str) -> Identity:
        self.looked_up.append(token)
        if token not in self.known:
            raise UnknownToken
        return self.known[token]


class FakeDevices:
    def seen(self, requester: Requester, now: int) -> None:
        pass


class Transport:
    """What a connection does to its transport."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.disconnecting = False
        self.reading = True

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def value(self) -> bytes:
        return b"".join(self.writes)

    def getPeer(self) -> IPv4Address:  # noqa: N802
        return IPv4Address("TCP", "192.0.2.1", 4000)

    def registerProducer(self, producer: object, streaming: bool) -> None:  # noqa: N802
        pass

    def unregisterProducer(self) -> None:  # noqa: N802
        pass

    def pauseProducing(self) -> None:  # noqa: N802
        self.reading = False

    def resumeProducing(self) -> None:  # noqa: N802
        self.reading = True

    def loseConnection(self) -> None:  # noqa: N802
        self.disconnecting = True

    abortConnection = loseConnection  # noqa: N815


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class Wire:
    """One connection to some endpoints; `connect` opens more to the same application."""

    def __init__(
        self, *endpoints: Endpoint, limits: RateLimits | None = None, x_forwarded: bool = False
    ) -> None:
        self.clock = FakeClock()
        self.tokens = FakeTokens(self.clock)
        server: Any = SimpleNamespace(clock=self.clock, tokens=self.tokens, devices=FakeDevices())
        self.application = Application(server, endpoints, limits)
        self.factory = HttpFactory(self.application, self.clock.reactor, x_forwarded=x_forwarded)
        self.connection, self.transport = self.connect()

    @property
    def reactor(self) -> task.Clock:
        return self.clock.reactor

    def connect(self) -> tuple[HttpConnection, Transport]:
        connection = self.factory.buildProtocol(None)
        transport = Transport()
        connection.transport = transport
        connection.connectionMade()
        return connection, transport

    def disconnect(self) -> None:
        self.connection.connectionLost()

    def send(self, data: bytes) -> list[Answer]:
        """The answers there are so far to all that was sent and not yet read."""
        self.connection.dataReceived(data)
        return self.answers()

    def answers(self) -> list[Answer]:
        data = self.transport.value()
        self.transport.writes.clear()
        return parse(data)

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        (answer,) = self.send("\r\n".join([*lines, "", ""]).encode() + (body or b""))
        return answer


def parse(data: bytes) -> list[Answer]:
    answers: list[Answer] = []

    class Reader:
        def on_message_begin(self) -> None:
            self.headers: dict[str, str] = {}
            self.body = b""

        def on_header(self, name: bytes, value: bytes) -> None:
            self.headers[name.decode()] = value.decode()

        def on_body(self, body: bytes) -> None:
            self.body += body

        def on_message_complete(self) -> None:
            answers.append(Answer(parser.get_status_code(), self.headers, self.body))

    parser: Any = httptools.HttpResponseParser(Reader())
    if data:
        parser.feed_data(data)
    return answers
