"""What federation endpoints and services reach: the part of the object graph below `Server.federation`.

`homeserver.server` may not know these classes, so it holds the part untyped; `of(server)` gives it its type.
"""

from dataclasses import dataclass

from federation.client import FederationClient
from federation.destinations import Destinations
from federation.http_client import HttpClient
from federation.identity_servers import IdentityServersClient
from federation.inspection import Inspector
from federation.key_documents import OwnKeys
from federation.keyring import Keyring
from federation.notary import NotaryService
from federation.origin_limits import OriginLimits
from federation.policy_servers import PolicyServersClient
from federation.receiver import Receiver
from federation.rooms_client import RoomsClient
from federation.whitelist import Whitelist
from homeserver.server import Server


@dataclass(frozen=True, slots=True)
class Federation:
    server_name: str
    own_keys: OwnKeys
    http: HttpClient
    client: FederationClient
    keyring: Keyring
    inspector: Inspector
    rooms: RoomsClient
    policy_servers: PolicyServersClient
    identity_servers: IdentityServersClient
    notary: NotaryService
    destinations: Destinations
    whitelist: Whitelist
    limits: OriginLimits
    receiver: Receiver | None = None
    serve_server_wellknown: bool = False
    serve_public_rooms: bool = False


def of(server: Server) -> Federation:
    federation: Federation = server.federation
    return federation


def receiver_of(server: Server) -> Receiver:
    """Set last: it stands on services that stand on the rest of federation."""
    receiver = of(server).receiver
    if receiver is None:
        raise RuntimeError("the server was built without its receiver")
    return receiver
