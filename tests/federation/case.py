"""The case federation tests derive from: this server's half of federation, real sockets, DNS of its own.

Its clock stands still (time limits of connections run on the reactor's). Whatever a test opens is closed.
"""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError, fail, succeed
from twisted.names import dns, error
from twisted.trial import unittest

import federation.server  # noqa: F401 (declares the endpoints)
from federation.addresses import AddressFilter
from federation.client import FederationClient
from federation.destinations import Destinations
from federation.discovery import Discovery
from federation.federation import Federation
from federation.http_client import HttpClient
from federation.identity_servers import IdentityServersClient
from federation.inspection import Inspector
from federation.key_documents import OwnKeys
from federation.key_fetching import KeyFetcher, Notary
from federation.keyring import Keyring
from federation.notary import NotaryService
from federation.origin_limits import OriginLimits, OriginRate
from federation.policy_servers import PolicyServersClient
from federation.resolver import Resolver
from federation.rooms_client import RoomsClient
from federation.tls import ClientTls
from federation.well_known import WellKnown
from federation.whitelist import Whitelist
from homeserver.http.application import Application
from homeserver.http.endpoint import ROUTES, Endpoint
from homeserver.http.server import HttpFactory
from homeserver.protocol.signing import SigningKey
from storage import migrations
from storage.database import Database
from storage.engines import SQLiteEngine
from tests.federation.authority import Authority
from tests.federation.remote import Asked, Remote, the_reactor
from tests.homeserver.sync.fakes import FakeClock

records: Any = dns  # untyped in Twisted
DAY_MS = 24 * 3_600_000



class FakeRecords:
    """DNS: name → addresses, and service → (priority, weight, port, target). `broken` names time out."""

    def __init__(self) -> None:
        self.addresses: dict[str, list[str]] = {}
        self.services: dict[str, list[tuple[int, int, int, str]]] = {}
        self.broken: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        self.ttl = 600

    def lookupAddress(self, name: str, timeout: Any = None) -> "Deferred[Any]":
        found = [each for each in self.addresses.get(name, []) if ":" not in each]
        return self._answer("A", name, [records.Record_A(each, self.ttl) for each in found])

    def lookupIPV6Address(self, name: str, timeout: Any = None) -> "Deferred[Any]":
        found = [each for each in self.addresses.get(name, []) if ":" in each]
        return self._answer("AAAA", name, [records.Record_AAAA(each, self.ttl) for each in found])

    def lookupService(self, name: str, timeout: Any = None) -> "Deferred[Any]":
        found = self.services.get(name, [])
        made = [records.Record_SRV(*numbers, target.encode(), self.ttl) for *numbers, target in found]
        return self._answer("SRV", name, made)

    def _answer(self, kind: str, name: str, found: Sequence[Any]) -> "Deferred[Any]":
        self.asked.append((kind, name))
        if name in self.broken:
            return fail(TimeoutError())
        if not found:
            return fail(error.DNSNameError())
        headers = [dns.RRHeader(name.encode(), each.TYPE, ttl=self.ttl, payload=each) for each in found]
        return succeed((headers, [], []))


class Here:
    """One server's half of federation, with its database; `listen` serves its endpoints."""

    def __init__(
        self,
        case: "FederationCase",
        name: str,
        *,
        notaries: Sequence[Notary] = (),
        whitelist: Sequence[str] | None = None,
        denied: Sequence[str] = (),
        ports: tuple[int, int] = (8448, 443),
    ) -> None:
        self.name = name
        self.clock = case.clock
        self.records = FakeRecords()
        engine = SQLiteEngine(str(case.directory / f"{len(case.here)}.db"))
        migrations.upgrade(engine)
        self.db = Database(engine, the_reactor)
        self.db.start()
        self.key = SigningKey.generate()
        resolver = Resolver(self.clock, AddressFilter(denied), self.records, "/nonexistent", lambda: 0.5)
        self.http = HttpClient(the_reactor, resolver, ClientTls([case.authority.path]))
        self.well_known = WellKnown(self.http, self.clock, ports[1])
        discovery = Discovery(resolver, self.well_known, ports[0])
        self.whitelist = Whitelist(whitelist)
        self.destinations = Destinations(self.db, self.clock, lambda: 0.5)
        self.client = FederationClient(
            name, self.key, self.http, discovery, self.destinations, self.whitelist
        )
        own = OwnKeys(name, [self.key], [], self.clock, DAY_MS)
        self.fetcher = KeyFetcher(self.db, self.clock, self.client, notaries)
        self.keyring = Keyring(self.db, self.clock, own, self.fetcher)
        self.inspector = Inspector(the_reactor, self.keyring)
        self.rooms = RoomsClient(self.client, self.inspector)
        self.federation = Federation(
            server_name=name,
            own_keys=own,
            http=self.http,
            client=self.client,
            keyring=self.keyring,
            inspector=self.inspector,
            rooms=self.rooms,
            policy_servers=PolicyServersClient(self.client),
            identity_servers=IdentityServersClient(self.http),
            notary=NotaryService(self.db, self.clock, own, self.fetcher, self.whitelist),
            destinations=self.destinations,
            whitelist=self.whitelist,
            limits=OriginLimits(self.clock, OriginRate()),
        )
        self.server: Any = SimpleNamespace(federation=self.federation, clock=self.clock)

    async def close(self) -> None:
        await self.http.close()
        self.db.stop()


class FederationCase(unittest.TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.clock = FakeClock()
        self.authority = Authority(self.directory)
        self.here: list[Here] = []

    def make_here(self, name: str = "here.test", **options: Any) -> Here:
        here = Here(self, name, **options)
        self.here.append(here)
        self.addCleanup(lambda: Deferred.fromCoroutine(here.close()))
        return here

    def make_remote(
        self, reply: Callable[[Asked], bytes | Sequence[bytes] | None], *names: str, **options: Any
    ) -> Remote:
        remote = Remote(self.authority, reply, names or ("localhost", "127.0.0.1"), **options)
        self.addCleanup(lambda: Deferred.fromCoroutine(remote.close()))
        return remote

    def serve(self, here: Here, *endpoints: Endpoint) -> int:
        """Serves the federation endpoints, and these, under TLS for localhost; the port."""
        routes = [each for each in ROUTES if each.handler.__module__.startswith("federation.")]
        factory: Any = HttpFactory(Application(here.server, [*routes, *endpoints]), the_reactor)
        context = self.authority.context_factory("localhost")
        port = the_reactor.listenSSL(0, factory, context, interface="127.0.0.1")

        async def close() -> None:
            for connection in list(factory.connections):
                connection.abort()
            await port.stopListening()

        self.addCleanup(lambda: Deferred.fromCoroutine(close()))
        number: int = port.getHost().port
        return number

    async def assert_raises(self, kind: type[Exception], work: Any) -> Any:
        try:
            result = await work
        except kind as error:
            return error
        raise AssertionError(f"{kind.__name__} was not raised, but there came {result!r}")
