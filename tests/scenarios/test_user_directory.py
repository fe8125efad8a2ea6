"""Alice looks for people by their names, over HTTP.

https://spec.matrix.org/v1.19/client-server-api/#user-directory
"""

import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.harness import ENGINES, PASSWORD, Client, HearthServer, Json, ok, refused
from tests.waiting import until


def find(client: Client, term: str, **more: Any) -> list[str]:
    return [each["user_id"] for each in answer(client, term, **more)["results"]]


def answer(client: Client, term: str, **more: Any) -> Json:
    return ok(client.post("/user_directory/search", {"search_term": term, **more}))


def call(client: Client, name: str) -> None:
    ok(client.put(f"/profile/{quote(client.user_id, safe='')}/displayname", {"displayname": name}))


def some_name() -> str:
    """A word that nobody else on a shared server is called."""
    return "x" + uuid.uuid4().hex[:10]


def test_people_one_shares_a_room_with(server: HearthServer) -> None:
    alice, bob, mallory = (server.register(name) for name in ("alice", "bob", "mallory"))
    name = some_name()
    call(bob, f"Zoë {name.upper()} Ångström")
    assert find(alice, name) == []
    room = alice.create_room(invite=[bob.user_id])
    assert find(alice, name) == []
    bob.join(room)
    for term in (name, name[:6], f"zoe {name}", f"ÅNG {name}", f"{name} angstrom"):
        assert find(alice, term) == [bob.user_id], term
    for term in (f"oe {name}", f"{name} nobody", name + "x", "", "  !", "@"):
        assert find(alice, term) == [], term
    assert answer(alice, name)["results"] == [
        {"user_id": bob.user_id, "display_name": f"Zoë {name.upper()} Ångström"}
    ]
    assert find(mallory, name) == []
    assert find(bob, name) == [], "nobody looks for themselves"
    call(bob, "Robert")
    assert (find(alice, name), bob.user_id in find(alice, "robert", limit=50)) == ([], True)
    bob.leave(room)
    assert bob.user_id not in find(alice, "robert", limit=50)


def test_by_user_id(server: HearthServer) -> None:
    alice = server.register("alice")
    bob = server.register(some_name())
    bob.join(alice.create_room(preset="public_chat"))
    localpart = bob.user_id[1:].partition(":")[0]
    for term in (localpart, localpart[:8], bob.user_id, bob.user_id[:9], bob.user_id.upper()):
        assert find(alice, term) == [bob.user_id], term
    assert find(alice, f"@{localpart}:elsewhere") == []


@pytest.mark.parametrize(
    ("type", "opened", "closed"),
    [
        ("m.room.join_rules", {"join_rule": "public"}, {"join_rule": "invite"}),
        (
            "m.room.history_visibility",
            {"history_visibility": "world_readable"},
            {"history_visibility": "shared"},
        ),
    ],
)
def test_people_in_open_rooms(server: HearthServer, type: str, opened: Json, closed: Json) -> None:
    alice, bob = server.register("alice"), server.register("bob")
    name = some_name()
    call(bob, name)
    room = bob.create_room()
    assert find(alice, name) == []
    bob.send_state(room, type, opened)
    assert find(alice, name) == [bob.user_id]
    bob.send_state(room, type, closed)
    assert find(alice, name) == []


def test_limit_and_order(server: HearthServer) -> None:
    alice = server.register("alice")
    room = alice.create_room(preset="public_chat")
    name = some_name()
    people = []
    for shown in (f"{name}son", f"{name} B", f"{name} A"):
        people.append(server.register("person"))
        call(people[-1], shown)
        people[-1].join(room)
    longer, second, first = (each.user_id for each in people)
    assert answer(alice, name)["limited"] is False
    assert find(alice, name) == [first, second, longer]
    cut = answer(alice, name, limit=2)
    assert ([each["user_id"] for each in cut["results"]], cut["limited"]) == ([first, second], True)
    refused(alice.post("/user_directory/search", {"search_term": name, "limit": -1}), 400, "M_INVALID_PARAM")
    refused(alice.post("/user_directory/search", {}), 400, "M_BAD_JSON")


def test_deactivated_people_are_gone(server: HearthServer) -> None:
    alice, bob = server.register("alice"), server.register("bob")
    name = some_name()
    call(bob, name)
    bob.join(alice.create_room(preset="public_chat"))
    assert find(alice, name) == [bob.user_id]
    identifier = {"type": "m.id.user", "user": bob.user_id}
    auth = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
    ok(bob.post("/account/deactivate", {"auth": auth}))
    assert find(alice, name) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_all_users_and_over_a_restart(
    engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    postgres = request.getfixturevalue("postgres_server") if engine == "postgres" else None
    settings = {"user_directory": {"search_all_users": True}}
    with HearthServer(engine, tmp_path, postgres, settings) as server:
        alice, bob = server.register("alice"), server.register("bob")
        assert find(alice, "bob") == [bob.user_id]
        call(bob, "Robert Smith")
        server.kill()
        server.start()
        for client in server.clients:
            client.http.base_url = server.url
        until(lambda: find(alice, "smith") == [bob.user_id])
        carol = server.register("carol")
        assert find(alice, "carol") == [carol.user_id]
