"""The keys of the policy server that has this server's name.

https://spec.matrix.org/v1.19/client-server-api/#getwell-knownmatrixpolicy_server
"""

from typing import Any

from homeserver.errors import NotFound
from homeserver.http.endpoint import OPEN, get
from homeserver.server import Server


@get("/.well-known/matrix/policy_server", auth=OPEN)
def get_wellknown_policy(server: Server) -> dict[str, Any]:
    if not server.config.policy_server_public_keys:
        raise NotFound("There is no policy server here.")
    return {"public_keys": dict(server.config.policy_server_public_keys)}
