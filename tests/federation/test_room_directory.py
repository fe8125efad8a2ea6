"""Asking another server for its room list: what is asked, and what of the answer a client sees."""

from typing import Any

from federation.room_directory import RoomDirectories
from homeserver.errors import BadGateway, Forbidden, NotFound
from homeserver.rooms.public_rooms import EVERYTHING, Search
from tests.federation.case import FederationCase
from tests.federation.remote import answer

PATH = "/_matrix/federation/v1/publicRooms"


def room(number: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "room_id": f"!r{number}:elsewhere", "num_joined_members": number, "world_readable": False,
        "guest_can_join": True, **more,
    }


class RoomLists(FederationCase):
    def setUp(self) -> None:
        super().setUp()
        self.content: Any = {"chunk": []}
        self.status = 200
        self.remote = self.make_remote(lambda asked: answer(self.content, self.status))
        self.rooms = RoomDirectories(self.make_here().client)

    async def page(
        self, search: Search = EVERYTHING, limit: int | None = None, since: str | None = None
    ) -> dict[str, Any]:
        return await self.rooms.page(self.remote.name, search, limit, since)

    async def test_a_page(self) -> None:
        full = room(
            2, name="N", topic="T", canonical_alias="#a:b", join_rule="knock", room_type="m.space",
            avatar_url="mxc://a/b",
        )
        self.content = {"chunk": [full, room()], "next_batch": "n", "prev_batch": "p",
                        "total_room_count_estimate": 7}
        assert await self.page() == self.content
        assert (self.remote.asked[0].method, self.remote.asked[0].uri) == ("GET", PATH + "?limit=100")

    async def test_what_is_asked(self) -> None:
        await self.page(Search(network=None), 10_000, "from here")
        assert self.remote.asked[-1].uri == PATH + "?limit=500&since=from%20here&include_all_networks=true"
        await self.page(Search("Straße", frozenset(["m.space", None]), "irc"), 3)
        assert self.remote.asked[-1].json == {
            "limit": 3, "third_party_instance_id": "irc", "include_all_networks": False,
            "filter": {"generic_search_term": "Straße", "room_types": [None, "m.space"]},
        }

    async def test_what_is_no_room(self) -> None:
        self.content = {"chunk": [
            None, 1, {}, room(room_id="no"), room(num_joined_members="3"), room(num_joined_members=-1),
            room(num_joined_members=True), room(num_joined_members=2**60),
            room(name=5, topic={}, avatar_url="javascript:1", canonical_alias="x" * 70_000, evil=[[[]]]),
        ], "next_batch": {"a": 1}, "prev_batch": "x" * 5000, "total_room_count_estimate": 1.5}
        assert await self.page() == {"chunk": [room()]}

    async def test_no_more_than_was_asked_for(self) -> None:
        self.content = {"chunk": [room(number) for number in range(600)]}
        assert len((await self.page(limit=5))["chunk"]) == 5
        assert len((await self.page(limit=5000))["chunk"]) == 500

    async def test_failures(self) -> None:
        for self.content in (b"[]", {}, {"chunk": {}}, b"no JSON"):
            await self.assert_raises(BadGateway, self.page())
        for self.status, expected in ((403, Forbidden), (404, NotFound), (500, BadGateway)):
            await self.assert_raises(expected, self.page())
