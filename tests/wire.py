"""A Matrix client that costs almost nothing: one keep-alive connection, one request in flight.

The benchmarks and the fault tests share two cores with the server they drive, so the client is a bare
asyncio protocol on httptools (some 65 µs a request) and knows only the handful of calls they need.
https://spec.matrix.org/v1.19/client-server-api/
"""

import asyncio
import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httptools
import orjson

CLIENT = "/_matrix/client/v3"


class Disconnected(Exception):
    """The connection ended before the answer came; whether the server acted is unknown."""


class Refused(Exception):
    """The server answered with an error."""

    def __init__(self, answer: "Answer", what: str) -> None:
        super().__init__(f"{what}: {answer.status} {answer.body[:300]!r}")
        self.status = answer.status


@dataclass(slots=True)
class Answer:
    status: int
    body: bytes
    at: float
    """`time.perf_counter()` when the last byte came."""
    headers: list[tuple[bytes, bytes]]


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.waiting: asyncio.Future[Answer] | None = None
        self.parser: Any = None
        self.body: list[bytes] = []
        self.headers: list[tuple[bytes, bytes]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_exception(Disconnected(repr(exc)))

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        if self.waiting is not None and not self.waiting.done():
            answer = Answer(
                self.parser.get_status_code(), b"".join(self.body), time.perf_counter(), self.headers
            )
            self.waiting.set_result(answer)
        if self.transport is not None and not self.parser.should_keep_alive():
            self.transport.close()
            self.transport = None

    def send(self, data: bytes, waiting: asyncio.Future[Answer]) -> None:
        assert self.transport is not None
        self.parser = httptools.HttpResponseParser(self)
        self.body.clear()
        self.headers = []
        self.waiting = waiting
        self.transport.write(data)


class Wire:
    """A client with one connection, opened when needed; `token` is sent with every request once set."""

    def __init__(self, port: int, token: str = "", host: str = "127.0.0.1") -> None:
        self.host, self.port, self.token = host, port, token
        self.user_id = ""
        self.device_id = ""
        self._connection = _Connection()
        self._serial = 0

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, self._connection = await loop.create_connection(_Connection, self.host, self.port)
        except OSError as problem:
            raise Disconnected(repr(problem)) from problem

    def close(self) -> None:
        if self._connection.transport is not None:
            self._connection.transport.close()

    async def request(
        self, method: str, path: str, body: bytes = b"", kind: str = "application/json"
    ) -> Answer:
        if self._connection.transport is None:
            await self.connect()
        authorization = f"Authorization: Bearer {self.token}\r\n" if self.token else ""
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n{authorization}"
            f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        waiting: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._connection.send(head.encode() + body, waiting)
        try:
            return await waiting
        except asyncio.CancelledError:
            self.close()  # the answer may still come, and would be taken for the next request's
            raise

    async def call(self, method: str, path: str, content: Any = None) -> Any:
        """The decoded answer; anything but 200 raises `Refused`."""
        answer = await self.request(method, path, b"" if content is None else orjson.dumps(content))
        if answer.status != 200:
            raise Refused(answer, f"{method} {path}")
        return orjson.loads(answer.body)

    def transaction(self) -> str:
        self._serial += 1
        return f"t{self._serial}.{time.time_ns()}"

    # Accounts

    async def register(self, name: str, shared_secret: str, password: str = "correct horse battery") -> None:
        """Make an account at the shared-secret endpoint, which both servers keep free of rate limits."""
        nonce = (await self.call("GET", "/_synapse/admin/v1/register"))["nonce"]
        text = "\0".join([nonce, name, password, "notadmin"]).encode()
        mac = hmac.new(shared_secret.encode(), text, hashlib.sha1).hexdigest()
        request = {"nonce": nonce, "username": name, "password": password, "admin": False, "mac": mac}
        made = await self.call("POST", "/_synapse/admin/v1/register", request)
        self.token, self.user_id, self.device_id = made["access_token"], made["user_id"], made["device_id"]

    # Rooms

    async def create_room(self, **options: Any) -> str:
        room_id: str = (await self.call("POST", f"{CLIENT}/createRoom", options))["room_id"]
        return room_id

    async def join(self, room_id: str) -> None:
        await self.call("POST", f"{CLIENT}/join/{quote(room_id, safe='')}", {})

    async def send(self, room_id: str, text: str, transaction: str = "") -> str:
        path = f"{room_path(room_id)}/send/m.room.message/{transaction or self.transaction()}"
        event_id: str = (await self.call("PUT", path, {"msgtype": "m.text", "body": text}))["event_id"]
        return event_id

    async def set_state(self, room_id: str, event_type: str, content: Any, state_key: str = "") -> str:
        path = f"{room_path(room_id)}/state/{event_type}/{quote(state_key, safe='')}"
        event_id: str = (await self.call("PUT", path, content))["event_id"]
        return event_id

    async def messages(self, room_id: str, start: str = "", direction: str = "b", **more: Any) -> Any:
        query = {"dir": direction, "limit": 100, **more} | ({"from": start} if start else {})
        return await self.call("GET", f"{room_path(room_id)}/messages?{_query(query)}")

    async def event(self, room_id: str, event_id: str) -> Any:
        return await self.call("GET", f"{room_path(room_id)}/event/{quote(event_id, safe='')}")

    async def sync(self, since: str = "", timeout: int = 0, sync_filter: Any = None) -> Any:
        return await self.call("GET", sync_path(since, timeout, sync_filter))


def room_path(room_id: str) -> str:
    return f"{CLIENT}/rooms/{quote(room_id, safe='')}"


def sync_path(since: str = "", timeout: int = 0, sync_filter: Any = None) -> str:
    query: dict[str, Any] = {"timeout": timeout}
    if since:
        query["since"] = since
    if sync_filter is not None:
        query["filter"] = json.dumps(sync_filter, separators=(",", ":"))
    return f"{CLIENT}/sync?{_query(query)}"


def _query(values: dict[str, Any]) -> str:
    return "&".join(f"{name}={quote(str(value), safe='')}" for name, value in values.items())
