"""From server names to places: the steps of the specification, in order; DNS; well-known over real TLS."""

from typing import Any

from federation.connection import Reply
from federation.discovery import Discovery
from federation.errors import Unreachable
from federation.resolver import ABSENT_SECONDS, Hop
from federation.well_known import DEFAULT_MS, LEAST_MS, MOST_MS, PATH, lifetime_ms
from tests.federation.case import FakeRecords, FederationCase
from tests.federation.remote import Asked, Remote, answer
from tests.homeserver.sync.fakes import START_MS


class Steps(FederationCase):
    async def found(self, name: str, delegated: str | None = None, **services: Any) -> tuple[Any, ...]:
        """(certificate name, Host header, hops)"""
        here = self.make_here()
        asked: list[str] = []

        class KnownAnswers:
            async def delegated(self, host: str) -> str | None:
                asked.append(host)
                return delegated

        here.records.services = {name: [(1, 1, 443, target)] for name, target in services.items()}
        known: Any = KnownAnswers()
        route = await Discovery(here.http._resolver, known).find(name)
        self.asked = asked
        return route.target.name, route.host_header, list(route.target.hops)

    async def test_an_address(self) -> None:
        assert await self.found("1.2.3.4") == ("1.2.3.4", "1.2.3.4", [Hop("1.2.3.4", 8448)])
        assert await self.found("1.2.3.4:5") == ("1.2.3.4", "1.2.3.4:5", [Hop("1.2.3.4", 5)])
        assert await self.found("[2001:db8::1]") == (
            "2001:db8::1", "[2001:db8::1]", [Hop("2001:db8::1", 8448)]
        )
        assert await self.found("[2001:db8::1]:5") == (
            "2001:db8::1", "[2001:db8::1]:5", [Hop("2001:db8::1", 5)]
        )
        assert self.asked == []

    async def test_an_explicit_port(self) -> None:
        assert await self.found("a.test:5") == ("a.test", "a.test:5", [Hop("a.test", 5)])
        assert self.asked == []

    async def test_delegation(self) -> None:
        assert await self.found("a.test", "1.2.3.4") == ("1.2.3.4", "1.2.3.4", [Hop("1.2.3.4", 8448)])
        assert await self.found("a.test", "b.test:5") == ("b.test", "b.test:5", [Hop("b.test", 5)])
        assert await self.found("a.test", "b.test") == ("b.test", "b.test", [Hop("b.test", 8448)])
        assert self.asked == ["a.test"]

    async def test_services_of_the_delegated_name(self) -> None:
        services = {"_matrix-fed._tcp.b.test": "c.test", "_matrix._tcp.b.test": "d.test"}
        assert await self.found("a.test", "b.test", **services) == ("b.test", "b.test", [Hop("c.test", 443)])
        del services["_matrix-fed._tcp.b.test"]
        assert await self.found("a.test", "b.test", **services) == ("b.test", "b.test", [Hop("d.test", 443)])

    async def test_services_without_delegation(self) -> None:
        services = {"_matrix._tcp.a.test": "d.test"}
        assert await self.found("a.test", **services) == ("a.test", "a.test", [Hop("d.test", 443)])
        services["_matrix-fed._tcp.a.test"] = "c.test"
        assert await self.found("a.test", **services) == ("a.test", "a.test", [Hop("c.test", 443)])

    async def test_nothing_else(self) -> None:
        assert await self.found("a.test") == ("a.test", "a.test", [Hop("a.test", 8448)])


class Names(FederationCase):
    async def test_answers_are_cached_as_long_as_dns_allows(self) -> None:
        here = self.make_here()
        resolver, records = here.http._resolver, here.records
        records.addresses["a.test"] = ["9.9.9.9", "2620:fe::fe"]
        for _ in range(3):
            assert await resolver.addresses("A.test.") == ["9.9.9.9", "2620:fe::fe"]
        assert len(records.asked) == 2
        self.clock.advance(records.ttl + 1)
        await resolver.addresses("a.test")
        assert len(records.asked) == 4

    async def test_so_is_their_absence(self) -> None:
        here = self.make_here()
        resolver, records = here.http._resolver, here.records
        for _ in range(3):
            await self.assert_raises(Unreachable, resolver.addresses("a.test"))
            assert await resolver.services("_matrix._tcp.a.test") == []
        assert len(records.asked) == 3
        self.clock.advance(ABSENT_SECONDS + 1)
        records.addresses["a.test"] = ["9.9.9.9"]
        assert await resolver.addresses("a.test") == ["9.9.9.9"]

    async def test_dns_that_fails_is_asked_again_soon(self) -> None:
        here = self.make_here()
        resolver, records = here.http._resolver, here.records
        records.broken.add("a.test")
        await self.assert_raises(Unreachable, resolver.addresses("a.test"))
        records.broken.clear()
        records.addresses["a.test"] = ["9.9.9.9"]
        self.clock.advance(31)
        assert await resolver.addresses("a.test") == ["9.9.9.9"]

    async def test_services_go_by_priority(self) -> None:
        here = self.make_here()
        here.records.services["s.test"] = [(2, 1, 1, "c.test"), (1, 9, 1, "b.test"), (1, 0, 1, "a.test")]
        found = await here.http._resolver.services("s.test")
        assert [hop.host for hop in found] == ["b.test", "a.test", "c.test"]

    async def test_what_is_no_name_is_not_looked_up(self) -> None:
        here = self.make_here()
        for name in ("a..test", "x" * 64 + ".test", "-\n", ""):
            await self.assert_raises(Unreachable, here.http._resolver.addresses(name))
            assert await here.http._resolver.services(name) == []
        assert here.records.asked == []


