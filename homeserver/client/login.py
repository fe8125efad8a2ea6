"""Logging in, with a password or a login token.

https://spec.matrix.org/v1.19/client-server-api/#legacy-login
"""

from typing import Any

from homeserver.accounts.accounts import user_of_identifier
from homeserver.client.wellknown import well_known
from homeserver.errors import Forbidden, InvalidParam, MatrixError, MissingParam
from homeserver.http.endpoint import OPEN, RateLimiter, Request, get, post
from homeserver.protocol import ids
from homeserver.server import Server


class Login(Request, kw_only=True):
    type: str
    identifier: dict[str, Any] | None = None
    user: str | None = None
    password: str | None = None
    token: str | None = None
    device_id: str | None = None
    initial_device_display_name: str | None = None
    refresh_token: bool = False


@get("/_matrix/client/v3/login", auth=OPEN)
def login_flows(server: Server) -> dict[str, Any]:
    settings = server.accounts.settings
    flows: list[dict[str, Any]] = []
    if settings.password_login:
        flows.append({"type": "m.login.password"})
    if settings.login_via_existing_session:
        flows.append({"type": "m.login.token", "get_login_token": True})
    return {"flows": flows}


@post("/_matrix/client/v3/login", auth=OPEN, rate="login")
async def login(server: Server, limiter: RateLimiter, req: Login) -> dict[str, Any]:
    settings = server.accounts.settings
    require_device_id(req.device_id)
    if req.type == "m.login.password" and settings.password_login:
        user_id = await _by_password(server, limiter, req)
    elif req.type == "m.login.token" and settings.login_via_existing_session:
        if req.token is None:
            raise MissingParam("The token is missing.")
        user_id = await server.tokens.use_login_token(req.token)
    else:
        raise MatrixError("This type of login is not known.")
    session = await server.accounts.log_in(
        user_id, req.device_id or None, req.initial_device_display_name, refreshable=req.refresh_token
    )
    answer = session.response() | {"user_id": user_id, "home_server": ids.domain_of(user_id)}
    found = well_known(server)
    if found is not None:
        answer["well_known"] = found
    return answer


async def _by_password(server: Server, limiter: RateLimiter, req: Login) -> str:
    if req.password is None:
        raise MissingParam("The password is missing.")
    user = user_of_identifier({"identifier": req.identifier, "user": req.user})
    # By the name as given, whether there is such a user or not: a refusal says nothing about that.
    account_key = user.lower() if user.startswith("@") else server.accounts.user_id(user.lower())
    limiter.check("login_failed", account_key, spend=False)
    limiter.check("login_account", account_key)
    try:
        return (await server.accounts.check_password(user, req.password)).user_id
    except Forbidden:
        limiter.spend("login_failed", account_key)
        raise


def require_device_id(device_id: str | None) -> None:
    if device_id is not None and not ids.fits(device_id):
        raise InvalidParam("The device ID is too long.")
