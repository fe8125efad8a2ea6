"""Server names taken apart: host and port, as discovery, Host headers and certificates need them.

https://spec.matrix.org/v1.19/appendices/#server-name
"""

from typing import NamedTuple

from federation.addresses import as_address
from federation.errors import Unreachable
from homeserver.protocol.ids import is_valid_server_name


class ServerName(NamedTuple):
    """`host` keeps the brackets of an IPv6 address; `address` is set (without them) for an IP literal."""

    host: str
    port: int | None
    address: str | None

    @property
    def certificate_name(self) -> str:
        return self.address or self.host


def parse(name: str) -> ServerName:
    """Unreachable for what is no server name: there is nowhere to ask."""
    if not is_valid_server_name(name):
        raise Unreachable(f"{name[:255]!r} is no server name.")
    host, colon, port = name.rpartition(":")
    if not colon or not port.isdigit() or port.endswith("]"):
        host, port = name, ""
    if port and not 0 < int(port) < 65536:
        raise Unreachable(f"{name!r} has no possible port.")
    return ServerName(host, int(port) if port else None, as_address(host))
