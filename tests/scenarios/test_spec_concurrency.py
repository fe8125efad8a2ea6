"""The same thing asked for many times at the same moment happens once, and nobody's change is lost.

https://spec.matrix.org/v1.19/client-server-api/#transaction-identifiers
"""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import httpx

from tests.harness import PASSWORD, HearthServer, Json, ok, room_path

AT_ONCE = 8

Outcomes = Counter[tuple[int, str | None]]


def at_once(request: Callable[[int], httpx.Response]) -> tuple[list[httpx.Response], Outcomes]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        responses = list(pool.map(request, range(AT_ONCE)))
    outcomes = Counter((each.status_code, each.json().get("errcode")) for each in responses)
    return responses, outcomes


def one_of_them(errcode: str, status: int = 400) -> Outcomes:
    return Counter({(200, None): 1, (status, errcode): AT_ONCE - 1})


def test_one_name_one_account(server: HearthServer) -> None:
    name = f"same{next(server._names)}"
    clients = [server.client() for _ in range(AT_ONCE)]
    body = {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
    _, outcomes = at_once(lambda n: clients[n].post("/register", body))
    assert outcomes == one_of_them("M_USER_IN_USE")


def test_one_alias_one_room(server: HearthServer) -> None:
    alice = server.register("alice")
    name = f"same-{alice.user_id[1:].partition(':')[0]}"
    _, outcomes = at_once(lambda n: alice.post("/createRoom", {"room_alias_name": name}))
    assert outcomes == one_of_them("M_ROOM_IN_USE")
    assert len(ok(alice.get("/joined_rooms"))["joined_rooms"]) == 1
    room_id = alice.create_room()
    path = f"/directory/room/{quote(f'#{name}-2:localhost', safe='')}"
    _, outcomes = at_once(lambda n: alice.put(path, {"room_id": room_id}))
    assert outcomes == one_of_them("M_UNKNOWN", 409)


def test_one_transaction_one_event(server: HearthServer) -> None:
    alice = server.register("alice")
    room_id = alice.create_room()
    path = f"{room_path(room_id)}/send/m.room.message/same"
    responses, outcomes = at_once(lambda n: alice.put(path, {"msgtype": "m.text", "body": str(n)}))
    assert outcomes == Counter({(200, None): AT_ONCE})
    assert len({each.json()["event_id"] for each in responses}) == 1
    page = ok(alice.get(f"{room_path(room_id)}/messages", dir="b", limit=100))
    assert len([each for each in page["chunk"] if each["type"] == "m.room.message"]) == 1


def test_one_join_one_event(server: HearthServer) -> None:
    alice, bob = server.register("alice"), server.register("bob")
    room_id = alice.create_room(preset="public_chat")
    _, outcomes = at_once(lambda n: bob.post(f"/join/{quote(room_id)}"))
    assert outcomes == Counter({(200, None): AT_ONCE})
    page = ok(alice.get(f"{room_path(room_id)}/messages", dir="b", limit=100))
    assert len([each for each in page["chunk"] if each.get("state_key") == bob.user_id]) == 1
    _, outcomes = at_once(lambda n: bob.post(f"{room_path(room_id)}/leave"))
    assert outcomes == Counter({(200, None): AT_ONCE})
    page = ok(alice.get(f"{room_path(room_id)}/messages", dir="b", limit=100))
    assert len([each for each in page["chunk"] if each.get("state_key") == bob.user_id]) == 2


def test_no_change_is_lost(server: HearthServer) -> None:
    alice = server.register("alice")
    room_id = alice.create_room()
    me = quote(alice.user_id)
    tags = f"/user/{me}{room_path(room_id)}/tags"
    at_once(lambda n: alice.put(f"{tags}/u.{n}", {}))
    assert len(ok(alice.get(tags))["tags"]) == AT_ONCE
    at_once(lambda n: alice.put(f"/profile/{me}/org.example.k{n}", {f"org.example.k{n}": n}))
    assert len(ok(alice.get(f"/profile/{me}"))) == AT_ONCE
    before = len(ok(alice.get("/pushrules/"))["global"]["override"])
    rule: Json = {"actions": [], "conditions": []}
    at_once(lambda n: alice.put(f"/pushrules/global/override/r{n}", rule))
    assert len(ok(alice.get("/pushrules/"))["global"]["override"]) == before + AT_ONCE


def test_the_last_name_is_shown_everywhere(server: HearthServer) -> None:
    alice = server.register("alice")
    rooms = [alice.create_room() for _ in range(2)]
    path = f"/profile/{quote(alice.user_id)}/displayname"
    _, outcomes = at_once(lambda n: alice.put(path, {"displayname": f"name {n}"}))
    assert outcomes == Counter({(200, None): AT_ONCE})
    name = ok(alice.get(path))["displayname"]
    for room_id in rooms:
        assert ok(alice.state(room_id, "m.room.member", alice.user_id))["displayname"] == name
