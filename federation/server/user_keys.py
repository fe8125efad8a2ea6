"""Our users' keys, for the devices of other servers' users.

https://spec.matrix.org/v1.19/server-server-api/#end-to-end-encryption
"""

from collections.abc import Iterable

import orjson

from federation.server.auth import SERVER, Origin
from homeserver.errors import InvalidParam
from homeserver.http.endpoint import Request, post
from homeserver.protocol.ids import domain_of, is_valid_user_id
from homeserver.server import Server

# User-signing keys are nobody's business but their owner's.
_SHOWN = ("device_keys", "master_keys", "self_signing_keys")


class QueryUserKeys(Request, kw_only=True):
    device_keys: dict[str, list[str]]


class ClaimUserKeys(Request, kw_only=True):
    one_time_keys: dict[str, dict[str, str]]


@post("/_matrix/federation/v1/user/keys/query", auth=SERVER)
async def query_user_encryption_keys(server: Server, me: Origin, req: QueryUserKeys) -> bytes:
    _require_local(server, req.device_keys)
    found = await server.device_keys.query_local(req.device_keys)
    return orjson.dumps({field: found[field] for field in _SHOWN})


@post("/_matrix/federation/v1/user/keys/claim", auth=SERVER)
async def claim_user_encryption_keys(server: Server, me: Origin, req: ClaimUserKeys) -> bytes:
    _require_local(server, req.one_time_keys)
    return orjson.dumps({"one_time_keys": await server.one_time_keys.claim_local(req.one_time_keys)})


def _require_local(server: Server, user_ids: Iterable[str]) -> None:
    for user_id in user_ids:
        if not is_valid_user_id(user_id) or domain_of(user_id) != server.config.server_name:
            raise InvalidParam("Somebody is not a user of this server.")
