"""Where clients find this server.

https://spec.matrix.org/v1.19/client-server-api/#getwell-knownmatrixclient
"""

from typing import Any

from homeserver.errors import NotFound
from homeserver.http.endpoint import OPEN, get
from homeserver.server import Server


def well_known(server: Server) -> dict[str, Any] | None:
    base_url = server.config.public_baseurl
    if base_url is None:
        return None
    content: dict[str, Any] = {"m.homeserver": {"base_url": base_url}}
    if server.config.rtc_transports:  # MSC4143, as clients read it that do not know the endpoint yet
        content["org.matrix.msc4143.rtc_foci"] = list(server.config.rtc_transports)
    return content | dict(server.config.extra_well_known_client_content)


@get("/.well-known/matrix/client", auth=OPEN)
def client_well_known(server: Server) -> dict[str, Any]:
    content = well_known(server)
    if content is None:
        raise NotFound("No public_baseurl is configured.")
    return content
