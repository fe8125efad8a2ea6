"""Giving out registration tokens, on the paths that administration tools know.

A field that is not given keeps its value; null lifts the limit. `pending` is always 0: a token is counted
when the account is made, and reserved by nobody before.
"""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from homeserver.http.endpoint import ADMIN, Query, Request, Requester, delete, get, post, put
from homeserver.server import Server
from storage.accounts import RegistrationToken

_PATH = "/_synapse/admin/v1/registration_tokens"


class ListTokens(Request, kw_only=True):
    valid: Annotated[bool | None, Query()] = None


class NewToken(Request, kw_only=True):
    token: str | None = None
    uses_allowed: int | None = None
    expiry_time: int | None = None
    length: int = 16


class OneToken(Request, kw_only=True):
    token: str


class ChangeToken(Request, kw_only=True):
    token: str
    uses_allowed: int | UnsetType | None = UNSET
    expiry_time: int | UnsetType | None = UNSET


@get(_PATH, auth=ADMIN)
async def list_tokens(server: Server, me: Requester, req: ListTokens) -> dict[str, Any]:
    return {"registration_tokens": [_shown(each) for each in await server.registration_tokens.all(req.valid)]}


@post(_PATH + "/new", auth=ADMIN)
async def new_token(server: Server, me: Requester, req: NewToken) -> dict[str, Any]:
    return _shown(
        await server.registration_tokens.create(req.token, req.uses_allowed, req.expiry_time, req.length)
    )


@get(_PATH + "/{token}", auth=ADMIN)
async def get_token(server: Server, me: Requester, req: OneToken) -> dict[str, Any]:
    return _shown(await server.registration_tokens.get(req.token))


@put(_PATH + "/{token}", auth=ADMIN)
async def change_token(server: Server, me: Requester, req: ChangeToken) -> dict[str, Any]:
    known = await server.registration_tokens.get(req.token)
    uses_allowed = known.uses_allowed if req.uses_allowed is msgspec.UNSET else req.uses_allowed
    expiry_ts = known.expiry_ts if req.expiry_time is msgspec.UNSET else req.expiry_time
    return _shown(await server.registration_tokens.update(req.token, uses_allowed, expiry_ts))


@delete(_PATH + "/{token}", auth=ADMIN)
async def delete_token(server: Server, me: Requester, req: OneToken) -> None:
    await server.registration_tokens.delete(req.token)


def _shown(token: RegistrationToken) -> dict[str, Any]:
    return {
        "token": token.token,
        "uses_allowed": token.uses_allowed,
        "pending": 0,
        "completed": token.completed,
        "expiry_time": token.expiry_ts,
    }
