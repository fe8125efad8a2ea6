"""Where other servers find this one, if the web server of its name is this program.

https://spec.matrix.org/v1.19/server-server-api/#getwell-knownmatrixserver
"""

from federation import federation
from homeserver.errors import NotFound
from homeserver.http.endpoint import OPEN, get
from homeserver.http.response import Response
from homeserver.server import Server

REMEMBERED_SECONDS = 24 * 60 * 60
"""As long as the specification has other servers remember it by themselves."""


@get("/.well-known/matrix/server", auth=OPEN)
def server_well_known(server: Server) -> Response:
    here = federation.of(server)
    if not here.serve_server_wellknown:
        raise NotFound("serve_server_wellknown is not configured.")
    told = {"m.server": delegated_name(here.server_name)}
    return Response(200, told, {"Cache-Control": f"max-age={REMEMBERED_SECONDS}"})


def delegated_name(server_name: str) -> str:
    """Port 443 for a name without one: there is where this answer was fetched."""
    has_port = not server_name.endswith("]") and ":" in server_name.rpartition("]")[2]
    return server_name if has_port else f"{server_name}:443"
