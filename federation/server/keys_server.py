"""Our signing keys.

https://spec.matrix.org/v1.19/server-server-api/#publishing-keys
"""

from typing import Any

from federation import federation
from homeserver.http.endpoint import OPEN, get
from homeserver.server import Server


# Older servers name the key they want; they get them all, as the specification used to allow.
@get("/_matrix/key/v2/server", auth=OPEN, aliases=["/_matrix/key/v2/server/{key_id}"])
def own_keys(server: Server) -> dict[str, Any]:
    return federation.of(server).own_keys.document()
