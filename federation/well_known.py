"""/.well-known/matrix/server of others: which server speaks for a host name.

https://spec.matrix.org/v1.19/server-server-api/#getwell-knownmatrixserver

Right answers and wrong ones are both remembered, the right ones for as long as HTTP's headers say within
limits, the wrong ones longer with each repetition. A server that once delegated keeps its delegation
through an outage of its web site.
"""

import re
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

import orjson

from federation.connection import Reply
from federation.http_client import HttpClient, Target
from federation.resolver import Hop
from federation.shared import Expiring, SingleFlight
from homeserver.clock import Clock
from homeserver.errors import RemoteError
from homeserver.protocol.ids import is_valid_server_name

PATH = "/.well-known/matrix/server"
REQUEST_SECONDS = 8.0
TOTAL_SECONDS = 16.0
MAX_BODY = 50 * 1024
MAX_REDIRECTS = 5
CACHED_HOSTS = 4096

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DEFAULT_MS = 24 * HOUR_MS
LEAST_MS, MOST_MS = 5 * MINUTE_MS, 48 * HOUR_MS
FIRST_ERROR_MS, MOST_ERROR_MS = 2 * MINUTE_MS, HOUR_MS

_MAX_AGE = re.compile(r"(?:^|[\s,])max-age\s*=\s*\"?(\d{1,10})", re.IGNORECASE)
_NOT_KEPT = re.compile(r"(?:^|[\s,])no-(?:store|cache)\b", re.IGNORECASE)
_REDIRECTS = (301, 302, 303, 307, 308)


class _Known(NamedTuple):
    server: str | None
    errors: int


class WellKnown:
    def __init__(self, http: HttpClient, clock: Clock, port: int = 443) -> None:
        self._http = http
        self._clock = clock
        self._port = port
        self._known: Expiring[str, _Known] = Expiring(CACHED_HOSTS)
        # What was right last, for as long as a right answer may ever be kept, and how often it failed since.
        self._earlier: Expiring[str, _Known] = Expiring(CACHED_HOSTS)
        self._flights: SingleFlight[str, str | None] = SingleFlight()

    async def delegated(self, host: str) -> str | None:
        """The server name in `m.server`, or None where there is no valid answer."""
        known = self._known.get(host, self._clock.now_ms())
        if known is not None:
            return known.server
        return await self._flights.run(host, lambda: self._fetch(host))

    async def _fetch(self, host: str) -> str | None:
        try:
            reply = await self._http.within(TOTAL_SECONDS, self._get(host))
        except RemoteError:
            return self._failed(host)
        server = delegation(reply)
        if server is None:
            return self._failed(host)
        now = self._clock.now_ms()
        self._known.put(host, _Known(server, 0), now + lifetime_ms(reply, now))
        self._earlier.put(host, _Known(server, 0), now + MOST_MS)
        return server

    def _failed(self, host: str) -> str | None:
        now = self._clock.now_ms()
        earlier = self._earlier.get(host, now) or _Known(None, 0)
        until = now + min(FIRST_ERROR_MS * 2 ** min(earlier.errors, 10), MOST_ERROR_MS)
        self._known.put(host, earlier, until)
        if earlier.server is None:
            self._earlier.put(host, _Known(None, earlier.errors + 1), now + DEFAULT_MS)
        return earlier.server

    async def _get(self, host: str) -> Reply:
        url = f"https://{host}:{self._port}{PATH}" if self._port != 443 else f"https://{host}{PATH}"
        for _ in range(MAX_REDIRECTS + 1):
            reply = await self._get_url(url)
            if reply.status not in _REDIRECTS or b"location" not in reply.headers:
                return reply
            try:
                url = urljoin(url, reply.headers[b"location"].decode("latin-1"))
            except ValueError as error:
                raise RemoteError(f"{host} redirects to what is no URL.") from error
        raise RemoteError(f"{host} redirects without end.")

    async def _get_url(self, url: str) -> Reply:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or 443
        except ValueError as error:
            raise RemoteError(f"{url!r} is no URL.") from error
        uri = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if parts.scheme != "https" or not host or not (uri + parts.netloc).isascii() or " " in uri:
            raise RemoteError(f"{url!r} is not followed.")
        headers = [
            ("Host", parts.netloc.rpartition("@")[2]),
            ("User-Agent", "Hearth"),
            ("Accept", "application/json"),
        ]
        target = Target(host, (Hop(host, port),))
        return await self._http.request(
            target, "GET", uri, headers, seconds=REQUEST_SECONDS, max_body=MAX_BODY
        )


def delegation(reply: Reply) -> str | None:
    if reply.status != 200:
        return None
    try:
        content = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        return None
    server = content.get("m.server") if isinstance(content, dict) else None
    return server if isinstance(server, str) and is_valid_server_name(server) else None


def lifetime_ms(reply: Reply, now: int) -> int:
    control = reply.headers.get(b"cache-control", b"").decode("latin-1")
    age = _MAX_AGE.search(control)
    if _NOT_KEPT.search(control):
        lifetime = 0
    elif age is not None:
        lifetime = 1000 * int(age[1])
    elif b"expires" in reply.headers:
        lifetime = _until(reply.headers[b"expires"].decode("latin-1"), now)
    else:
        lifetime = DEFAULT_MS
    return max(LEAST_MS, min(lifetime, MOST_MS))


def _until(date: str, now: int) -> int:
    try:
        return int(parsedate_to_datetime(date).timestamp() * 1000) - now
    except (ValueError, OverflowError):
        return 0
