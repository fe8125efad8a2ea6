"""Which software answers here.

https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1version
"""

from importlib.metadata import version as version_of

import orjson

from homeserver.http.endpoint import OPEN, get
from homeserver.server import Server

_ANSWER = orjson.dumps({"server": {"name": "Hearth", "version": version_of("hearth-homeserver")}})


@get("/_matrix/federation/v1/version", auth=OPEN)
def version(server: Server) -> bytes:
    return _ANSWER
