"""Users of Hearth and of a real Synapse look each other up: profiles, aliases, room lists, keys."""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import quote

import pytest

from tests.federation.authority import Authority
from tests.federation.processes import federate
from tests.harness import PASSWORD, Client, Json, ok, refused
from tests.homeserver.devices.people import CURVE, Device, Identity
from tests.processes import Hearth, ServerProcess, Synapse, synapse_python

pytestmark = pytest.mark.interop


class Person(NamedTuple):
    """Somebody with keys, and a published room with an alias."""

    client: Client
    server_name: str
    room_id: str
    device: Json
    identity: Identity


def settle(server: ServerProcess, server_name: str, name: str) -> Person:
    client = Client(server.url)
    body = {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
    client.adopt(ok(client.post("/register", body)))
    ok(client.put(f"/profile/{quote(client.user_id)}/displayname", {"displayname": f"The {name}"}))
    room_id = client.create_room(
        preset="public_chat", visibility="public", name=f"Room of {name}", room_alias_name=name
    )
    device = Device(client.user_id, client.device_id)
    one_time = {f"{CURVE}:AAAA": {"key": "3C5BFWi2Y8MaVvjM8M22DBmh24PmgR0nPvJOIArzgyI", "signatures": {}}}
    ok(client.post("/keys/upload", {"device_keys": device.keys(), "one_time_keys": one_time}))
    identity = Identity(client.user_id)
    keys: Json = {f"{usage}_key": key for usage, key in identity.keys().items()}
    password = {
        "type": "m.login.password", "password": PASSWORD,
        "identifier": {"type": "m.id.user", "user": client.user_id},
    }
    asked = client.post("/keys/device_signing/upload", keys)
    if asked.status_code == 401:
        keys["auth"] = password | {"session": asked.json()["session"]}
        ok(client.post("/keys/device_signing/upload", keys))
    return Person(client, server_name, room_id, device.keys(), identity)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Person, Person]]:
    """Hearth's and Synapse's."""
    if not synapse_python().exists():
        pytest.skip("Synapse is not installed: make peers")
    directory = tmp_path_factory.mktemp("queries")
    authority = Authority(directory)
    hearth, synapse = Hearth(directory / "hearth"), Synapse(directory / "synapse")
    shown: Json = {"allow_public_rooms_over_federation": True}
    # Synapse lets nobody publish a room unless it is told to.
    listed: Json = {"room_list_publication_rules": [{"action": "allow"}]}
    names = federate(hearth, authority, **shown), federate(synapse, authority, **shown, **listed)
    with hearth, synapse:
        ours, theirs = settle(hearth, names[0], "ann"), settle(synapse, names[1], "bob")
        yield ours, theirs
        ours.client.http.close()
        theirs.client.http.close()


def eventually(ask: Callable[[], list[Json]]) -> list[Json]:
    deadline = time.monotonic() + 20
    while not (found := ask()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


@pytest.fixture(params=["Hearth asks", "Synapse asks"])
def pair(request: pytest.FixtureRequest, people: tuple[Person, Person]) -> tuple[Person, Person]:
    """The one who asks, and the other."""
    ours, theirs = people
    return (ours, theirs) if request.param == "Hearth asks" else (theirs, ours)


def test_profiles(pair: tuple[Person, Person]) -> None:
    asker, other = pair
    found = ok(asker.client.get(f"/profile/{quote(other.client.user_id)}"))
    assert found["displayname"].startswith("The ")
    nobody = quote(f"@nobody:{other.server_name}")
    refused(asker.client.get(f"/profile/{nobody}"), 404, "M_NOT_FOUND")


def test_aliases(pair: tuple[Person, Person]) -> None:
    asker, other = pair
    localpart = other.client.user_id[1:].partition(":")[0]
    path = f"/directory/room/{quote(f'#{localpart}:{other.server_name}', safe='')}"
    found = ok(asker.client.get(path))
    assert (found["room_id"], found["servers"]) == (other.room_id, [other.server_name])
    refused(asker.client.get(path.replace("%3A", "x%3A", 1)), 404, "M_NOT_FOUND")


def test_room_lists(pair: tuple[Person, Person]) -> None:
    asker, other = pair
    # Synapse lists a room once its statistics were counted.
    own = eventually(lambda: ok(other.client.get("/publicRooms"))["chunk"])
    assert [room["room_id"] for room in own] == [other.room_id]
    found = ok(asker.client.get("/publicRooms", server=other.server_name))
    assert [room["room_id"] for room in found["chunk"]] == [other.room_id]
    for term, expected in (("room OF", [other.room_id]), ("nothing", [])):
        search = {"filter": {"generic_search_term": term}}
        found = ok(asker.client.post("/publicRooms", search, server=other.server_name))
        assert [room["room_id"] for room in found["chunk"]] == expected


def test_keys(pair: tuple[Person, Person]) -> None:
    asker, other = pair
    user_id, device_id = other.client.user_id, other.client.device_id
    found = ok(asker.client.post("/keys/query", {"device_keys": {user_id: []}}))
    assert found.get("failures", {}) == {}
    device = found["device_keys"][user_id][device_id]
    assert device["keys"] == other.device["keys"]
    assert found["master_keys"][user_id]["keys"] == other.identity.key("master")["keys"]
    assert found["self_signing_keys"][user_id]["keys"] == other.identity.key("self_signing")["keys"]
    claimed = ok(asker.client.post("/keys/claim", {"one_time_keys": {user_id: {device_id: CURVE}}}))
    assert list(claimed["one_time_keys"][user_id][device_id]) == [f"{CURVE}:AAAA"]
