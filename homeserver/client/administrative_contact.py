"""Addresses and phone numbers of the account: none are kept here.

https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3account3pid
"""

from typing import Any

from homeserver.http.endpoint import USER, Requester, get
from homeserver.server import Server


@get("/_matrix/client/v3/account/3pid", auth=USER)
def contacts(server: Server, me: Requester) -> dict[str, Any]:
    return {"threepids": []}
