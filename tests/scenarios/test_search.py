"""Alice and Bob look for what was said, over HTTP.

https://spec.matrix.org/v1.19/client-server-api/#server-side-search
"""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.harness import ENGINES, Client, HearthServer, Json, ok, refused, room_path


def find(client: Client, term: str, next_batch: str | None = None, **criteria: Any) -> Json:
    body = {"search_categories": {"room_events": {"search_term": term, **criteria}}}
    query = {} if next_batch is None else {"next_batch": next_batch}
    found: Json = ok(client.post("/search", body, **query))["search_categories"]["room_events"]
    return found


def ids(found: Json) -> list[str]:
    return [each["result"]["event_id"] for each in found["results"]]


def edit(client: Client, room: str, event_id: str, text: str) -> str:
    relation = {"rel_type": "m.replace", "event_id": event_id}
    new = {"msgtype": "m.text", "body": text}
    return client.send(room, {**new, "body": f"* {text}", "m.new_content": new, "m.relates_to": relation})


def redact(client: Client, room: str, event_id: str) -> None:
    ok(client.put(f"{room_path(room)}/redact/{quote(event_id, safe='')}/r{event_id[-8:]}"))


def test_words_in_any_form(server: HearthServer) -> None:
    alice = server.register("alice")
    room = alice.create_room()
    cafe = alice.send(room, "Martians in the Café, over-night")
    chinese = alice.send(room, "今天天气很好")
    assert ids(find(alice, "martian")) == [cafe]
    assert ids(find(alice, "CAFE martians")) == [cafe]
    assert ids(find(alice, "over-night")) == [cafe]
    assert ids(find(alice, '"in the cafe"')) == [cafe]
    assert ids(find(alice, '"the in cafe"')) == []
    assert ids(find(alice, "martians women")) == []
    assert ids(find(alice, "天气")) == [chinese]
    assert ids(find(alice, "气天")) == []
    assert ids(find(alice, "in' & ! \\ : * \" OR (")) == []
    assert ids(find(alice, "")) == []
    assert find(alice, "martian")["highlights"] == ["martians"]
    assert find(alice, "martian")["count"] == 1


def test_only_what_one_may_see(server: HearthServer) -> None:
    alice, bob, mallory = (server.register(name) for name in ("alice", "bob", "mallory"))
    room = alice.create_room(
        initial_state=[
            {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}},
            {"type": "m.room.join_rules", "content": {"join_rule": "public"}},
        ]
    )
    before = alice.send(room, "secret before")
    bob.join(room)
    during = alice.send(room, "secret during")
    bob.leave(room)
    after = alice.send(room, "secret after")
    assert set(ids(find(alice, "secret"))) == {before, during, after}
    found = find(bob, "secret")
    assert (ids(found), found["count"]) == ([during], 1)
    assert find(mallory, "secret") == {"count": 0, "highlights": [], "results": []}
    ok(bob.post(f"{room_path(room)}/forget"))
    assert ids(find(bob, "secret")) == []


def test_invited_people_and_ignored_people(server: HearthServer) -> None:
    alice, bob = server.register("alice"), server.register("bob")
    room = alice.create_room(invite=[bob.user_id])
    said = alice.send(room, "zebra")
    assert ids(find(bob, "zebra")) == []
    bob.join(room)
    assert ids(find(bob, "zebra")) == [said]
    path = f"/user/{quote(bob.user_id, safe='')}/account_data/m.ignored_user_list"
    ok(bob.put(path, {"ignored_users": {alice.user_id: {}}}))
    assert ids(find(bob, "zebra")) == []


def test_edits_and_redactions(server: HearthServer) -> None:
    alice, bob = server.register("alice"), server.register("bob")
    room = alice.create_room(preset="public_chat")
    bob.join(room)
    event_id = alice.send(room, "the quick fox")
    assert ids(find(alice, "quick")) == [event_id]
    bob.leave(room)
    edit(alice, room, event_id, "the slow fox")
    found = find(alice, "slow")
    assert ids(found) == [event_id]
    bundled = found["results"][0]["result"]["unsigned"]["m.relations"]["m.replace"]
    assert bundled["content"]["m.new_content"]["body"] == "the slow fox"
    assert ids(find(alice, "quick")) == []
    assert ids(find(alice, "fox")) == [event_id]
    # Bob left before the edit: to him nothing has changed.
    assert (ids(find(bob, "quick")), ids(find(bob, "slow"))) == ([event_id], [])
    # An edit of somebody else's message is none.
    bob.join(room)
    edit(bob, room, event_id, "the purple fox")
    assert ids(find(alice, "purple")) == []
    redact(alice, room, event_id)
    assert ids(find(alice, "fox")) == []


def test_names_topics_and_keys(server: HearthServer) -> None:
    alice = server.register("alice")
    room = alice.create_room(name="Gardening", topic="tulips and gardening")
    said = alice.send(room, "gardening is fun")
    every = find(alice, "gardening")
    assert {each["result"]["type"] for each in every["results"]} == {
        "m.room.message", "m.room.name", "m.room.topic",
    }  # fmt: skip
    assert ids(find(alice, "gardening", keys=["content.body"])) == [said]
    for key, type in (("content.name", "m.room.name"), ("content.topic", "m.room.topic")):
        (only,) = find(alice, "gardening", keys=[key])["results"]
        assert only["result"]["type"] == type


def test_order(server: HearthServer) -> None:
    alice = server.register("alice")
    room = alice.create_room()
    best = alice.send(room, "apple apple")
    worse = alice.send(room, "an apple among very many other words that nobody looks for")
    last = alice.send(room, "one apple pie is here today")
    assert ids(find(alice, "apple", order_by="recent")) == [last, worse, best]
    ranked = find(alice, "apple")
    assert ids(ranked) == [best, last, worse]
    ranks = [each["rank"] for each in ranked["results"]]
    assert ranks == sorted(ranks, reverse=True) and ranks[0] > ranks[-1] > 0


