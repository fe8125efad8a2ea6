"""A request as it came over the wire, before an endpoint gives it types.

Header names are lower-case bytes; a header sent twice keeps its last value, which is what every
header read here (Authorization, Content-Length, X-Forwarded-For, ...) may rely on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from homeserver.errors import InvalidParam

MOST_CACHED = 2048

if TYPE_CHECKING:
    from homeserver.http.endpoint import Endpoint
    from homeserver.http.rate_limit import RateLimiter


@dataclass(slots=True, frozen=True)
class ClientInfo:
    """Where an unauthenticated request comes from; declare a parameter of this type to get it."""

    address: str
    user_agent: str


class HttpRequest:
    """`path` and `query` are as sent (percent-encoded); `path_args` are decoded, in the route's order."""

    __slots__ = (
        "_query_values", "address", "body", "chunks", "endpoint", "failure", "finished", "headers", "id",
        "keep_alive", "limiter", "method", "path", "path_args", "query", "size",
    )

    def __init__(self, request_id: int, address: str, limiter: "RateLimiter") -> None:
        self.id = request_id
        self.limiter = limiter
        self.address = address
        self.method = ""
        self.path = ""
        self.query = ""
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.chunks: list[bytes] = []
        self.size = 0
        self.keep_alive = True
        self.endpoint: Endpoint | None = None
        self.path_args: list[str] = []
        # An error found before the body was complete (no such route, too large); answered in turn.
        self.failure: Exception | None = None
        # Called when the answer is made, whatever it is; who authenticates may put something here.
        self.finished: Callable[[], None] | None = None
        self._query_values: dict[str, list[str]] | None = None

    @property
    def user_agent(self) -> str:
        return self.headers.get(b"user-agent", b"").decode("utf-8", "replace")

    @property
    def query_values(self) -> dict[str, list[str]]:
        if self._query_values is None:
            self._query_values = parse_query(self.query) if self.query else {}
        return self._query_values


def parse_query(query: str) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for part in query.split("&"):
        if not part:
            continue
        name, _, value = part.partition("=")
        values.setdefault(decode(name.replace("+", " ")), []).append(decode(value.replace("+", " ")))
    return values


def decode(text: str) -> str:
    """Percent-decoding; refuses what is not UTF-8, and NUL, which PostgreSQL cannot store."""
    if "%" not in text and text.isascii():
        if "\0" in text:
            raise InvalidParam("The URI contains a NUL character.")
        return text
    # The same filter comes with every sync.
    return _cached_percent_decoding(text) if len(text) <= MOST_CACHED else _percent_decoded(text)


def _percent_decoded(text: str) -> str:
    try:
        decoded = unquote_to_bytes(text.encode("latin-1")).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidParam("The URI is not valid UTF-8.") from error
    if "\0" in decoded:
        raise InvalidParam("The URI contains a NUL character.")
    return decoded


_cached_percent_decoding = lru_cache(maxsize=1024)(_percent_decoded)
