"""Asking identity servers, which users name: over the same guarded client as all that others name.

https://spec.matrix.org/v1.19/identity-service-api/

They are no homeservers: their name is a host and a port, without discovery, and what proves who asks is the
user's access token.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import orjson

from federation.client import USER_AGENT, as_object, refusal
from federation.http_client import HttpClient, Target
from federation.names import parse
from federation.resolver import Hop

PREFIX = "/_matrix/identity/v2"
SECONDS = 10.0
MAX_BODY = 65_536

Json = dict[str, Any]


class IdentityServersClient:
    """The port IdentityServers. `port` is where those listen whose name has none."""

    def __init__(self, http: HttpClient, port: int = 443) -> None:
        self._http = http
        self._port = port

    async def get(self, server: str, path: str, token: str) -> Json:
        return await self._ask(server, "GET", PREFIX + path, [("Authorization", f"Bearer {token}")])

    async def post(self, server: str, path: str, token: str, content: Mapping[str, Any]) -> Json:
        headers = [("Authorization", f"Bearer {token}"), ("Content-Type", "application/json")]
        return await self._ask(server, "POST", PREFIX + path, headers, orjson.dumps(content))

    async def key_is_valid(self, url: str, public_key: str) -> bool:
        """Whether a key that signs for an invite still counts, by the URL that came with it."""
        try:
            parts = urlsplit(url)
            server = parts.netloc
            path = f"{parts.path or '/'}?{f'{parts.query}&' if parts.query else ''}public_key="
            if parts.scheme != "https" or not server or "@" in server or not (server + path).isascii():
                return False
        except ValueError:
            return False
        if " " in path or not path.isprintable():
            return False
        answer = await self._ask(server, "GET", path + quote(public_key, safe=""), [])
        return answer.get("valid") is True

    async def _ask(
        self, server: str, method: str, uri: str, headers: list[tuple[str, str]], body: bytes = b""
    ) -> Json:
        name = parse(server)
        port = self._port if name.port is None else name.port
        target = Target(name.certificate_name, (Hop(name.certificate_name, port),))
        ordinary = [("Host", server), ("User-Agent", USER_AGENT), ("Accept", "application/json")]
        reply = await self._http.request(
            target, method, uri, [*ordinary, *headers], body, seconds=SECONDS, max_body=MAX_BODY
        )
        if not 200 <= reply.status < 300:
            raise refusal(server, reply)
        return as_object(server, reply.body)
