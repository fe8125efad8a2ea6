"""User-interactive authentication of a request: one line in the endpoints that need it.

    await authenticate(server, http, me)

https://spec.matrix.org/v1.19/client-server-api/#user-interactive-api-in-the-rest-api

It reads `auth` from the request's body itself. Failed attempts count against the account's
`login_failed` limit (the address's, where nobody is logged in), as failed logins do.
"""

import hashlib
from typing import TYPE_CHECKING, Any

import orjson

from homeserver.accounts.requester import Requester
from homeserver.accounts.uia import PASSWORD_FLOW, Flows, InteractiveAuth, Operation, Session
from homeserver.errors import BadJson
from homeserver.http.decode import decode_body
from homeserver.http.rate_limit import RateLimiter
from homeserver.http.request import HttpRequest

if TYPE_CHECKING:
    from homeserver.server import Server


async def authenticate(
    server: "Server",
    http: HttpRequest,
    me: Requester | None,
    flows: Flows = PASSWORD_FLOW,
    *,
    bind_body: bool = True,
    afresh: bool = False,
) -> Session:
    """Returns when the client has proved itself; until then raises the 401 that says what is needed.

    `bind_body=False`: the body may change while the stages are done, which only does no harm where
    nobody is logged in yet. `afresh`: a success a moment ago does not count.
    """
    body = decode_body(http.body, required=False)
    auth = body.pop("auth", None)
    operation = Operation(
        user_id=me.user_id if me is not None else None,
        method=http.method,
        path=http.path,
        body=_digest(body) if bind_body else b"",
    )
    limiter: RateLimiter = http.limiter
    key = me.user_id if me is not None else http.address
    limiter.check("login_failed", key, spend=False)
    token_id = me.token_id if me is not None and not afresh else 0
    try:
        return await server.uia.require(operation, auth, flows, token_id=token_id)
    except InteractiveAuth as error:
        if error.failed:
            limiter.spend("login_failed", key)
        raise


def _digest(body: dict[str, Any]) -> bytes:
    try:
        return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).digest()
    except orjson.JSONEncodeError as error:  # it reads 1024 levels, and writes 254
        raise BadJson("The request body is nested too deeply.") from error
