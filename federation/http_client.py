"""HTTPS requests to wherever discovery points, over kept connections.

https://spec.matrix.org/v1.19/server-server-api/#tls

A connection belongs to its target: the name its certificate proved and the places it may have led to.
Nothing here knows of Matrix; whoever calls gives the time limit, which covers finding the address,
connecting, TLS and the whole answer.
"""

from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.interfaces import IHostnameResolver, IReactorPluggableNameResolver
from twisted.internet.protocol import Factory
from zope.interface import implementer

from federation.connection import Connection, Reply, Stale
from federation.errors import Unreachable
from federation.resolver import Hop, Resolver
from federation.tls import ClientTls

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 30.0
KEEP_SECONDS = 50.0
# A request that must not be sent twice uses a kept connection only if it was just used.
FRESH_SECONDS = 5.0
KEPT_PER_TARGET = 4
KEPT_IN_ALL = 500
MAX_HOPS = 4

T = TypeVar("T")


class Target(NamedTuple):
    """`name`: what the certificate must be for, a host name or an address."""

    name: str
    hops: tuple[Hop, ...]


class HttpClient:
    def __init__(self, reactor: Any, resolver: Resolver, tls: ClientTls) -> None:
        self._reactor = reactor
        self._resolver = resolver
        self._tls = tls
        self._kept: dict[Target, list[Connection]] = {}
        self._open: dict[Connection, Target] = {}
        self._kept_count = 0
        self._sweeper: Any = None

    async def request(
        self,
        target: Target,
        method: str,
        uri: str,
        headers: Sequence[tuple[str, str]],
        body: bytes = b"",
        *,
        seconds: float,
        max_body: int,
    ) -> Reply:
        """`uri` is sent as it is. Raises Unreachable or BadAnswer."""
        lines = [f"{method} {uri} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
        if body or method in ("PUT", "POST"):
            lines.append(f"Content-Length: {len(body)}")
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a header contains a line break")
        request = "\r\n".join([*lines, "", ""]).encode() + body
        repeatable = method in ("GET", "PUT")
        return await self.within(
            seconds, self._ask(target, request, repeatable=repeatable, max_body=max_body)
        )

    async def within(self, seconds: float, work: Coroutine[Any, Any, T]) -> T:
        """Unreachable if the work takes longer; it is cancelled then."""
        working = Deferred.fromCoroutine(work)
        timed: Deferred[T] = working.addTimeout(seconds, self._reactor, _out_of_time)
        return await timed

    async def close(self) -> None:
        """Ends every connection; requests that run fail."""
        if self._sweeper is not None and self._sweeper.active():
            self._sweeper.cancel()
        for connection in list(self._open):
            connection.close()

    async def _ask(self, target: Target, request: bytes, *, repeatable: bool, max_body: int) -> Reply:
        connection = self._take(target, repeatable)
        if connection is not None:
            with suppress(Stale):
                return await connection.ask(request, max_body=max_body, silence=SILENCE_SECONDS)
        connection = await self._connect(target)
        return await connection.ask(request, max_body=max_body, silence=SILENCE_SECONDS)

    # Kept connections

    def _take(self, target: Target, repeatable: bool) -> Connection | None:
        kept = self._kept.get(target)
        if not kept:
            return None
        if not repeatable and self._reactor.seconds() - kept[-1].idle_since > FRESH_SECONDS:
            return None
        connection = kept.pop()
        self._kept_count -= 1
        if not kept:
            del self._kept[target]
        return connection

    def _idle(self, connection: Connection) -> None:
        target = self._open[connection]
        kept = self._kept.setdefault(target, [])
        if len(kept) >= KEPT_PER_TARGET or self._kept_count >= KEPT_IN_ALL:
            if not kept:
                del self._kept[target]
            connection.close()
            return
        kept.append(connection)
        self._kept_count += 1
        if self._sweeper is None:
            self._sweeper = self._reactor.callLater(KEEP_SECONDS, self._sweep)

    def _gone(self, connection: Connection) -> None:
        target = self._open.pop(connection, None)
        kept = self._kept.get(target) if target is not None else None
        if target is not None and kept and connection in kept:
            kept.remove(connection)
            self._kept_count -= 1
            if not kept:
                del self._kept[target]

    def _sweep(self) -> None:
        self._sweeper = None
        oldest = self._reactor.seconds() - KEEP_SECONDS
        for connection in [each for kept in self._kept.values() for each in kept]:
            if connection.idle_since <= oldest:
                connection.close()
        if self._kept:
            self._sweeper = self._reactor.callLater(KEEP_SECONDS / 2, self._sweep)

    # Connecting

    async def _connect(self, target: Target) -> Connection:
        failure: Unreachable | None = None
        for hop in target.hops[:MAX_HOPS]:
            try:
                return await self._connect_hop(target, hop)
            except Unreachable as error:
                failure = error
        raise failure or Unreachable(f"{target.name} says that it has no server.")

    async def _connect_hop(self, target: Target, hop: Hop) -> Connection:
        addresses = await self._resolver.addresses(hop.host)
        # The name means nothing any more, and Twisted would refuse some that DNS takes.
        # zope's interfaces are not known to the type checker
        endpoint: Any = HostnameEndpoint(
            _FixedAddresses(self._reactor, addresses), b"found.invalid", hop.port, CONNECT_SECONDS
        )
        name: Any = self._tls.for_name(target.name)
        secured: Any = wrapClientTLS(name, endpoint)
        factory: Any = Factory.forProtocol(lambda: Connection(self._reactor, self._idle, self._gone))
        factory.noisy = False
        try:
            connection: Connection = await secured.connect(factory)
        except ConnectingCancelledError as error:
            raise CancelledError from error
        except (ConnectError, OSError) as error:
            raise Unreachable(f"{hop.host} port {hop.port}: {error}") from None
        self._open[connection] = target
        return connection


def _out_of_time(value: Any, seconds: float) -> Any:
    """What `addTimeout` makes of an outcome after it cancelled."""
    value.trap(CancelledError)
    raise Unreachable(f"No answer within {seconds:g} seconds.")


@implementer(IHostnameResolver, IReactorPluggableNameResolver)
class _FixedAddresses:
    """The reactor, except that names mean the addresses that were found and allowed already."""

    def __init__(self, reactor: Any, addresses: Sequence[str]) -> None:
        self._reactor = reactor
        self._addresses = addresses
        self.nameResolver = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def resolveHostName(
        self,
        resolutionReceiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        resolutionReceiver.resolutionBegan(self)
        for address in self._addresses:
            family = IPv6Address if ":" in address else IPv4Address
            resolutionReceiver.addressResolved(family("TCP", address, portNumber))
        resolutionReceiver.resolutionComplete()
        return self

    @property
    def name(self) -> str:
        return ""

    def cancel(self) -> None:
        """Nothing is under way."""
