"""Asking other servers, over real TLS: what is sent, what is believed, and what ends a bad answer."""

import tracemalloc
from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from federation import connection, http_client
from federation.client import Backoff, Limits, path_of
from federation.errors import BackedOff, BadAnswer, NotFederated, Refused, Unreachable
from federation.request_signing import parse, signed_bytes
from homeserver.protocol import canonical_json
from tests.federation.authority import Authority
from tests.federation.case import FederationCase
from tests.federation.remote import Remote, answer

PATH = "/_matrix/federation/v1/query/profile"
SHORT = Limits(seconds=0.4, max_body=100_000, backoff=Backoff.IGNORE)
SMALL = Limits(seconds=10, max_body=100_000, backoff=Backoff.IGNORE)


class Asking(FederationCase):
    async def test_the_uri_is_signed_as_it_is_sent(self) -> None:
        here = self.make_here()
        remote = self.make_remote(lambda asked: answer({"ok": True}))
        path = path_of("/_matrix/federation/v1/event", "$a/b+c:é")
        content = {"b": 1, "a": "ü"}
        query = {"q": "a b/c&d", "many": ["1", "2"]}
        assert await here.client.put(remote.name, path, content, query) == {"ok": True}
        (asked,) = remote.asked
        assert asked.uri == (
            "/_matrix/federation/v1/event/%24a%2Fb%2Bc%3A%C3%A9?q=a%20b%2Fc%26d&many=1&many=2"
        )
        assert asked.headers["host"] == remote.name
        given = parse(asked.headers["authorization"])
        assert given is not None and (given.origin, given.destination) == (here.name, remote.name)
        signed = signed_bytes("PUT", asked.uri, here.name, remote.name, canonical_json.encode(asked.json))
        assert here.key.verify_key.verifies(signed, given.signature)

    async def test_a_connection_is_used_again(self) -> None:
        here = self.make_here()
        remote = self.make_remote(lambda asked: answer({}))
        for _ in range(3):
            await here.client.get(remote.name, PATH)
            await here.client.post(remote.name, PATH, {})
        assert (len(remote.asked), remote.opened) == (6, 1)

    async def test_a_kept_connection_that_ended_is_replaced(self) -> None:
        here = self.make_here()
        remote = self.make_remote(lambda asked: [answer({}), Remote.CLOSE], pause=0)
        assert await here.client.get(remote.name, PATH) == {}
        # Before our side hears of the end: the request may meet a dead connection.
        assert await here.client.get(remote.name, PATH) == {}
        assert len(remote.asked) == 2

    async def test_answers_in_chunks_and_until_the_end_of_the_connection(self) -> None:
        here = self.make_here()
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        interim = b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n" + answer({"a": 1})
        open_ended = [b"HTTP/1.1 200 OK\r\n\r\n", b'{"b":', b"2}", Remote.CLOSE]
        replies: Iterator[bytes | list[bytes]] = iter([chunked, interim, open_ended])
        remote = self.make_remote(lambda asked: next(replies))
        assert [await here.client.get(remote.name, PATH) for _ in range(3)] == [{}, {"a": 1}, {"b": 2}]

    async def test_a_refusal_keeps_the_words_of_the_server(self) -> None:
        here = self.make_here()
        remote = self.make_remote(lambda asked: answer({"errcode": "M_NOT_FOUND", "error": "No."}, 404))
        error = await self.assert_raises(Refused, here.client.get(remote.name, PATH))
        assert (error.status, error.errcode, error.message) == (404, "M_NOT_FOUND", "No.")
        remote.reply = lambda asked: answer(b"<html>", 400)
        error = await self.assert_raises(Refused, here.client.get(remote.name, PATH))
        assert (error.status, error.errcode) == (400, "M_UNKNOWN")

    async def test_odd_host_names(self) -> None:
        here = self.make_here()
        for host in ("-a.test", "a--b.test", "xn--zz.test", "UPPER.test"):
            remote = self.make_remote(lambda asked: answer({}), host)
            here.records.addresses[host.lower()] = ["127.0.0.1"]
            assert await here.client.get(f"{host}:{remote.port}", PATH) == {}, host

    async def test_redirects_are_not_followed(self) -> None:
        here = self.make_here()
        remote = self.make_remote(lambda asked: answer({}, 302, Location="/elsewhere"))
        await self.assert_raises(Refused, here.client.get(remote.name, PATH))
        assert len(remote.asked) == 1

    async def test_many_requests_to_one_server_take_turns(self) -> None:
        here = self.make_here()
        remote = self.make_remote(lambda asked: [b"", answer({})], pause=0.02)
        asking = [Deferred.fromCoroutine(here.client.get(remote.name, PATH)) for _ in range(40)]
        assert await gatherResults(asking) == [{}] * 40
        assert remote.opened <= 40
        assert not here.client._slots


