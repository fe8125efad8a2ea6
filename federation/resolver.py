"""Names into addresses, and services into names and ports; DNS by Twisted's resolver, no threads.

https://spec.matrix.org/v1.19/server-server-api/#resolving-server-names

Answers are cached for as long as DNS allows, within bounds of ours, and in a bounded number: which names
are looked up is for other people to choose. The hosts file wins over DNS, and `localhost` never leaves the
machine (RFC 6761).
"""

import random
import re
import socket
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.names import client, dns, error, hosts
from twisted.python.filepath import FilePath

from federation.addresses import AddressFilter, as_address
from federation.errors import Unreachable
from federation.shared import Expiring, SingleFlight
from homeserver.clock import Clock

MAX_ADDRESSES = 8
MAX_SERVICES = 16
CACHED_NAMES = 4096
LEAST_SECONDS, MOST_SECONDS, ABSENT_SECONDS, FAILED_SECONDS = 30, 3600, 300, 15
# How long each try waits. Many resolvers drop questions for IPv6 addresses: they get fewer.
TRIES_SECONDS = (1, 2, 3)
IPV6_TRIES_SECONDS = (1, 1)
LOOPBACK = ("127.0.0.1", "::1")

_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\Z")
# Everything that DNS or the way there may fail with; a wrong name is a ValueError.
_FAILURES = (ValueError, error.ResolverError, error.DNSQueryTimeoutError, DeferredTimeout, OSError)


class Hop(NamedTuple):
    """Where to connect: a host name or an address, and a port."""

    host: str
    port: int


class Records(Protocol):
    """The part of `twisted.names.client.Resolver` used here."""

    def lookupAddress(self, name: str, timeout: Sequence[int] | None = None) -> "Deferred[Any]": ...

    def lookupIPV6Address(
        self, name: str, timeout: Sequence[int] | None = None
    ) -> "Deferred[Any]": ...

    def lookupService(self, name: str, timeout: Sequence[int] | None = None) -> "Deferred[Any]": ...


class Resolver:
    def __init__(
        self,
        clock: Clock,
        allowed: AddressFilter,
        records: Records,
        hosts_file: str = "/etc/hosts",
        shuffle: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._allowed = allowed
        self._records = records
        self._hosts_file = hosts_file
        self._random = shuffle
        self._addresses: Expiring[str, list[str]] = Expiring(CACHED_NAMES)
        self._services: Expiring[str, list[Hop]] = Expiring(CACHED_NAMES)
        self._address_flights: SingleFlight[str, list[str]] = SingleFlight()
        self._service_flights: SingleFlight[str, list[Hop]] = SingleFlight()

    async def addresses(self, host: str) -> list[str]:
        """Those of the host's addresses that may be connected to; Unreachable if there are none."""
        found = await self._all_addresses(host)
        if not found:
            raise Unreachable(f"{host} has no address.")
        allowed = [address for address in found if self._allowed.allows(address)]
        if not allowed:
            raise Unreachable(f"{host} is at an address that this server does not connect to.")
        return allowed[:MAX_ADDRESSES]

    async def services(self, name: str) -> list[Hop]:
        """SRV records in the order to try them (RFC 2782); [] if there are none, or DNS cannot say."""
        name = name.rstrip(".").lower()
        if not _NAME.match(name):
            return []
        cached = self._services.get(name, self._clock.now_ms())
        if cached is None:
            cached = await self._service_flights.run(name, lambda: self._look_up_services(name))
        return cached

    async def _all_addresses(self, host: str) -> list[str]:
        literal = as_address(host)
        if literal is not None:
            return [literal]
        name = host.rstrip(".").lower()
        if name == "localhost" or name.endswith(".localhost"):
            return list(LOOPBACK)
        if not _NAME.match(name):
            raise Unreachable(f"{host!r} is no host name.")
        cached = self._addresses.get(name, self._clock.now_ms())
        if cached is None:
            cached = await self._address_flights.run(name, lambda: self._look_up_addresses(name))
        return cached

    async def _look_up_addresses(self, name: str) -> list[str]:
        listed = self._in_hosts_file(name)
        if listed:
            return listed
        answers = await DeferredList(
            [
                self._records.lookupAddress(name, TRIES_SECONDS),
                self._records.lookupIPV6Address(name, IPV6_TRIES_SECONDS),
            ],
            consumeErrors=True,
        )
        found: list[str] = []
        seconds = MOST_SECONDS
        failed = False
        for succeeded, answer in answers:
            if not succeeded:
                failed = failed or not answer.check(error.DNSNameError, error.DNSQueryRefusedError)
                continue
            for record in answer[0]:
                if record.type in (dns.A, dns.AAAA):
                    found.append(_address_of(record.payload))
                    seconds = min(seconds, record.ttl)
        if not found:
            seconds = FAILED_SECONDS if failed else ABSENT_SECONDS
        self._addresses.put(name, found, self._until(seconds))
        return found

    def _in_hosts_file(self, name: str) -> list[str]:
        search: Any = hosts.searchFileForAll  # untyped in Twisted
        return list(dict.fromkeys(search(FilePath(self._hosts_file), name.encode())))

    async def _look_up_services(self, name: str) -> list[Hop]:
        try:
            answers = (await self._records.lookupService(name, TRIES_SECONDS))[0]
        except error.DNSNameError:
            self._services.put(name, [], self._until(ABSENT_SECONDS))
            return []
        except _FAILURES:
            # DNS that fails leaves the ordinary port to try; whoever answers there has to prove who it is.
            self._services.put(name, [], self._until(FAILED_SECONDS))
            return []
        records = [each.payload for each in answers if each.type == dns.SRV]
        targets = [(each.priority, each.weight, _hop(each)) for each in records]
        hops = [hop for hop in self._in_order(targets) if hop.host]
        ttls = [each.ttl for each in answers if each.type == dns.SRV]
        self._services.put(name, hops, self._until(min(ttls, default=ABSENT_SECONDS)))
        return hops

    def _in_order(self, targets: Sequence[tuple[int, int, Hop]]) -> list[Hop]:
        """By priority, and within one at random by weight."""
        left = sorted(targets[:MAX_SERVICES], key=lambda each: (each[0], each[1]))
        order: list[Hop] = []
        while left:
            same = [each for each in left if each[0] == left[0][0]]
            mark = self._random() * (sum(weight for _, weight, _ in same) or 1)
            for chosen in same:
                mark -= chosen[1]
                if mark < 0:
                    break
            left.remove(chosen)
            order.append(chosen[2])
        return order

    def _until(self, seconds: int) -> int:
        return self._clock.now_ms() + 1000 * max(LEAST_SECONDS, min(seconds, MOST_SECONDS))


def _address_of(record: Any) -> str:
    family = socket.AF_INET if isinstance(record, dns.Record_A) else socket.AF_INET6
    return socket.inet_ntop(family, record.address)


def _hop(record: Any) -> Hop:
    return Hop(record.target.name.decode("ascii", "replace").rstrip("."), record.port)


def system_records(reactor: Any) -> Records:
    """DNS as /etc/resolv.conf says."""
    make: Any = client.Resolver  # untyped in Twisted
    records: Records = make("/etc/resolv.conf", timeout=TRIES_SECONDS, reactor=reactor)
    return records