class WellKnownOverTls(FederationCase):
    def set_up(self, *names: str, **options: Any) -> tuple[Any, Remote]:
        remote = self.make_remote(lambda asked: answer({"m.server": "b.test:1"}), *names, **options)
        here = self.make_here(ports=(8448, remote.port))
        for name in names:
            here.records.addresses[name] = ["127.0.0.1"]
        return here, remote

    async def test_it_is_asked_once_a_day(self) -> None:
        here, remote = self.set_up("a.test")
        assert await here.well_known.delegated("a.test") == "b.test:1"
        self.clock.advance(23 * 3600)
        assert await here.well_known.delegated("a.test") == "b.test:1"
        assert [asked.uri for asked in remote.asked] == [PATH]
        self.clock.advance(2 * 3600)
        await here.well_known.delegated("a.test")
        assert len(remote.asked) == 2

    async def test_wrong_answers_count_for_minutes_and_then_longer(self) -> None:
        here, remote = self.set_up("a.test")
        wrong = [answer({}, 404), *map(answer, (b"<html>", [], {"m.server": "a b"}, {"m.server": 5}))]
        for each in wrong:
            remote.reply = lambda asked, each=each: each  # type: ignore[misc]
            before = len(remote.asked)
            assert await here.well_known.delegated("a.test") is None
            assert await here.well_known.delegated("a.test") is None
            assert len(remote.asked) == before + 1
            self.clock.advance(3601)

    async def test_a_delegation_survives_an_outage(self) -> None:
        here, remote = self.set_up("a.test")
        await here.well_known.delegated("a.test")
        self.clock.advance(25 * 3600)
        remote.reply = lambda asked: answer({}, 500)
        assert await here.well_known.delegated("a.test") == "b.test:1"
        self.clock.advance(24 * 3600)
        assert await here.well_known.delegated("a.test") is None

    async def test_redirects_are_followed_to_an_end(self) -> None:
        here, remote = self.set_up("a.test", "www.a.test")

        def reply(asked: Asked) -> bytes:
            if asked.uri == PATH:
                return answer({}, 301, Location=f"https://www.a.test:{remote.port}/one")
            if asked.uri == "/one":
                return answer({}, 302, Location="/two?x")
            return answer({"m.server": "b.test"})

        remote.reply = reply
        assert await here.well_known.delegated("a.test") == "b.test"
        hosts = [asked.headers["host"].partition(":")[0] for asked in remote.asked]
        assert hosts == ["a.test", "www.a.test", "www.a.test"]

    async def test_redirects_without_end_or_to_plain_http(self) -> None:
        here, remote = self.set_up("a.test")
        remote.reply = lambda asked: answer({}, 302, Location=PATH)
        assert await here.well_known.delegated("a.test") is None
        assert len(remote.asked) == 6
        for place in ("http://a.test/", "https://[", "ftp://a.test", "https://a.test:99999/", "https:///x"):
            self.clock.advance(3601)
            remote.reply = lambda asked, place=place: answer({}, 302, Location=place)  # type: ignore[misc]
            assert await here.well_known.delegated("a.test") is None

    async def test_too_much(self) -> None:
        here, remote = self.set_up("a.test")
        remote.reply = lambda asked: answer({"m.server": "b.test", "x": "y" * 60_000})
        assert await here.well_known.delegated("a.test") is None

    async def test_a_wrong_certificate(self) -> None:
        here, remote = self.set_up("a.test")
        here.records.addresses["c.test"] = ["127.0.0.1"]
        assert await here.well_known.delegated("c.test") is None
        assert remote.asked == []

    async def test_the_whole_way_to_a_delegated_server(self) -> None:
        server = self.make_remote(lambda asked: answer({"here": True}), "matrix.a.test")
        here, remote = self.set_up("a.test")
        here.records.services["_matrix-fed._tcp.matrix.a.test"] = [(1, 1, server.port, "cloud.test")]
        here.records.addresses["cloud.test"] = ["127.0.0.1"]
        remote.reply = lambda asked: answer({"m.server": "matrix.a.test"})
        assert await here.client.get("a.test", "/x") == {"here": True}
        (asked,) = server.asked
        assert asked.headers["host"] == "matrix.a.test"
        assert 'destination="a.test"' in asked.headers["authorization"]


def test_lifetimes() -> None:
    def lifetime(**headers: str) -> int:
        given = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
        return lifetime_ms(Reply(200, given, b""), START_MS)

    assert lifetime() == DEFAULT_MS
    assert lifetime(cache_control="public, max-age=7200") == 7_200_000
    assert lifetime(cache_control="max-age=99999999") == MOST_MS
    assert lifetime(cache_control="max-age=1") == LEAST_MS
    assert lifetime(cache_control="no-store") == LEAST_MS
    assert lifetime(expires="Tue, 14 Nov 2023 23:13:20 GMT") == 3_600_000
    assert lifetime(expires="0") == LEAST_MS


def test_the_fake_is_like_the_real_one() -> None:
    from federation.resolver import Records

    records: Records = FakeRecords()
    assert records.lookupService("x") is not None
