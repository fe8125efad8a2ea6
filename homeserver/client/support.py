"""Whom to ask for help here. https://spec.matrix.org/v1.19/client-server-api/#getwell-knownmatrixsupport"""

from typing import Any

from homeserver.errors import NotFound
from homeserver.http.endpoint import OPEN, get
from homeserver.server import Server


@get("/.well-known/matrix/support", auth=OPEN)
def get_wellknown_support(server: Server) -> dict[str, Any]:
    if not server.config.well_known_support:
        raise NotFound("No contacts are configured.")
    return dict(server.config.well_known_support)