class Lying(FederationCase):
    """Each ends with an error, soon, and with little memory."""

    async def refused(
        self, reply: object, kind: type[Exception], limits: Limits = SMALL, **how: object
    ) -> str:
        here = self.make_here()
        remote = self.make_remote(lambda asked: reply, **how)  # type: ignore[arg-type,return-value]
        error = await self.assert_raises(kind, here.client.get(remote.name, PATH, limits=limits))
        return str(error)

    async def test_an_announced_body_that_is_too_large(self) -> None:
        await self.refused(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n", BadAnswer)

    async def test_an_unannounced_body_that_is_too_large(self) -> None:
        piece = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        await self.refused([head, *[piece] * 100], BadAnswer, pause=0)

    async def test_endless_headers(self) -> None:
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        await self.refused([b"HTTP/1.1 200 OK\r\n", *[b"a:b\r\n" * 1000] * 200], BadAnswer, pause=0)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000

    async def test_one_endless_header(self) -> None:
        await self.refused([b"HTTP/1.1 200 OK\r\nX: ", *[b"y" * 10_000] * 100], BadAnswer, pause=0)

    async def test_endless_interim_answers(self) -> None:
        await self.refused(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, BadAnswer)

    async def test_no_http(self) -> None:
        await self.refused(b"SSH-2.0-OpenSSH_9.9\r\n\r\n", BadAnswer)

    async def test_no_json(self) -> None:
        await self.refused(answer(b"<html>"), BadAnswer)
        await self.refused(answer(b"[]"), BadAnswer)
        await self.refused(answer(b"[" * 50_000), BadAnswer)

    async def test_no_answer(self) -> None:
        assert "seconds" in await self.refused(None, Unreachable, SHORT)

    async def test_an_answer_that_trickles(self) -> None:
        pieces = [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", *[b" "] * 100]
        assert "seconds" in await self.refused(pieces, Unreachable, SHORT, pause=0.05)

    async def test_an_answer_that_stops(self) -> None:
        patch: Any = self.patch  # untyped in Twisted
        patch(http_client, "SILENCE_SECONDS", 0.1)
        pieces = [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b" "]
        assert "fell silent" in await self.refused(pieces, Unreachable)

    async def test_an_answer_that_is_cut_off(self) -> None:
        pieces = [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"{}", Remote.CLOSE]
        await self.refused(pieces, Unreachable)

    async def test_more_than_was_asked_for(self) -> None:
        here = self.make_here()
        remote = self.make_remote(lambda asked: answer({"n": 1}) + answer({"n": 2}))
        for _ in range(2):
            assert await here.client.get(remote.name, PATH) == {"n": 1}
        assert remote.opened == 2

    async def test_a_server_without_tls(self) -> None:
        await self.refused(answer({}), Unreachable, plain=True)

    async def test_limits_are_those_that_were_meant(self) -> None:
        assert (connection.MAX_HEAD, connection.MAX_HEADERS) == (65536, 200)


class Certificates(FederationCase):
    """No byte of a request reaches a server that did not prove its name."""

    async def check(self, remote: Remote, name: str) -> None:
        here = self.make_here()
        await self.assert_raises(Unreachable, here.client.get(name, PATH, limits=SMALL))
        assert remote.asked == []

    async def test_another_name(self) -> None:
        remote = self.make_remote(lambda asked: answer({}), "elsewhere.test")
        await self.check(remote, remote.name)

    async def test_an_address_needs_a_certificate_for_the_address(self) -> None:
        remote = self.make_remote(lambda asked: answer({}), "localhost")
        await self.check(remote, f"127.0.0.1:{remote.port}")
        right = self.make_remote(lambda asked: answer({}), "127.0.0.1")
        assert await self.make_here().client.get(f"127.0.0.1:{right.port}", PATH) == {}

    async def test_an_authority_nobody_knows(self) -> None:
        remote = Remote(Authority(self.directory, "another"), lambda asked: answer({}))
        self.addCleanup(remote._port.stopListening)
        await self.check(remote, remote.name)

    async def test_an_expired_one(self) -> None:
        remote = self.make_remote(lambda asked: answer({}), "localhost", expired=True)
        await self.check(remote, remote.name)


class Refusing(FederationCase):
    async def test_addresses_that_are_denied(self) -> None:
        here = self.make_here(denied=["127.0.0.0/8", "::1/128"])
        remote = self.make_remote(lambda asked: answer({}))
        here.records.addresses["inside.test"] = ["127.0.0.1"]
        for host in ("localhost", "127.0.0.1", "inside.test", "[::ffff:127.0.0.1]"):
            name = f"{host}:{remote.port}"
            error = await self.assert_raises(Unreachable, here.client.get(name, PATH))
            assert "does not connect" in str(error), name
        assert remote.opened == 0

    async def test_servers_off_the_whitelist(self) -> None:
        here = self.make_here(whitelist=["friend.test"])
        await self.assert_raises(NotFederated, here.client.get("stranger.test", PATH))

    async def test_itself_and_what_is_no_server(self) -> None:
        here = self.make_here()
        for name in (here.name, "", "a b", "host:99999", "host:0", "x" * 300, "user@host"):
            await self.assert_raises(Unreachable, here.client.get(name, PATH, limits=SMALL))


class BackingOff(FederationCase):
    async def test_a_failing_server_is_left_alone_until_its_time_and_longer_each_time(self) -> None:
        here = self.make_here()
        remote = self.make_remote(lambda asked: answer({}, 502))
        await self.assert_raises(Refused, here.client.get(remote.name, PATH))
        waits = []
        for _ in range(4):
            error = await self.assert_raises(BackedOff, here.client.get(remote.name, PATH))
            waits.append(error.retry_at - self.clock.now_ms())
            self.clock.advance(waits[-1] / 1000)
            await self.assert_raises(Refused, here.client.get(remote.name, PATH))
        assert waits == [10_000, 20_000, 40_000, 80_000]
        assert len(remote.asked) == 5

    async def test_an_answer_ends_it(self) -> None:
        here = self.make_here()
        recovered: list[str] = []
        here.destinations.on_recovered.append(recovered.append)
        remote = self.make_remote(lambda asked: answer({}, 503))
        await self.assert_raises(Refused, here.client.get(remote.name, PATH))
        remote.reply = lambda asked: answer({"errcode": "M_FORBIDDEN"}, 403)
        self.clock.advance(11)
        await self.assert_raises(Refused, here.client.get(remote.name, PATH))
        await self.assert_raises(Refused, here.client.get(remote.name, PATH))
        await here.db.write(lambda tx: None)
        assert await here.destinations.all_failing() == {}
        assert recovered == [remote.name]

    async def test_failures_that_anybody_can_cause_are_not_remembered(self) -> None:
        here = self.make_here()
        await self.assert_raises(Unreachable, here.client.get("localhost:1", PATH, limits=SMALL))
        assert await here.destinations.all_failing() == {}
        await self.assert_raises(Unreachable, here.client.get("localhost:1", PATH))
        assert list(await here.destinations.all_failing()) == ["localhost:1"]
