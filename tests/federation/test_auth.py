"""Two servers over TLS: whose requests are taken, and whose are not."""

from dataclasses import replace
from typing import Annotated, Any

import orjson
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from federation.client import path_of
from federation.errors import Refused
from federation.origin_limits import OriginLimits, OriginRate
from federation.request_signing import authorize
from federation.server.auth import LARGE, SERVER, Origin
from federation.server.wellknown import delegated_name
from homeserver.http.endpoint import Body, Endpoint, Request
from homeserver.protocol import canonical_json
from homeserver.protocol.signing import SigningKey
from homeserver.server import Server
from tests.federation.case import FederationCase
from tests.federation.remote import the_reactor
from tests.homeserver.http.wire import DEFAULTS

PATH = "/_matrix/federation/v1/test"


class Echo(Request, kw_only=True):
    what: str
    content: Annotated[dict[str, Any], Body]


def echo(server: Server, me: Origin, req: Echo) -> dict[str, Any]:
    return {"origin": me.server_name, "what": req.what, "content": req.content}


def who(server: Server, me: Origin) -> dict[str, Any]:
    return {"origin": me.server_name}


ENDPOINTS = [
    Endpoint("PUT", PATH + "/{what}", echo, **{**DEFAULTS, "auth": SERVER}),
    Endpoint("GET", PATH, who, **{**DEFAULTS, "auth": SERVER}),
]


