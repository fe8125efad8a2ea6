"""Asking another server for a tree of rooms: what of its answer counts, and how often it is asked."""

from typing import Any

from federation.errors import BadAnswer
from federation.space_hierarchy import SpaceHierarchy
from homeserver.errors import RemoteError
from tests.federation.case import FederationCase
from tests.federation.remote import answer

ROOT, CHILD, OTHER = "!root:elsewhere", "!child:elsewhere", "!other:elsewhere"
Json = dict[str, Any]


def room(room_id: str, **more: Any) -> Json:
    return {
        "room_id": room_id, "num_joined_members": 1, "world_readable": False, "guest_can_join": False,
        "join_rule": "public", "children_state": [], **more,
    }


def link(room_id: Any, **more: Any) -> Json:
    return {
        "type": "m.space.child", "state_key": room_id, "content": {"via": ["elsewhere"]},
        "sender": "@a:elsewhere", "origin_server_ts": 1, **more,
    }


def space(*children: Any) -> Json:
    return room(ROOT, room_type="m.space", children_state=list(children))


class Hierarchies(FederationCase):
    def setUp(self) -> None:
        super().setUp()
        self.content: Any = {}
        self.status = 200
        self.remote = self.make_remote(lambda asked: answer(self.content, self.status))
        self.clock_now = 1_000_000
        clock: Any = self
        self.hierarchy = SpaceHierarchy(self.make_here().client, clock)

    def now_ms(self) -> int:
        return self.clock_now

    async def test_an_answer_is_remembered_for_a_while(self) -> None:
        self.content = {
            "room": space(link(CHILD)), "children": [room(CHILD, name="N")], "inaccessible_children": [OTHER],
        }
        told = await self.hierarchy.ask(self.remote.name, ROOT)
        assert told is await self.hierarchy.ask(self.remote.name, ROOT)
        assert [child.room_id for child in told.room.children] == [CHILD]
        assert told.children[CHILD].shown["name"] == "N"
        assert not told.inaccessible  # no child of this room
        [asked] = self.remote.asked
        assert asked.uri == "/_matrix/federation/v1/hierarchy/%21root%3Aelsewhere?suggested_only=false"
        self.clock_now += 6 * 60_000
        await self.hierarchy.ask(self.remote.name, ROOT)
        assert len(self.remote.asked) == 2

    async def test_so_is_a_failure_but_not_as_long(self) -> None:
        self.status = 404
        for _ in range(2):
            await self.assert_raises(RemoteError, self.hierarchy.ask(self.remote.name, ROOT))
        assert len(self.remote.asked) == 1
        self.clock_now += 2 * 60_000
        self.status, self.content = 200, {"room": space()}
        assert (await self.hierarchy.ask(self.remote.name, ROOT)).room.is_space

    async def test_answers_about_something_else(self) -> None:
        contents: list[Json] = [{}, {"room": []}, {"room": room("no")}, {"room": room(OTHER)}, {"room": {}}]
        for content in contents:
            self.content = content
            self.clock_now += 2 * 60_000
            await self.assert_raises(BadAnswer, self.hierarchy.ask(self.remote.name, ROOT))

    async def test_what_is_left_out(self) -> None:
        children = [
            None, 1, {}, link(7), link("no"), link(OTHER, type="m.other"), link(OTHER, content={}),
            link(OTHER, origin_server_ts="1"), link(OTHER, sender=None), link(CHILD), link(CHILD),
        ]
        self.content = {
            "room": space(*children) | {"name": 7, "avatar_url": "javascript:1", "topic": "x" * 70_000,
                                        "num_joined_members": 2**60, "evil": [[[]]]},
            "children": [None, room(OTHER), room(CHILD, join_rule="restricted", allowed_room_ids=[1, ROOT])],
            "inaccessible_children": {"a": 1},
        }
        told = await self.hierarchy.ask(self.remote.name, ROOT)
        assert [child.room_id for child in told.room.children] == [CHILD]
        assert told.room.shown == {
            "room_id": ROOT, "num_joined_members": 0, "world_readable": False, "guest_can_join": False,
            "join_rule": "public", "room_type": "m.space",
        }
        assert list(told.children) == [CHILD]
        assert told.children[CHILD].allowed == (ROOT,)
