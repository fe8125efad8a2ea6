"""Asking a room's policy server to sign an event.

https://spec.matrix.org/v1.19/server-server-api/#post_matrixpolicyv1sign

Somebody waits for each answer, and a room waits with them, so the time is short. A server that did not
answer something else before is asked all the same: a room can speak only as long as its policy server does.
"""

from typing import Any

from federation.client import Backoff, FederationClient, Limits
from federation.errors import NotFederated, Unreachable
from homeserver.protocol.events import Event

SIGN = Limits(seconds=10.0, max_body=65_536, backoff=Backoff.IGNORE)
PATH = "/_matrix/policy/v1/sign"


class PolicyServersClient:
    """The port PolicyServers."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    async def sign(self, server: str, event: Event) -> Any:
        try:
            return await self._client.post(server, PATH, event.json, limits=SIGN)
        except NotFederated as error:
            raise Unreachable(str(error)) from error