class Authentication(FederationCase):
    def setUp(self) -> None:
        super().setUp()
        # Each is called like its listener, whose port is known only once it listens.
        self.receiver = self.make_here("receiver.test")
        self.port = self.serve(self.receiver, *ENDPOINTS)
        self.sender = self.make_here("sender.test")
        self.sender_port = self.serve(self.sender)
        for here in (self.receiver, self.sender):
            here.records.addresses = {"sender.test": ["127.0.0.1"], "receiver.test": ["127.0.0.1"]}
            here.http._tls = _AnyName(here.http._tls)  # type: ignore[assignment]
            here.records.services = {
                "_matrix-fed._tcp.sender.test": [(1, 1, self.sender_port, "sender.test")],
                "_matrix-fed._tcp.receiver.test": [(1, 1, self.port, "receiver.test")],
            }

            async def nobody(host: str) -> None:
                return None

            here.well_known.delegated = nobody  # type: ignore[method-assign]

    async def send(self, header: str | None, body: bytes = b"", uri: str = PATH) -> int:
        """A request with a header of one's own making; the status."""
        route = await self.sender.client._discovery.find("receiver.test")
        headers = [("Host", "receiver.test")] + ([("Authorization", header)] if header is not None else [])
        method = "PUT" if body else "GET"
        reply = await self.sender.http.request(
            route.target, method, uri, headers, body, seconds=10, max_body=1_000_000
        )
        return reply.status

    def signed(self, uri: str = PATH, **changes: Any) -> str:
        given: dict[str, Any] = {
            "method": "GET", "uri": uri, "origin": "sender.test", "destination": "receiver.test",
            "content": None, "key": self.sender.key,
        } | changes
        return authorize(**given)

    async def test_signed_requests_are_taken(self) -> None:
        path = path_of(PATH, "a/b é+%")
        content = {"ü": [1, {"z": None}], "a": 2**53}
        found = await self.sender.client.put("receiver.test", path, content)
        assert found == {"origin": "sender.test", "what": "a/b é+%", "content": content}
        assert await self.sender.client.get("receiver.test", PATH, {"x": "ä &"}) == {"origin": "sender.test"}

    async def test_the_uri_counts_as_it_is_sent(self) -> None:
        for uri in (PATH + "?a=%2f%2F+b", PATH + "?", PATH + "?a&b=&=c"):
            assert await self.send(self.signed(uri), uri=uri) == 200, uri
        assert await self.send(self.signed(PATH + "?a=%2F"), uri=PATH + "?a=%2f") == 401

    async def test_numbers_of_old_rooms(self) -> None:
        content = {"float": 1.5e10, "big": 10**30, "list": [0.1, -0.0]}
        body = canonical_json.encode_lax(content)
        uri = path_of(PATH, "x")
        header = self.signed(uri, method="PUT", content=body)
        spaced = b'{ "list": [0.1, -0.0], "float": 15000000000.0, "big": 1' + b"0" * 30 + b"}"
        for each in (body, spaced):
            assert await self.send(header, each, uri) == 200

    async def test_the_destination(self) -> None:
        assert await self.send(self.signed(destination="other.test")) == 401
        without = self.signed().replace('destination="receiver.test",', "")
        assert await self.send(without) == 200

    async def test_what_is_refused(self) -> None:
        other = SigningKey.generate("other")
        same_name = SigningKey.generate(self.sender.key.version)
        refused = [
            None,
            "",
            "Bearer token",
            self.signed(key=other),
            self.signed(key=same_name),
            self.signed(uri="/_matrix/federation/v1/other"),
            self.signed(method="PUT"),
            self.signed(content=b"{}"),
            self.signed(origin="receiver.test"),
            self.signed(origin="nowhere.test"),
            self.signed(origin="a b"),
            self.signed().replace('sig="', 'sig="A'),
            self.signed().replace("ed25519:", "rsa:"),
        ]
        for header in refused:
            assert await self.send(header) == 401, header

    async def test_the_body_is_signed(self) -> None:
        uri = path_of(PATH, "x")
        header = self.signed(uri, method="PUT", content=b'{"a":1}')
        assert await self.send(header, b'{ "a" : 1 }', uri) == 200
        assert await self.send(header, b'{"a":2}', uri) == 401
        assert await self.send(header, b'{"a":1', uri) == 400

    async def test_a_large_body_that_is_not_canonical(self) -> None:
        uri = path_of(PATH, "x")
        content = {"n": list(range(LARGE // 4)), "a": 0.5}
        header = self.signed(uri, method="PUT", content=canonical_json.encode_lax(content))
        assert await self.send(header, orjson.dumps(content), uri) == 200
        assert await self.send(header, orjson.dumps({**content, "b": 1}), uri) == 401
        assert await self.send(header, orjson.dumps(content)[:-1], uri) == 400

    async def test_a_server_that_asks_for_too_much(self) -> None:
        rate = OriginRate(sleep_limit=2, reject_limit=1)
        limits = OriginLimits(self.clock, rate)
        self.receiver.federation = self.receiver.server.federation = replace(
            self.receiver.federation, limits=limits
        )
        for _ in range(2):
            assert await self.send(self.signed()) == 200
        third = Deferred.fromCoroutine(self.send(self.signed()))
        while not self.clock.reactor.getDelayedCalls():
            await deferLater(the_reactor, 0.01)
        assert await self.send(self.signed()) == 429
        self.clock.advance(rate.sleep_ms / 1000)
        assert await third == 200
        self.clock.advance(1)
        assert await self.send(self.signed()) == 200

    async def test_the_whitelist(self) -> None:
        self.receiver.whitelist._allowed = frozenset({"friend.test"})
        error = await self.assert_raises(Refused, self.sender.client.get("receiver.test", PATH))
        assert (error.status, error.errcode) == (403, "M_FORBIDDEN")

    async def test_a_request_ends_our_backing_off(self) -> None:
        recovered: list[str] = []
        self.receiver.destinations.on_recovered.append(recovered.append)
        await self.receiver.destinations.failed("sender.test")
        await self.sender.client.get("receiver.test", PATH)
        await self.receiver.db.write(lambda tx: None)
        assert recovered == ["sender.test"]
        assert await self.receiver.destinations.retry_at("sender.test") == 0

    async def test_what_needs_no_signature(self) -> None:
        found = await self.sender.client.get("receiver.test", "/_matrix/federation/v1/version")
        assert found["server"]["name"] == "Hearth"
        error = await self.assert_raises(
            Refused, self.sender.client.get("receiver.test", "/.well-known/matrix/server")
        )
        assert error.status == 404


class _AnyName:
    """The test listeners' certificate is for localhost."""

    def __init__(self, tls: Any) -> None:
        self._tls = tls

    def for_name(self, name: str) -> Any:
        return self._tls.for_name("localhost")


def test_the_name_in_well_known() -> None:
    assert delegated_name("a.test") == "a.test:443"
    assert delegated_name("a.test:8448") == "a.test:8448"
    assert delegated_name("[::1]") == "[::1]:443"
    assert delegated_name("[::1]:1") == "[::1]:1"
