"""Who may call an endpoint: the access token, and what its account is allowed.

https://spec.matrix.org/v1.19/client-server-api/#using-access-tokens
https://spec.matrix.org/v1.19/client-server-api/#account-locking

A token seen before is answered from memory without suspending; only the first sight of one awaits the
database, so `authenticate` returns either the requester or a coroutine of it.
"""

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from homeserver.accounts.requester import Requester, UserLocked, UserSuspended
from homeserver.accounts.token_cache import Identity
from homeserver.errors import Forbidden, GuestAccessForbidden, MissingToken, UnknownToken
from homeserver.http.request import HttpRequest

if TYPE_CHECKING:
    from homeserver.http.endpoint import Endpoint
    from homeserver.server import Server


class Auth(Protocol):
    """How an endpoint authenticates; federation brings an implementation of its own."""

    def authenticate(
        self, server: "Server", request: HttpRequest, endpoint: "Endpoint"
    ) -> Any | Coroutine[Any, Any, Any]: ...


class Open:
    def authenticate(self, server: "Server", request: HttpRequest, endpoint: "Endpoint") -> None:
        return None


class User:
    """`required=False` lets a request without a token through; a wrong token is refused all the same."""

    def __init__(self, *, required: bool = True, admin: bool = False) -> None:
        self._required = required
        self._admin = admin

    def authenticate(
        self, server: "Server", request: HttpRequest, endpoint: "Endpoint"
    ) -> Requester | Coroutine[Any, Any, Requester] | None:
        token = token_of(request)
        if token is None:
            if self._required:
                raise MissingToken("Missing access token.")
            return None
        identity = server.tokens.cached(token)
        if identity is None:
            return self._look_up(server, token, request, endpoint)
        return self._admit(server, identity, request, endpoint)

    async def _look_up(
        self, server: "Server", token: str, request: HttpRequest, endpoint: "Endpoint"
    ) -> Requester:
        return self._admit(server, await server.tokens.find(token), request, endpoint)

    def _admit(
        self, server: "Server", identity: Identity, request: HttpRequest, endpoint: "Endpoint"
    ) -> Requester:
        now = server.clock.now_ms()
        if identity.expires_at is not None and identity.expires_at <= now:
            raise UnknownToken("The access token has expired.", soft_logout=True)
        if identity.locked and not endpoint.locked:
            raise UserLocked
        requester = identity.requester(request.address, request.user_agent)
        if requester.is_guest and not endpoint.guests:
            raise GuestAccessForbidden("Guests may not do this.")
        if identity.suspended and endpoint.writes:
            raise UserSuspended
        if self._admin and not requester.is_admin:
            raise Forbidden("You are not a server administrator.")
        server.devices.seen(requester, now)
        return requester


def token_of(request: HttpRequest) -> str | None:
    """From the Authorization header, or from the query, as old bots still send it."""
    header = request.headers.get(b"authorization")
    if header is not None:
        if header[:7].lower() != b"bearer ":
            raise MissingToken("The Authorization header is not a bearer token.")
        return header[7:].strip().decode("latin-1")
    if "access_token=" in request.query:
        values = request.query_values.get("access_token")
        if values:
            return values[-1]
    return None


OPEN: Auth = Open()
USER: Auth = User()
OPTIONAL: Auth = User(required=False)
ADMIN: Auth = User(admin=True)
