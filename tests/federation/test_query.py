"""Asking others about profiles and aliases: what is asked, what is believed, what a client is told."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

from federation.errors import NotFederated
from federation.query import Queries
from homeserver.errors import BadGateway, Forbidden, NotFound
from tests.federation.case import FederationCase
from tests.federation.remote import Remote, answer

ROOM = "!room:elsewhere"
DEEP = b'{"displayname": "A", "deep": ' + b"[" * 400 + b"]" * 400 + b"}"


def query_of(remote: Remote) -> tuple[str, dict[str, list[str]]]:
    parts = urlsplit(remote.asked[-1].uri)
    return parts.path, parse_qs(parts.query)


class Profiles(FederationCase):
    def ask(self, content: Any, status: int = 200) -> tuple[Remote, Queries]:
        remote = self.make_remote(lambda asked: answer(content, status))
        return remote, Queries(self.make_here().client)

    async def test_the_whole_profile_and_one_field(self) -> None:
        profile: dict[str, Any] = {
            "displayname": "Ann", "avatar_url": "mxc://a/b", "m.tz": "Europe/Rome", "org.x": {"a": [1]},
        }
        remote, queries = self.ask(profile)
        ann = f"@ann+é:{remote.name}"
        assert await queries.profile(ann, None) == profile
        assert query_of(remote) == ("/_matrix/federation/v1/query/profile", {"user_id": [ann]})
        # It says more than it was asked.
        assert await queries.profile(ann, "m.tz") == {"m.tz": "Europe/Rome"}
        assert query_of(remote)[1] == {"user_id": [ann], "field": ["m.tz"]}

    async def test_fields_clients_could_not_read(self) -> None:
        lies = {
            "displayname": {"a": 1}, "avatar_url": "https://evil.test/track.png", "m.tz": 5,
            "Not A Key": 1, "x" * 300: 1, "fine": None,
        }
        remote, queries = self.ask(lies)
        assert await queries.profile(f"@ann:{remote.name}", None) == {"fine": None}
        remote, queries = self.ask({"displayname": "x" * 5000, "avatar_url": None})
        assert await queries.profile(f"@ann:{remote.name}", None) == {}

    async def test_no_is_passed_on_and_failures_are_bad_gateways(self) -> None:
        for status, expected in ((404, NotFound), (403, Forbidden), (400, BadGateway), (500, BadGateway)):
            remote, queries = self.ask({"errcode": "M_EVIL", "error": "<b>"}, status)
            error = await self.assert_raises(expected, queries.profile(f"@ann:{remote.name}", None))
            assert "<b>" not in error.message
        for content in (b"no JSON", b"[]", DEEP, b'{"displayname": "%b"}' % (b"x" * 500_000)):
            remote, queries = self.ask(content)
            error = await self.assert_raises(BadGateway, queries.profile(f"@ann:{remote.name}", None))
            assert error.status == 502

    async def test_a_server_that_is_not_there_and_one_we_do_not_speak_with(self) -> None:
        queries = Queries(self.make_here().client)
        await self.assert_raises(BadGateway, queries.profile("@ann:localhost:1", None))
        await self.assert_raises(BadGateway, queries.resolve("#room:localhost:1"))
        alone = Queries(self.make_here(whitelist=[]).client)
        await self.assert_raises(NotFederated, alone.profile("@ann:localhost:1", None))


class Aliases(FederationCase):
    async def resolve(self, content: Any, status: int = 200) -> tuple[str, list[str]]:
        remote = self.make_remote(lambda asked: answer(content, status))
        alias = f"#röm/x:{remote.name}"
        try:
            room_id, servers = await Queries(self.make_here().client).resolve(alias)
        finally:
            assert query_of(remote) == ("/_matrix/federation/v1/query/directory", {"room_alias": [alias]})
        # The one that was asked always comes last here, and has another name in each test.
        assert servers.pop() == remote.name
        return room_id, servers

    async def test_an_alias(self) -> None:
        assert await self.resolve({"room_id": ROOM, "servers": ["a.test", "b.test"]}) == (
            ROOM, ["a.test", "b.test"],
        )

    async def test_servers_that_are_none(self) -> None:
        for servers in (["a.test", 1, "not a name", "a.test", "x/../y"], ["a.test"]):
            assert await self.resolve({"room_id": ROOM, "servers": servers}) == (ROOM, ["a.test"])
        others: list[Any] = [None, {}, "a.test", 7]
        for none in others:
            assert await self.resolve({"room_id": ROOM, "servers": none}) == (ROOM, [])
        many = [f"s{number}.test" for number in range(5000)]
        assert len((await self.resolve({"room_id": ROOM, "servers": many}))[1]) == 100

    async def test_room_ids_that_are_none(self) -> None:
        for room_id in (None, 1, "", "#room:elsewhere", "!no\0:elsewhere", "!" + "x" * 300 + ":elsewhere"):
            await self.assert_raises(BadGateway, self.resolve({"room_id": room_id, "servers": []}))

    async def test_refusals(self) -> None:
        for status, expected in ((404, NotFound), (403, Forbidden), (429, BadGateway), (502, BadGateway)):
            await self.assert_raises(expected, self.resolve({}, status))
