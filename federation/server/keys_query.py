"""The keys of other servers, vouched for by this one.

https://spec.matrix.org/v1.19/server-server-api/#querying-keys-through-another-server
"""

from typing import Any

import msgspec

from federation import federation
from homeserver.errors import InvalidParam
from homeserver.http.endpoint import OPEN, Request, get, post
from homeserver.server import Server

MAX_SERVERS = 100
MAX_KEYS = 100


class QueryKeys(Request, kw_only=True):
    server_name: str
    minimum_valid_until_ts: int | None = None


@get(
    "/_matrix/key/v2/query/{server_name}",
    auth=OPEN,
    aliases=["/_matrix/key/v2/query/{server_name}/{key_id}"],
)
async def query_keys(server: Server, req: QueryKeys) -> dict[str, Any]:
    found = await federation.of(server).notary.answer({req.server_name: {"": req.minimum_valid_until_ts}})
    return {"server_keys": found}


class Criteria(msgspec.Struct):
    minimum_valid_until_ts: int | None = None


class QueryManyKeys(Request, kw_only=True):
    server_keys: dict[str, dict[str, Criteria]]


@post("/_matrix/key/v2/query", auth=OPEN, max_body=256 * 1024)
async def query_many_keys(server: Server, req: QueryManyKeys) -> dict[str, Any]:
    if len(req.server_keys) > MAX_SERVERS or any(len(keys) > MAX_KEYS for keys in req.server_keys.values()):
        raise InvalidParam(f"At most {MAX_SERVERS} servers with {MAX_KEYS} keys each.")
    wanted = {
        name: {key_id: criteria.minimum_valid_until_ts for key_id, criteria in keys.items()} or {"": None}
        for name, keys in req.server_keys.items()
    }
    return {"server_keys": await federation.of(server).notary.answer(wanted)}
