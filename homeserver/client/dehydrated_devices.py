"""Dehydrated devices: MSC3814, https://github.com/matrix-org/matrix-spec-proposals/pull/3814

Messages are read with GET, whose last batch has no `next_batch` (matrix-js-sdk), or with POST as in an
earlier draft, which ends with an empty batch (matrix-rust-sdk). With the other's end neither would stop.
"""

from typing import Annotated, Any

from homeserver.http.endpoint import USER, Query, Request, delete, get, post, put
from homeserver.http.requester import Requester
from homeserver.server import Server

_PATH = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"


class PutDevice(Request, kw_only=True):
    device_id: str
    device_data: dict[str, Any]
    initial_device_display_name: str | None = None
    device_keys: dict[str, Any]
    one_time_keys: dict[str, Any] | None = None
    fallback_keys: dict[str, Any] | None = None


class GetEvents(Request, kw_only=True):
    device_id: str
    start: Annotated[str | None, Query("from")] = None


class PostEvents(Request, kw_only=True):
    device_id: str
    next_batch: str | None = None


@put(_PATH, auth=USER, rate="keys")
async def put_dehydrated_device(server: Server, me: Requester, req: PutDevice) -> dict[str, str]:
    await server.dehydrated_devices.put(
        me.user_id,
        req.device_id,
        req.device_data,
        display_name=req.initial_device_display_name,
        keys=req.device_keys,
        one_time=req.one_time_keys or {},
        fallback=req.fallback_keys or {},
    )
    return {"device_id": req.device_id}


@get(_PATH, auth=USER, rate="keys")
async def get_dehydrated_device(server: Server, me: Requester) -> bytes:
    return await server.dehydrated_devices.get(me.user_id)


@delete(_PATH, auth=USER, rate="keys")
async def delete_dehydrated_device(server: Server, me: Requester) -> dict[str, str]:
    return {"device_id": await server.dehydrated_devices.delete(me.user_id)}


@post(_PATH + "/{device_id}/events", auth=USER, rate="keys")
async def post_dehydrated_device_events(server: Server, me: Requester, req: PostEvents) -> bytes:
    batch = await server.dehydrated_devices.events(me.user_id, req.device_id, req.next_batch)
    return batch.json(batch.next_batch)


@get(_PATH + "/{device_id}/events", auth=USER, rate="keys")
async def get_dehydrated_device_events(server: Server, me: Requester, req: GetEvents) -> bytes:
    batch = await server.dehydrated_devices.events(me.user_id, req.device_id, req.start)
    return batch.json(batch.next_batch if batch.limited else None)
