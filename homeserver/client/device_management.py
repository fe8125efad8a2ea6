"""The user's own devices.

https://spec.matrix.org/v1.19/client-server-api/#device-management
"""

from typing import Any

from homeserver.http.endpoint import USER, HttpRequest, Request, Requester, delete, get, post, put
from homeserver.http.uia import authenticate
from homeserver.server import Server
from storage.devices import Device


class OneDevice(Request, kw_only=True):
    device_id: str


class UpdateDevice(Request, kw_only=True):
    device_id: str
    display_name: str | None = None


class DeleteDevices(Request, kw_only=True):
    devices: list[str]


@get("/_matrix/client/v3/devices", auth=USER, guests=True)
async def get_devices(server: Server, me: Requester) -> dict[str, Any]:
    return {"devices": [_shown(device) for device in await server.devices.of_user(me.user_id)]}


@get("/_matrix/client/v3/devices/{device_id}", auth=USER, guests=True)
async def get_device(server: Server, me: Requester, req: OneDevice) -> dict[str, Any]:
    return _shown(await server.devices.get(me.user_id, req.device_id))


@put("/_matrix/client/v3/devices/{device_id}", auth=USER, guests=True)
async def update_device(server: Server, me: Requester, req: UpdateDevice) -> None:
    if req.display_name is None:
        await server.devices.get(me.user_id, req.device_id)
    else:
        await server.devices.rename(me.user_id, req.device_id, req.display_name)


@delete("/_matrix/client/v3/devices/{device_id}", auth=USER)
async def delete_device(server: Server, me: Requester, http: HttpRequest, req: OneDevice) -> None:
    await authenticate(server, http, me)
    await server.devices.delete(me.user_id, [req.device_id])


@post("/_matrix/client/v3/delete_devices", auth=USER)
async def delete_devices(server: Server, me: Requester, http: HttpRequest, req: DeleteDevices) -> None:
    await authenticate(server, http, me)
    await server.devices.delete(me.user_id, req.devices)


def _shown(device: Device) -> dict[str, Any]:
    return {name: value for name, value in device._asdict().items() if value is not None}
