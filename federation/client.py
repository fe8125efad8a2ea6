"""Asking other servers: found, signed, limited, and remembered if they do not answer.

https://spec.matrix.org/v1.19/server-server-api/#request-authentication

The name before any delegation is what is signed, and what everything is remembered under. Each server has
a few slots of its own, so one that answers slowly keeps nobody else waiting.
"""

from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import orjson
from twisted.internet.defer import Deferred

from federation.connection import Reply
from federation.destinations import Destinations
from federation.discovery import Discovery
from federation.errors import BadAnswer, Refused, Unreachable
from federation.http_client import HttpClient
from federation.request_signing import authorize
from federation.whitelist import Whitelist
from homeserver.protocol import canonical_json
from homeserver.protocol.signing import SigningKey

T = TypeVar("T")
Json = dict[str, Any]
Query = Mapping[str, str | int | Sequence[str]]
Content = Mapping[str, Any] | bytes

USER_AGENT = "Hearth"
SLOTS = 12
MAX_WAITING = 200
# Statuses of a server that is there but does not work, its proxy's included.
AWAY = frozenset({429, 502, 503, 504, *range(520, 531)})


class Backoff(Enum):
    KEEP = "keep"
    """Not asked while it is backed off; the outcome is remembered."""
    HEED = "heed"
    """Not asked while it is backed off; a failure is not remembered: anybody may have named this server."""
    IGNORE = "ignore"
    """Asked whatever happened before; a failure is not remembered."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`seconds` covers everything from finding the server to the end of its answer."""

    seconds: float = 60.0
    max_body: int = 16 * 1024 * 1024
    backoff: Backoff = Backoff.KEEP


ORDINARY = Limits()
QUICK = Limits(seconds=15.0, max_body=4 * 1024 * 1024)
WHOLE_ROOM = Limits(seconds=300.0, max_body=100 * 1024 * 1024)


class FederationClient:
    def __init__(
        self,
        server_name: str,
        signing_key: SigningKey,
        http: HttpClient,
        discovery: Discovery,
        destinations: Destinations,
        whitelist: Whitelist,
    ) -> None:
        self._server_name = server_name
        self._key = signing_key
        self._http = http
        self._discovery = discovery
        self._destinations = destinations
        self._whitelist = whitelist
        self._slots: dict[str, _Slots] = {}

    async def get(
        self, destination: str, path: str, query: Query | None = None, limits: Limits = ORDINARY
    ) -> Json:
        return as_object(destination, await self.ask("GET", destination, path, query, limits=limits))

    async def put(
        self,
        destination: str,
        path: str,
        content: Content,
        query: Query | None = None,
        limits: Limits = ORDINARY,
    ) -> Json:
        return as_object(destination, await self.ask("PUT", destination, path, query, content, limits))

    async def post(
        self,
        destination: str,
        path: str,
        content: Content,
        query: Query | None = None,
        limits: Limits = ORDINARY,
    ) -> Json:
        return as_object(destination, await self.ask("POST", destination, path, query, content, limits))

    async def ask(
        self,
        method: str,
        destination: str,
        path: str,
        query: Query | None = None,
        content: Content | None = None,
        limits: Limits = ORDINARY,
        *,
        signed: bool = True,
    ) -> bytes | bytearray:
        """The body of a 2xx answer, as it came. Make `path` with `path_of`; `content` given as bytes must
        be canonical JSON.

        Raises NotFederated, and RemoteErrors: BackedOff, Unreachable, BadAnswer, Refused.
        """
        self._whitelist.check(destination)
        if destination == self._server_name:
            raise Unreachable(f"{destination} is this server.")
        if limits.backoff is not Backoff.IGNORE:
            await self._destinations.check(destination)
        uri = path + (f"?{urlencode(query, doseq=True, quote_via=quote, safe='')}" if query else "")
        try:
            work = self._send_in_turn(method, destination, uri, _encode(content), limits, signed)
            reply = await self._http.within(limits.seconds, work)
        except (Unreachable, BadAnswer):
            if limits.backoff is Backoff.KEEP:
                await self._destinations.failed(destination)
            raise
        if reply.status in AWAY:
            if limits.backoff is Backoff.KEEP:
                await self._destinations.failed(destination)
        else:
            self._destinations.answered(destination)
        if 200 <= reply.status < 300:
            return reply.body
        raise refusal(destination, reply)

    async def within(self, seconds: float, work: Coroutine[Any, Any, T]) -> T:
        """Several requests under one time limit. Raises Unreachable."""
        return await self._http.within(seconds, work)

    async def _send_in_turn(self, method: str, destination: str, *request: Any) -> Reply:
        async with self._slot(destination):
            return await self._send(method, destination, *request)

    async def _send(
        self, method: str, destination: str, uri: str, body: bytes | None, limits: Limits, signed: bool
    ) -> Reply:
        route = await self._discovery.find(destination)
        headers = [("Host", route.host_header), ("User-Agent", USER_AGENT), ("Accept", "application/json")]
        if signed:
            header = authorize(method, uri, self._server_name, destination, body, self._key)
            headers.append(("Authorization", header))
        if body is not None:
            headers.append(("Content-Type", "application/json"))
        return await self._http.request(
            route.target,
            method,
            uri,
            headers,
            body or b"",
            seconds=limits.seconds,
            max_body=limits.max_body,
        )

    @asynccontextmanager
    async def _slot(self, destination: str) -> AsyncIterator[None]:
        slots = self._slots.setdefault(destination, _Slots())
        slots.users += 1
        try:
            await slots.acquire(destination)
            try:
                yield
            finally:
                slots.release()
        finally:
            slots.users -= 1
            if not slots.users:
                del self._slots[destination]


class _Slots:
    """How many requests to one server run, and which wait."""

    def __init__(self) -> None:
        self.users = 0
        self._running = 0
        self._waiting: list[Deferred[None]] = []

    async def acquire(self, destination: str) -> None:
        if self._running >= SLOTS:
            if len(self._waiting) >= MAX_WAITING:
                raise Unreachable(f"Too many requests to {destination} wait already.")
            turn: Deferred[None] = Deferred(self._waiting.remove)
            self._waiting.append(turn)
            await turn  # whoever released handed their slot over
        else:
            self._running += 1

    def release(self) -> None:
        if self._waiting:
            self._waiting.pop(0).callback(None)
        else:
            self._running -= 1


def path_of(*segments: str) -> str:
    """`path_of("/_matrix/federation/v1/event", event_id)`: all but the first are percent-encoded."""
    prefix, *rest = segments
    return "/".join([prefix, *(quote(segment, safe="") for segment in rest)])


def as_object(destination: str, body: bytes | bytearray) -> Json:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadAnswer(f"{destination} answered no JSON.") from error
    if not isinstance(value, dict):
        raise BadAnswer(f"{destination} answered no JSON object.")
    return value


def _encode(content: Content | None) -> bytes | None:
    if content is None or isinstance(content, bytes):
        return content
    return canonical_json.encode_lax(dict(content))


def refusal(destination: str, reply: Reply) -> Refused:
    try:
        body = as_object(destination, reply.body)
    except BadAnswer:
        body = {}
    errcode, message = body.get("errcode"), body.get("error")
    return Refused(
        destination,
        reply.status,
        errcode if isinstance(errcode, str) else "M_UNKNOWN",
        message[:1000] if isinstance(message, str) else "",
        body,
    )
