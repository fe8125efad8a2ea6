"""A user's whole device list, for servers that missed a change of it.

https://spec.matrix.org/v1.19/server-server-api/#device-management
"""

from typing import Any

import orjson

from federation.server.auth import SERVER, Origin
from homeserver.errors import InvalidParam
from homeserver.http.endpoint import Request, get
from homeserver.protocol.ids import domain_of, is_valid_user_id
from homeserver.server import Server


class GetUserDevices(Request, kw_only=True):
    user_id: str


@get("/_matrix/federation/v1/user/devices/{user_id}", auth=SERVER)
async def get_user_devices(server: Server, me: Origin, req: GetUserDevices) -> bytes:
    if not is_valid_user_id(req.user_id) or domain_of(req.user_id) != server.config.server_name:
        raise InvalidParam("This is not a user of this server.")
    found = await server.device_keys.device_list(req.user_id)
    answer: dict[str, Any] = {
        "user_id": req.user_id,
        "stream_id": found.stream_id,
        "devices": found.devices,
        **found.cross_signing,
    }
    return orjson.dumps(answer)
