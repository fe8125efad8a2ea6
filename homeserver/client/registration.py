"""Making an account: with interactive authentication, or as a guest without any.

https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3register

What is wrong with the name is said before the authentication begins, and again when it is taken
meanwhile. The body may change between the stages: clients begin with an empty one to learn the flows.
"""

from typing import Annotated, Any, Literal

from homeserver.accounts.settings import AccountSettings
from homeserver.accounts.tokens import Session
from homeserver.accounts.uia import DUMMY, REGISTRATION_TOKEN, Flows
from homeserver.client.login import require_device_id
from homeserver.errors import Forbidden, InvalidParam, MissingParam
from homeserver.http.endpoint import OPEN, HttpRequest, Query, Request, get, post
from homeserver.http.uia import authenticate
from homeserver.protocol import ids
from homeserver.server import Server


class Register(Request, kw_only=True):
    kind: Annotated[Literal["user", "guest"], Query()] = "user"
    auth: dict[str, Any] | None = None
    username: str | None = None
    password: str | None = None
    device_id: str | None = None
    initial_device_display_name: str | None = None
    inhibit_login: bool = False
    refresh_token: bool = False
    guest_access_token: str | None = None


class Available(Request, kw_only=True):
    username: str


@post("/_matrix/client/v3/register", auth=OPEN)
async def register(server: Server, http: HttpRequest, req: Register) -> dict[str, Any]:
    http.limiter.check("registration", http.address, spend=False)
    if req.kind == "guest":
        return await _register_guest(server, http, req)
    settings = server.accounts.settings
    _require_open(settings)
    require_device_id(req.device_id)
    guest_id = None
    if req.guest_access_token is not None:
        guest_id = await _guest_of(server, http, req.guest_access_token, req.username)
    elif req.username is not None:
        await server.accounts.require_available(req.username)
    if req.auth is not None and req.password is None:
        raise MissingParam("The password is missing.")
    done = await authenticate(server, http, None, _flows(settings), bind_body=False)
    http.limiter.check("registration", http.address)
    wanted = (req.device_id or None, req.initial_device_display_name, req.refresh_token)
    user_id, session = await server.accounts.register(
        req.username,
        req.password,
        guest_id=guest_id,
        registration_token=done.completed.get(REGISTRATION_TOKEN),
        session=None if req.inhibit_login else wanted,
    )
    return _answer(user_id, session)


async def _guest_of(server: Server, http: HttpRequest, token: str, username: str | None) -> str:
    """The guest who becomes a user and keeps the name.

    https://spec.matrix.org/v1.19/client-server-api/#guest-access
    """
    guest = (await server.tokens.find(token)).requester(http.address, http.user_agent)
    if not guest.is_guest:
        raise Forbidden("This is not the token of a guest.")
    if username is None or server.accounts.user_id(username) != guest.user_id:
        raise InvalidParam("A guest who becomes a user keeps the user name.")
    return guest.user_id


async def _register_guest(server: Server, http: HttpRequest, req: Register) -> dict[str, Any]:
    """Everything but the device's name is the server's choice."""
    if not server.accounts.settings.allow_guest_access:
        raise Forbidden("Guest access is disabled.")
    http.limiter.check("registration", http.address)
    user_id, session = await server.accounts.register(
        None, None, is_guest=True, session=(None, req.initial_device_display_name, False)
    )
    return _answer(user_id, session)


def _answer(user_id: str, session: Session | None) -> dict[str, Any]:
    named = {"user_id": user_id, "home_server": ids.domain_of(user_id)}
    return named if session is None else named | session.response()


@get("/_matrix/client/v3/register/available", auth=OPEN, rate="registration")
async def username_available(server: Server, req: Available) -> dict[str, Any]:
    _require_open(server.accounts.settings)
    await server.accounts.require_available(req.username)
    return {"available": True}


def _require_open(settings: AccountSettings) -> None:
    if not settings.enable_registration:
        raise Forbidden("Registration is not enabled on this homeserver.")


def _flows(settings: AccountSettings) -> Flows:
    return ((REGISTRATION_TOKEN,),) if settings.registration_requires_token else ((DUMMY,),)
