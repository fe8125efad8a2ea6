"""An HTTPS server for tests whose every answer may be replaced by a worse one.

One thread a connection: an answer may sleep, drip or never end without disturbing the others.
"""

import json
import re
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import orjson


@dataclass(frozen=True)
class Asked:
    operation: str
    method: str
    uri: str
    args: tuple[str, ...]
    """The variable parts of the path, decoded."""
    query: dict[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    origin: str = ""
    """Whose signature the request carried, once it is checked."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)  # exact numbers, as old rooms have them

    def first(self, name: str, default: str = "") -> str:
        return self.query.get(name, [default])[0]


@dataclass(frozen=True)
class Answer:
    """`content` is JSON, or bytes that are sent as they are."""

    content: Any = field(default_factory=dict)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Raw:
    """Written piece by piece as it is, `pause` seconds between, and the connection is closed."""

    pieces: Iterable[bytes]
    pause: float = 0.0


Reply = Answer | Raw | None
"""None: no answer, ever."""
Hook = Callable[[Asked, Callable[[], Answer]], Reply]
"""Gets what is asked, and a function that gives the honest answer."""


class Route:
    def __init__(self, operation: str, method: str, template: str) -> None:
        self.operation = operation
        self.method = method
        self.pattern = re.compile(re.sub(r"\{\w+\}", "([^/]*)", template) + r"\Z")


class HttpsServer(ThreadingHTTPServer):
    """`answer(asked)` is called in a thread of the connection."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        host: str,
        certificate: tuple[Path, Path],
        routes: Iterable[Route],
        answer: Callable[[Asked], Reply],
    ) -> None:
        self.routes = list(routes)
        self.answer = answer
        self.closing = threading.Event()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*certificate)
        self.connections = 0
        super().__init__((host, 0), Connection)
        self.thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that end in the middle are part of the game."""


class Connection(BaseHTTPRequestHandler):
    server: HttpsServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def setup(self) -> None:
        # The handshake belongs to this thread: a client that never finishes it keeps nobody waiting.
        self.request.settimeout(120)
        self.request = self.server.context.wrap_socket(self.request, server_side=True)
        self.server.connections += 1
        super().setup()

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._reply(self.server.answer(self._asked(body)))

    def _asked(self, body: bytes) -> Asked:
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        method = self.command
        for route in self.server.routes:
            if route.method == method and (match := route.pattern.match(path)):
                args = tuple(unquote(each) for each in match.groups())
                return Asked(route.operation, method, self.path, args, parse_qs(query), headers, body)
        return Asked("", method, self.path, (), parse_qs(query), headers, body)

    def _reply(self, reply: Reply) -> None:
        if reply is None:
            self.server.closing.wait(600)
            self.close_connection = True
        elif isinstance(reply, Raw):
            self.close_connection = True
            for piece in reply.pieces:
                self.wfile.write(piece)
                self.wfile.flush()
                if reply.pause and self.server.closing.wait(reply.pause):
                    return
        else:
            content = reply.content
            body = content if isinstance(content, bytes) else _encode(content)
            headers = {"Content-Type": "application/json", **reply.headers, "Content-Length": str(len(body))}
            lines = [f"HTTP/1.1 {reply.status} Status", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
            self.wfile.write("\r\n".join(lines).encode())
            self.wfile.write(body)
            self.wfile.flush()


def _encode(content: Any) -> bytes:
    try:
        return orjson.dumps(content)
    except TypeError:  # integers beyond 64 bits
        return json.dumps(content).encode()


def drip(body: bytes, pause: float, size: int = 1) -> Raw:
    """An honest answer that takes its time."""
    head = f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    return Raw([head, *(body[at : at + size] for at in range(0, len(body), size))], pause)


def flood(megabytes: int, start: bytes = b'{"pdus": [', filling: bytes = b'"x",') -> Raw:
    """JSON that goes on and on."""
    piece = filling * (2**20 // len(filling))

    def pieces() -> Iterable[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" + start
        for _ in range(megabytes):
            yield piece

    return Raw(pieces())
