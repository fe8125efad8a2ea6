"""Whose access token this is.

https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3accountwhoami
"""

from typing import Any

from homeserver.http.endpoint import USER, Requester, get
from homeserver.server import Server


@get("/_matrix/client/v3/account/whoami", auth=USER, guests=True)
def whoami(server: Server, me: Requester) -> dict[str, Any]:
    answer: dict[str, Any] = {"user_id": me.user_id, "is_guest": me.is_guest}
    if me.device_id is not None:
        answer["device_id"] = me.device_id
    return answer
