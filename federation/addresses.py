"""Which addresses other people may make this server connect to.

https://spec.matrix.org/v1.19/server-server-api/#server-discovery

Whoever names a server in a room ID decides where we connect, so addresses that mean something else to us
than to the rest of the world are refused, also where they hide inside an IPv6 address (mapped, 6to4,
NAT64). The filter judges the address that is connected to, never the name: a name may change its mind.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address

_NAT64 = IPv6Network("64:ff9b::/96")


class AddressFilter:
    """`allowed` are exceptions from `denied`; both are networks such as 10.0.0.0/8, or single addresses."""

    def __init__(self, denied: Iterable[str], allowed: Iterable[str] = ()) -> None:
        self._denied = [ip_network(each, strict=False) for each in denied]
        self._allowed = [ip_network(each, strict=False) for each in allowed]

    def allows(self, text: str) -> bool:
        address = ip_address(text)
        meanings = [address, *_embedded(address)]
        if any(_within(self._allowed, each) for each in meanings):
            return True
        if any(each.is_unspecified or each.is_multicast for each in meanings):
            return False
        return not any(_within(self._denied, each) for each in meanings)


def _within(networks: Iterable[IPv4Network | IPv6Network], address: Address) -> bool:
    return any(address in network for network in networks)


def _embedded(address: Address) -> list[IPv4Address]:
    if isinstance(address, IPv4Address):
        return []
    hidden = [address.ipv4_mapped, address.sixtofour]
    if address in _NAT64:
        hidden.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return [each for each in hidden if each is not None]


def as_address(host: str) -> str | None:
    """The address if `host` is an IP literal (IPv6 with or without brackets)."""
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    try:
        return str(ip_address(host))
    except ValueError:
        return None
