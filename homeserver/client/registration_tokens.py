"""Whether a registration token is good, asked before the trouble of registering.

https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1registermloginregistration_tokenvalidity
"""

from typing import Any

from homeserver.errors import Forbidden
from homeserver.http.endpoint import OPEN, Request, get
from homeserver.server import Server


class Validity(Request, kw_only=True):
    token: str


@get(
    "/_matrix/client/v1/register/m.login.registration_token/validity",
    auth=OPEN,
    rate="registration_token_validity",
)
async def registration_token_validity(server: Server, req: Validity) -> dict[str, Any]:
    if not server.accounts.settings.enable_registration:
        raise Forbidden("Registration is not enabled on this homeserver.")
    return {"valid": await server.registration_tokens.is_valid(req.token)}
