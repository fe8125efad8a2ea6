"""Making accounts with the shared secret, as `register_new_matrix_user` and many scripts do.

Open to whoever proves to know `registration_shared_secret`; see `homeserver.accounts.shared_secret`.
"""

from typing import Any

from homeserver.http.endpoint import OPEN, Request, get, post
from homeserver.protocol import ids
from homeserver.server import Server


class RegisterWithSecret(Request, kw_only=True):
    nonce: str
    username: str
    password: str
    mac: str
    admin: bool = False
    user_type: str | None = None
    inhibit_login: bool = False


@get("/_synapse/admin/v1/register", auth=OPEN)
def nonce(server: Server) -> dict[str, Any]:
    return {"nonce": server.shared_secret.nonce()}


@post("/_synapse/admin/v1/register", auth=OPEN)
async def register_with_secret(server: Server, req: RegisterWithSecret) -> dict[str, Any]:
    server.shared_secret.require_proof(
        req.nonce, req.username, req.password, req.admin, req.user_type, req.mac
    )
    user_id, session = await server.accounts.register(
        req.username,
        req.password,
        is_admin=req.admin,
        session=None if req.inhibit_login else (None, None, False),
    )
    named = {"user_id": user_id, "home_server": ids.domain_of(user_id)}
    return named if session is None else named | session.response()
