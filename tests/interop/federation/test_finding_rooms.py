"""Rooms of the other side are found: in its room list, and in spaces that go on there."""

from urllib.parse import quote

import pytest

from tests.harness import Client, Json, ok, room_path
from tests.interop.federation.sides import Direction, membership
from tests.waiting import until

pytestmark = pytest.mark.interop


def test_public_rooms(direction: Direction) -> None:
    owner, guest = direction.home.register("owner"), direction.away.register("guest")
    word = f"findable{owner.user_id[1:].partition(':')[0]}"
    rooms = {
        direction.room(owner, visibility="public", name=f"{word} {number}", topic="Public")
        for number in range(3)
    }
    direction.room(owner, name=f"{word} unlisted")
    search = {"limit": 2, "filter": {"generic_search_term": word}}
    found: list[Json] = []
    until(lambda: len(listed(guest, direction, search)) == 2, what="the rooms are listed")
    since: Json = {}
    while True:
        page = ok(guest.post("/publicRooms", search | since, server=direction.home.name))
        found += page["chunk"]
        if "next_batch" not in page:
            break
        since = {"since": page["next_batch"]}
    assert {room["room_id"] for room in found} == rooms and len(found) == 3
    first = found[0]
    assert first["num_joined_members"] == 1 and first["topic"] == "Public"
    assert first["join_rule"] == "public"
    assert not first["world_readable"]
    direction.join(guest, first["room_id"])
    # Synapse keeps the answer to a question without a search for half a minute: this one nobody has asked.
    limit = 100 + int(direction.version)
    everything = ok(guest.get("/publicRooms", server=direction.home.name, limit=limit))
    assert {room["room_id"] for room in everything["chunk"]} >= rooms


def listed(guest: Client, direction: Direction, search: Json) -> list[Json]:
    rooms: list[Json] = ok(guest.post("/publicRooms", search, server=direction.home.name))["chunk"]
    return rooms


def test_a_space_goes_on_at_the_other_side(direction: Direction) -> None:
    owner, guest = direction.home.register("owner"), direction.away.register("guest")
    space = {"creation_content": {"type": "m.space"}}
    theirs = direction.room(owner, name="Theirs", **space)
    public = direction.room(owner, name="Public")
    children = [public, direction.room(owner, preset="private_chat", name="Secret")]
    restricted = None
    if int(direction.version) >= 8:
        allow = [{"type": "m.room_membership", "room_id": theirs}]
        rule = {"join_rule": "restricted", "allow": allow}
        rules = {"type": "m.room.join_rules", "state_key": "", "content": rule}
        restricted = direction.room(owner, preset="private_chat", initial_state=[rules], name="Restricted")
        children.append(restricted)
    for order, child in enumerate(children):
        content = {"via": [direction.home.name], "order": str(order), "suggested": child == public}
        owner.send_state(theirs, "m.space.child", content, child)
    root = direction.room(guest, name="Root", **space)
    guest.send_state(root, "m.space.child", {"via": [direction.home.name]}, theirs)

    seen = hierarchy(guest, root)
    assert [room["room_id"] for room in seen] == [root, theirs, public]
    assert [room.get("name") for room in seen] == ["Root", "Theirs", "Public"]
    assert seen[1]["room_type"] == "m.space"
    assert {event["state_key"] for event in seen[1]["children_state"]} == set(children)
    assert [room["room_id"] for room in hierarchy(guest, root, suggested_only="true")] == [root]
    if restricted is None:
        return
    direction.join(guest, theirs)
    until(lambda: membership(owner, theirs, guest.user_id) == "join")
    until(lambda: [room["room_id"] for room in hierarchy(guest, root)] == [root, theirs, public, restricted])


def hierarchy(client: Client, room_id: str, **query: str) -> list[Json]:
    rooms: list[Json] = []
    start: Json = {}
    while True:
        path = f"/_matrix/client/v1{room_path(room_id)}/hierarchy"
        page = ok(client.get(path, limit="2", **query, **start))
        rooms += page["rooms"]
        if "next_batch" not in page:
            return rooms
        start = {"from": page["next_batch"]}


def test_a_room_is_summarised(direction: Direction) -> None:
    owner, guest = direction.home.register("owner"), direction.away.register("guest")
    room_id = direction.room(owner, name="Summarised", topic="Short")
    path = f"/_matrix/client/v1/room_summary/{quote(room_id, safe='')}"
    summary = ok(guest.get(path, via=direction.home.name))
    assert (summary["name"], summary["topic"], summary["num_joined_members"]) == ("Summarised", "Short", 1)
    assert summary["join_rule"] == "public" and summary.get("membership", "leave") == "leave"
