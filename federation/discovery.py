"""From a server name to where its server listens, and who it must prove to be.

https://spec.matrix.org/v1.19/server-server-api/#resolving-server-names

Host header and certificate are always for the name that the server chose, its own or the delegated one,
never for what DNS says: DNS is not to be trusted with that.
"""

from typing import NamedTuple

from federation.http_client import Target
from federation.names import ServerName, parse
from federation.resolver import Hop, Resolver
from federation.well_known import WellKnown

FEDERATION_PORT = 8448


class Route(NamedTuple):
    target: Target
    host_header: str


class Discovery:
    def __init__(self, resolver: Resolver, well_known: WellKnown, port: int = FEDERATION_PORT) -> None:
        self._resolver = resolver
        self._well_known = well_known
        self._port = port

    async def find(self, server_name: str) -> Route:
        """Unreachable if it is no server name; whether anybody is there shows on connecting."""
        name = parse(server_name)
        if name.address is not None or name.port is not None:
            return self._direct(name, server_name)
        delegated = await self._well_known.delegated(name.host)
        if delegated is not None:
            server_name, name = delegated, parse(delegated)
            if name.address is not None or name.port is not None:
                return self._direct(name, server_name)
        for service in ("_matrix-fed", "_matrix"):
            hops = await self._resolver.services(f"{service}._tcp.{name.host}")
            if hops:
                return Route(Target(name.certificate_name, tuple(hops)), server_name)
        return self._direct(name, server_name)

    def _direct(self, name: ServerName, header: str) -> Route:
        place = name.certificate_name
        return Route(Target(place, (Hop(place, name.port or self._port),)), header)
