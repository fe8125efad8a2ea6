"""Who sent a request: the X-Matrix signature, checked.

https://spec.matrix.org/v1.19/server-server-api/#request-authentication

    @put("/_matrix/federation/v1/send/{txn_id}", auth=SERVER)
    async def send(server: Server, me: Origin, req: Send) -> ...

A signed request shows that its server is up again: what waits for it may be sent.

Servers send canonical JSON, mostly, so the body is tried as it came before anything is made of it. Reading
what is not canonical takes its time if it is large, so that happens on a thread; what is made to take long,
as no server's events are, is not read.
"""

from dataclasses import dataclass

import orjson

from federation import federation
from federation.answers import is_suspicious
from federation.federation import Federation
from federation.request_signing import Authorization, parse, signed_bytes
from homeserver.errors import MatrixError, NotJson, RemoteError
from homeserver.http.endpoint import Endpoint
from homeserver.http.request import HttpRequest
from homeserver.protocol import canonical_json
from homeserver.protocol.ids import is_valid_server_name
from homeserver.protocol.signing import VerifyKey
from homeserver.server import Server

LARGE = 64 * 1024


class Unauthorized(MatrixError):
    status, errcode = 401, "M_UNAUTHORIZED"


@dataclass(frozen=True, slots=True)
class Origin:
    """The server that signed the request."""

    server_name: str
    key_id: str
    address: str


class FromServer:
    async def authenticate(self, server: Server, request: HttpRequest, endpoint: Endpoint) -> Origin:
        here = federation.of(server)
        given = _authorization(request)
        if given.destination is not None and given.destination != here.server_name:
            raise Unauthorized("The request is for another server.")
        if given.origin == here.server_name:
            raise Unauthorized("The request claims to come from this server.")
        here.whitelist.check(given.origin)
        try:
            key = await here.keyring.for_request(given.origin, given.key_id)
        except RemoteError as error:
            raise Unauthorized(f"The signature cannot be checked: {error}") from error
        if not await _verifies(request, given, here, key):
            raise Unauthorized(f"The signature of {given.origin} is wrong.")
        here.destinations.answered(given.origin)
        request.finished = await here.limits.enter(given.origin)
        return Origin(given.origin, given.key_id, request.address)


def _authorization(request: HttpRequest) -> Authorization:
    header = request.headers.get(b"authorization")
    if header is None:
        raise Unauthorized("The request is not signed: it has no Authorization header.")
    given = parse(header.decode("latin-1"))
    if given is None or not given.key_id.startswith("ed25519:"):
        raise Unauthorized("The Authorization header is no X-Matrix signature.")
    if not is_valid_server_name(given.origin) or "\0" in given.key_id:
        raise Unauthorized("The origin is no server name.")
    return given


async def _verifies(request: HttpRequest, given: Authorization, here: Federation, key: VerifyKey) -> bool:
    body = request.body
    if not body:
        return _signs(key, request, given, here.server_name, None)
    if _signs(key, request, given, here.server_name, body):
        return True
    if is_suspicious(body):
        raise Unauthorized(f"The signature of {given.origin} is not for the body as it was sent.")

    def read() -> bool:
        return any(_signs(key, request, given, here.server_name, each) for each in _readings(body))

    return read() if len(body) <= LARGE else await here.inspector.apart(read)


def _signs(
    key: VerifyKey, request: HttpRequest, given: Authorization, destination: str, content: bytes | None
) -> bool:
    uri = f"{request.path}?{request.query}" if request.query else request.path
    # A question mark with nothing behind it was part of the URI that was signed.
    for each in (uri,) if request.query else (uri, uri + "?"):
        signed = signed_bytes(request.method, each, given.origin, destination, content)
        if key.verifies(signed, given.signature):
            return True
    return False


def _readings(body: bytes) -> list[bytes]:
    """The body as canonical JSON. Old rooms' events hold numbers that only the second, slow reading keeps."""
    try:
        fast = canonical_json.encode(orjson.loads(body))
        exact = canonical_json.encode_lax(canonical_json.decode_lax(body))
    except (ValueError, RecursionError) as error:
        raise NotJson("The request body is not valid JSON.") from error
    return [fast, exact]


SERVER = FromServer()