def test_pages_and_groups(server: HearthServer) -> None:
    alice, bob = server.register("alice"), server.register("bob")
    rooms = [alice.create_room(preset="public_chat") for _ in range(2)]
    said: dict[str, list[str]] = {room: [] for room in rooms}
    for room in rooms:
        bob.join(room)
        for number in range(7):
            sender = (alice, bob)[number % 2]
            said[room].append(sender.send(room, f"walrus number {number}"))
    criteria: Json = {
        "order_by": "recent",
        "filter": {"limit": 4},
        "groupings": {"group_by": [{"key": "room_id"}, {"key": "sender"}]},
    }
    everything = [*reversed(said[rooms[1]]), *reversed(said[rooms[0]])]
    page, pages = find(alice, "walrus", **criteria), []
    first = page
    while True:
        pages += ids(page)
        assert page["count"] == 14
        if "next_batch" not in page:
            break
        # what is said meanwhile shifts nothing
        alice.send(rooms[0], "walrus again")
        page = find(alice, "walrus", page["next_batch"], **criteria)
    assert pages == everything
    by_room = first["groups"]["room_id"]
    assert by_room[rooms[1]]["results"] == ids(first)
    assert set(first["groups"]["sender"]) == {alice.user_id, bob.user_id}
    page = find(alice, "walrus", by_room[rooms[1]]["next_batch"], **criteria)
    assert ids(page) == everything[4:7]
    assert "next_batch" not in page
    of_bob = first["groups"]["sender"][bob.user_id]
    page = find(alice, "walrus", of_bob["next_batch"], **{**criteria, "filter": {"limit": 50}})
    assert {each["result"]["sender"] for each in page["results"]} == {bob.user_id}
    assert len(page["results"]) + len(of_bob["results"]) == 6
    refused(
        alice.post("/search", {"search_categories": {"room_events": {"search_term": "a"}}}, next_batch="x"),
        400, "M_INVALID_PARAM",
    )  # fmt: skip


def test_filters(server: HearthServer) -> None:
    alice, bob = server.register("alice"), server.register("bob")
    here, there = (alice.create_room(preset="public_chat", name="otters") for _ in range(2))
    bob.join(here)
    mine, his, far = alice.send(here, "otters"), bob.send(here, "otters"), alice.send(there, "otters")
    picture = alice.send(here, {"msgtype": "m.image", "body": "otters.png", "url": "mxc://localhost/abc"})

    def found(**wanted: Any) -> set[str]:
        return set(ids(find(alice, "otters", filter={"types": ["m.room.message"], **wanted})))

    assert found() == {mine, his, far, picture}
    assert found(rooms=[there]) == {far}
    assert found(not_rooms=[here]) == {far}
    assert found(senders=[bob.user_id]) == {his}
    assert found(not_senders=[alice.user_id]) == {his}
    assert found(contains_url=True) == {picture}
    assert found(contains_url=False) == {mine, his, far}
    assert found(not_types=["m.room.message"]) == set()
    assert len(found(limit=2)) == 2
    assert found(limit=0) == set()


def test_context_profiles_and_state(server: HearthServer) -> None:
    alice, bob = server.register("alice"), server.register("bob")
    room = alice.create_room(preset="public_chat", name="Here")
    bob.join(room)
    old, older = bob.send(room, "one"), None
    older = alice.send(room, "two")
    hit = alice.send(room, "the needle")
    newer = bob.send(room, "three")
    ok(alice.put(f"/profile/{quote(alice.user_id, safe='')}/displayname", {"displayname": "Alice the Later"}))
    found = find(
        alice, "needle", include_state=True,
        event_context={"before_limit": 2, "after_limit": 1, "include_profile": True},
    )  # fmt: skip
    context = found["results"][0]["context"]
    assert [each["event_id"] for each in context["events_before"]] == [older, old]
    assert [each["event_id"] for each in context["events_after"]] == [newer]
    assert set(context["profile_info"]) == {alice.user_id, bob.user_id}
    assert context["profile_info"][alice.user_id].get("displayname") != "Alice the Later"
    assert {each["type"] for each in found["state"][room]} >= {"m.room.create", "m.room.name"}
    page = ok(alice.get(f"{room_path(room)}/messages", dir="b", **{"from": context["start"]}))
    assert old not in [each["event_id"] for each in page["chunk"]]
    assert "context" not in find(alice, "needle")["results"][0]
    assert ids(find(alice, "needle")) == [hit]


@pytest.mark.parametrize("engine", ENGINES)
def test_an_older_database_is_indexed_after_the_start(
    engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    postgres = request.getfixturevalue("postgres_server") if engine == "postgres" else None
    with HearthServer(engine, tmp_path, postgres, {"enable_search": False}) as server:
        alice = server.register("alice")
        room = alice.create_room()
        said = [alice.send(room, f"pelican {number}") for number in range(30)]
        redact(alice, room, said.pop())
        refused(
            alice.post("/search", {"search_categories": {"room_events": {"search_term": "pelican"}}}),
            403, "M_FORBIDDEN",
        )  # fmt: skip
        path = server.process.config_path
        path.write_text(json.dumps({**server.process.configuration, "enable_search": True}))
        server.restart()
        for client in server.clients:
            client.http.base_url = server.url
        assert set(ids(find(alice, "pelican", filter={"limit": 100}))) == set(said)
        said.append(alice.send(room, "pelican at last"))
        server.kill()
        server.start()
        for client in server.clients:
            client.http.base_url = server.url
        assert set(ids(find(alice, "pelican", filter={"limit": 100}))) == set(said)
