"""Spaces: the tree as each person sees it, in pages; summaries of single rooms; rooms in common."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.harness import Client, HearthServer, Json, ok, refused, room_path

V1 = "/_matrix/client/v1"


def space(client: Client, **options: Any) -> str:
    return client.create_room(creation_content={"type": "m.space"}, **{"preset": "public_chat", **options})


def add(client: Client, parent: str, child: str, **content: Any) -> None:
    client.send_state(parent, "m.space.child", {"via": ["localhost"], **content}, child)


def page(client: Client, room_id: str, **query: Any) -> Json:
    return ok(client.get(f"{V1}{room_path(room_id)}/hierarchy", **query))


def rooms(client: Client, room_id: str, **query: Any) -> list[str]:
    return [room["room_id"] for room in page(client, room_id, **query)["rooms"]]


def summary(client: Client, room: str, **query: Any) -> Json:
    return ok(client.get(f"{V1}/room_summary/{quote(room, safe='')}", **query))


def test_depth_first_and_in_order(server: HearthServer) -> None:
    alice, bob = server.register("alice"), server.register("bob")
    root, inner, deep = space(alice, name="Root"), space(alice), space(alice)
    one, two, three, four = (alice.create_room(preset="public_chat") for _ in range(4))
    add(alice, root, two)
    add(alice, root, three)
    add(alice, root, one, order="b", suggested=True)
    add(alice, root, inner, order="a")
    add(alice, inner, four, suggested=True)
    add(alice, inner, deep)
    add(alice, deep, root)  # a loop
    add(alice, root, "!unknown:localhost", order="aa")
    assert rooms(bob, root) == [root, inner, four, deep, one, two, three]
    assert rooms(bob, root, max_depth=0) == [root]
    assert rooms(bob, root, max_depth=1) == [root, inner, one, two, three]
    assert rooms(bob, root, suggested_only="true") == [root, one]
    alice.send_state(root, "m.space.child", {}, inner)
    found = page(bob, root)["rooms"]
    assert [room["room_id"] for room in found] == [root, one, two, three]
    children = found[0]["children_state"]
    listed = [event["state_key"] for event in children]
    assert listed == ["!unknown:localhost", one, two, three]
    keys = {"type", "state_key", "content", "sender", "origin_server_ts"}
    assert all(set(event) == keys for event in children)
    assert found[1]["children_state"] == []


def test_pages(server: HearthServer) -> None:
    alice = server.register("alice")
    root = space(alice)
    made = [alice.create_room(preset="public_chat") for _ in range(6)]
    for number, room in enumerate(made):
        add(alice, root, room, order=f"{number}")
    first = page(alice, root, limit=3)
    token = first["next_batch"]
    assert [room["room_id"] for room in first["rooms"]] == [root, *made[:2]]
    early = alice.create_room(preset="public_chat")
    add(alice, root, early, order="!")  # before all of them: the page goes on where it was
    second = page(alice, root, limit=3, **{"from": token})
    assert [room["room_id"] for room in second["rooms"]] == made[2:5]
    last = page(alice, root, **{"from": second["next_batch"]})
    assert [room["room_id"] for room in last["rooms"]] == made[5:]
    assert "next_batch" not in last
    alice.send_state(root, "m.space.child", {}, early)
    alice.send_state(root, "m.space.child", {}, made[1])  # the room that the token names
    assert rooms(alice, root, **{"from": token})[-3:] == made[3:]
    path = f"{V1}{room_path(root)}/hierarchy"
    for wrong in ({"max_depth": 1}, {"suggested_only": "true"}):
        refused(alice.get(path, **{"from": token, **wrong}), 400, "M_INVALID_PARAM")
    refused(alice.get(path, **{"from": "nonsense"}), 400, "M_INVALID_PARAM")
    refused(alice.get(f"{V1}{room_path(made[0])}/hierarchy", **{"from": token}), 400, "M_INVALID_PARAM")
    refused(alice.get(path, limit=0), 400, "M_INVALID_PARAM")
    refused(alice.get(path, max_depth=-1), 400, "M_INVALID_PARAM")


def test_only_what_one_may_see(server: HearthServer) -> None:
    alice, bob = server.register("alice"), server.register("bob")
    root = space(alice)

    def child(join_rules: Json | None = None, version: str = "12", **more: Any) -> str:
        state = [{"type": "m.room.join_rules", "content": join_rules}] if join_rules else []
        state += more.pop("state", ())
        room = alice.create_room(preset="private_chat", room_version=version, initial_state=state, **more)
        add(alice, root, room)
        return room

    readable = {"type": "m.room.history_visibility", "content": {"history_visibility": "world_readable"}}
    allow = [{"type": "m.room_membership", "room_id": root}]
    secret = child()
    public = child({"join_rule": "public"})
    knockable = child({"join_rule": "knock"})
    no_knocking_there = child({"join_rule": "knock"}, "6")
    restricted = child({"join_rule": "restricted", "allow": allow})
    world = child(state=[readable])
    invited = child(invite=[bob.user_id])
    banned = child({"join_rule": "public"})
    alice.ban(banned, bob.user_id)

    everything = [
        root, secret, public, knockable, no_knocking_there, restricted, world, invited, banned
    ]
    assert rooms(alice, root) == everything
    assert rooms(bob, root) == [root, public, knockable, world, invited]
    bob.join(root)
    assert rooms(bob, root) == [root, public, knockable, restricted, world, invited]
    entry = page(bob, root)["rooms"][3]
    assert (entry["join_rule"], entry["allowed_room_ids"]) == ("restricted", [root])

    for room in (secret, banned, "!nowhere:localhost"):
        refused(bob.get(f"{V1}{room_path(room)}/hierarchy"), 403, "M_FORBIDDEN")
    for room in (secret, banned):
        refused(bob.get(f"{V1}/room_summary/{quote(room)}"), 404, "M_NOT_FOUND")
    assert summary(bob, invited)["membership"] == "invite"
    stranger = server.client()
    for room in (public, knockable, world):
        assert "membership" not in summary(stranger, room)
    for room in (secret, restricted, invited):
        refused(stranger.get(f"{V1}/room_summary/{quote(room)}"), 404, "M_NOT_FOUND")


def test_a_summary(server: HearthServer) -> None:
    alice, bob = server.register("alice"), server.register("bob")
    name = f"sum-{alice.user_id[1:].partition(':')[0]}"
    room = alice.create_room(
        preset="public_chat", name="N", topic="T", room_alias_name=name, room_version="11",
        initial_state=[
            {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}},
            {"type": "m.room.avatar", "content": {"url": "mxc://localhost/a"}},
        ],
    )
    alias = f"#{name}:localhost"
    expected = {
        "room_id": room, "num_joined_members": 1, "world_readable": False, "guest_can_join": False,
        "join_rule": "public", "name": "N", "topic": "T", "canonical_alias": alias,
        "avatar_url": "mxc://localhost/a", "encryption": "m.megolm.v1.aes-sha2", "room_version": "11",
        "membership": "leave",
    }
    assert summary(bob, room) == summary(bob, alias, via="localhost") == expected
    assert summary(alice, room)["membership"] == "join"
    for path in ("summary/{}", "rooms/{}/summary"):
        unstable = "/_matrix/client/unstable/im.nheko.summary/" + path.format(quote(alias, safe=""))
        assert ok(bob.get(unstable)) == expected
    refused(bob.get(f"{V1}/room_summary/nonsense"), 400, "M_INVALID_PARAM")
    refused(bob.get(f"{V1}/room_summary/{quote(room)}", via="no server"), 400, "M_INVALID_PARAM")
    refused(server.client().get(f"{V1}/room_summary/!nowhere:localhost"), 401, "M_MISSING_TOKEN")


@pytest.mark.parametrize(
    "path", ["/mutual_rooms", "/_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms"]
)
def test_rooms_in_common(server: HearthServer, path: str) -> None:
    path = path if path.startswith("/_") else V1 + path
    alice, bob = server.register("alice"), server.register("bob")
    shared = [alice.create_room(preset="public_chat") for _ in range(2)]
    alice.create_room(invite=[bob.user_id])
    bob.create_room()
    for room in shared:
        bob.join(room)
    for one, other in ((alice, bob), (bob, alice)):
        found = ok(one.get(path, user_id=other.user_id))
        assert found == {"joined": sorted(shared), "count": 2}
    rest = ok(alice.get(path, user_id=bob.user_id, **{"from": sorted(shared)[0]}))
    assert rest == {"joined": sorted(shared)[1:], "count": 2}
    assert ok(alice.get(path, user_id="@nobody:localhost")) == {"joined": [], "count": 0}
    refused(alice.get(path), 400, "M_MISSING_PARAM")
    for wrong in ({"user_id": alice.user_id}, {"user_id": "bob"}):
        refused(alice.get(path, **wrong), 400, "M_INVALID_PARAM")
    refused(alice.get(path, user_id=bob.user_id, **{"from": "x"}), 400, "M_INVALID_PARAM")
