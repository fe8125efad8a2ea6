"""Keys of devices. https://spec.matrix.org/v1.19/client-server-api/#key-management-api"""

from typing import Annotated, Any

from homeserver.errors import InvalidParam
from homeserver.http.endpoint import USER, Query, Request, get, post
from homeserver.http.requester import Requester
from homeserver.server import Server
from homeserver.sync.tokens import StreamToken


class UploadKeys(Request, kw_only=True):
    # Clients that have nothing to upload send null as well as nothing.
    device_keys: dict[str, Any] | None = None
    one_time_keys: dict[str, Any] | None = None
    fallback_keys: dict[str, Any] | None = None


class QueryKeys(Request, kw_only=True):
    device_keys: dict[str, list[str]]
    timeout: int = 10_000


class ClaimKeys(Request, kw_only=True):
    one_time_keys: dict[str, dict[str, str]]
    timeout: int = 10_000


class KeyChanges(Request, kw_only=True):
    since: Annotated[str, Query("from")]
    upto: Annotated[str, Query("to")]


@post("/_matrix/client/v3/keys/upload", auth=USER, rate="keys", guests=True)
async def upload_keys(server: Server, me: Requester, req: UploadKeys) -> dict[str, Any]:
    if me.device_id is None:
        raise InvalidParam("Keys belong to a device, and this access token has none.")
    counts = await server.device_keys.upload(
        me.user_id,
        me.device_id,
        keys=req.device_keys,
        one_time=req.one_time_keys,
        fallback=req.fallback_keys,
    )
    return {"one_time_key_counts": counts}


@post("/_matrix/client/v3/keys/query", auth=USER, rate="keys", guests=True)
async def query_keys(server: Server, me: Requester, req: QueryKeys) -> bytes:
    return await server.device_keys.query(me.user_id, req.device_keys, req.timeout)


@post("/_matrix/client/v3/keys/claim", auth=USER, rate="keys", guests=True)
async def claim_keys(server: Server, me: Requester, req: ClaimKeys) -> bytes:
    return await server.one_time_keys.claim(req.one_time_keys, req.timeout)


@get("/_matrix/client/v3/keys/changes", auth=USER, rate="keys")
async def key_changes(server: Server, me: Requester, req: KeyChanges) -> dict[str, list[str]]:
    since, upto = StreamToken.parse(req.since).position, StreamToken.parse(req.upto).position
    changed, left = await server.device_lists.changes(me.user_id, since, upto)
    return {"changed": changed, "left": left}
