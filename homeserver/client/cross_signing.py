"""Cross-signing. https://spec.matrix.org/v1.19/client-server-api/#cross-signing"""

from typing import Annotated, Any

from homeserver.devices.cross_signing import Usage
from homeserver.http.endpoint import USER, Body, HttpRequest, Request, post
from homeserver.http.requester import Requester
from homeserver.http.uia import authenticate
from homeserver.server import Server

_UNSTABLE = "/_matrix/client/unstable/keys"


class UploadSigningKeys(Request, kw_only=True):
    master_key: dict[str, Any] | None = None
    self_signing_key: dict[str, Any] | None = None
    user_signing_key: dict[str, Any] | None = None


class UploadSignatures(Request, kw_only=True):
    signed: Annotated[dict[str, dict[str, dict[str, Any]]], Body]


@post(
    "/_matrix/client/v3/keys/device_signing/upload",
    auth=USER,
    rate="keys",
    aliases=[f"{_UNSTABLE}/device_signing/upload"],
)
async def upload_signing_keys(
    server: Server, me: Requester, http: HttpRequest, req: UploadSigningKeys
) -> None:
    """The first keys are taken freely; replacing them needs the user's password."""
    keys: dict[Usage, dict[str, Any] | None] = {
        "master": req.master_key,
        "self_signing": req.self_signing_key,
        "user_signing": req.user_signing_key,
    }
    if not await server.cross_signing.upload(me.user_id, keys, authorised=False):
        await authenticate(server, http, me)
        await server.cross_signing.upload(me.user_id, keys, authorised=True)


@post(
    "/_matrix/client/v3/keys/signatures/upload",
    auth=USER,
    rate="keys",
    aliases=[f"{_UNSTABLE}/signatures/upload"],
)
async def upload_signatures(server: Server, me: Requester, req: UploadSignatures) -> dict[str, Any]:
    return {"failures": await server.signatures.upload(me.user_id, req.signed)}
