"""Two whole servers and their users: aliases, profiles, room lists, keys and devices of the other one."""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import httpx
import pytest

from federation.request_signing import authorize
from homeserver.protocol import canonical_json
from homeserver.protocol.signing import SigningKey, read_signing_keys
from tests.federation.authority import Authority
from tests.federation.processes import federate
from tests.harness import Client, HearthServer, Json, ok, refused
from tests.homeserver.devices.people import Identity

FEDERATION = "/_matrix/federation/v1"


class Pair(NamedTuple):
    """Alpha's users ask about beta's; `beta` shows its room list to others, `alpha` does not."""

    authority: Authority
    alpha: HearthServer
    beta: HearthServer
    alpha_name: str
    beta_name: str

    def ask(self, path: str, body: Any = None, *, of: str | None = None, **query: Any) -> httpx.Response:
        """What beta answers alpha, or alpha beta if it is asked `of` alpha."""
        origin, origin_name = (self.alpha, self.alpha_name) if of is None else (self.beta, self.beta_name)
        destination = of or self.beta_name
        uri = FEDERATION + path + (f"?{urlencode(query)}" if query else "")
        content = None if body is None else canonical_json.encode(body)
        method = "GET" if body is None else "POST"
        header = authorize(method, uri, origin_name, destination, content, _key_of(origin))
        context = ssl.create_default_context(cafile=str(self.authority.path))
        headers = {"Authorization": header, "Content-Type": "application/json"}
        url = f"https://{destination}{uri}"
        return httpx.request(method, url, content=content, headers=headers, verify=context, timeout=30)


def _key_of(server: HearthServer) -> SigningKey:
    return read_signing_keys(Path(server.process.configuration["signing_key_path"]).read_text())[0]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    directory = tmp_path_factory.mktemp("queries")
    authority = Authority(directory)
    alpha, beta = HearthServer("sqlite", directory / "alpha"), HearthServer("sqlite", directory / "beta")
    alpha_name = federate(alpha.process, authority)
    beta_name = federate(beta.process, authority, allow_public_rooms_over_federation=True)
    with alpha, beta:
        yield Pair(authority, alpha, beta, alpha_name, beta_name)
        assert not alpha.internal_errors() + beta.internal_errors()


def upload_device_keys(client: Client) -> dict[str, Any]:
    name = f"ed25519:{client.device_id}"
    keys = {
        "user_id": client.user_id, "device_id": client.device_id, "algorithms": ["m.olm"],
        "keys": {name: "key"}, "signatures": {client.user_id: {name: "signature"}},
    }
    one_time = {"signed_curve25519:AAAA": {"key": "k", "signatures": {client.user_id: {name: "s"}}}}
    ok(client.post("/keys/upload", {"device_keys": keys, "one_time_keys": one_time}))
    return keys


def test_profiles(pair: Pair) -> None:
    alice, bob = pair.alpha.register("alice"), pair.beta.register("bob")
    profile = f"/profile/{quote(bob.user_id)}"
    ok(bob.put(f"{profile}/m.tz", {"m.tz": "Europe/Rome"}))
    found = ok(alice.get(profile))
    assert found == ok(bob.get(profile)) and found["m.tz"] == "Europe/Rome"
    assert ok(alice.get(f"{profile}/m.tz")) == {"m.tz": "Europe/Rome"}
    refused(alice.get(f"{profile}/avatar_url"), 404, "M_NOT_FOUND")
    refused(alice.get(f"/profile/{quote('@nobody:' + pair.beta_name)}"), 404, "M_NOT_FOUND")
    refused(alice.get("/profile/@nobody:localhost:1"), 502, "M_UNKNOWN")


def test_profiles_are_asked_of_their_own_server(pair: Pair) -> None:
    for user_id in (f"@bob:{pair.alpha_name}", "@bob:other.test", "bob", "", "@a\0:" + pair.beta_name):
        refused(pair.ask("/query/profile", user_id=user_id), 400, "M_INVALID_PARAM")
    refused(pair.ask("/query/profile"), 400, "M_MISSING_PARAM")
    refused(pair.ask("/query/weather", user_id="@bob:other.test"), 404, "M_UNRECOGNIZED")


def test_aliases(pair: Pair) -> None:
    alice, bob = pair.alpha.register("alice"), pair.beta.register("bob")
    room_id = bob.create_room(preset="public_chat", room_alias_name="tea/é")
    alias = f"#tea/é:{pair.beta_name}"
    path = f"/directory/room/{quote(alias, safe='')}"
    assert ok(alice.get(path)) == {"room_id": room_id, "servers": [pair.beta_name]} == ok(bob.get(path))
    refused(alice.get(f"/directory/room/{quote('#none:' + pair.beta_name, safe='')}"), 404, "M_NOT_FOUND")
    refused(alice.get("/directory/room/%23none:localhost:1"), 502, "M_UNKNOWN")
    for wrong in (f"#tea:{pair.alpha_name}", "tea", ""):
        refused(pair.ask("/query/directory", room_alias=wrong), 400, "M_INVALID_PARAM")


def test_room_lists(pair: Pair) -> None:
    alice, bob = pair.alpha.register("alice"), pair.beta.register("bob")
    rooms = {
        bob.create_room(preset="public_chat", visibility="public", name=f"Groß {number}")
        for number in range(3)
    }
    search = {"filter": {"generic_search_term": "groß"}}
    found = ok(alice.post("/publicRooms", search, server=pair.beta_name))
    assert {room["room_id"] for room in found["chunk"]} == rooms
    first = ok(alice.get("/publicRooms", server=pair.beta_name, limit=2))
    rest = ok(alice.get("/publicRooms", server=pair.beta_name, since=first["next_batch"]))
    assert len(first["chunk"]) == 2
    assert {room["room_id"] for page in (first, rest) for room in page["chunk"]} >= rooms
    assert len(ok(pair.ask("/publicRooms", limit=0))["chunk"]) >= 3
    refused(pair.ask("/publicRooms", limit=-1), 400, "M_INVALID_PARAM")
    refused(pair.ask("/publicRooms", since="x"), 400, "M_INVALID_PARAM")
    refused(bob.get("/publicRooms", server=pair.alpha_name), 403, "M_FORBIDDEN")
    refused(pair.ask("/publicRooms", of=pair.alpha_name), 403, "M_FORBIDDEN")
    refused(pair.ask("/publicRooms", {}, of=pair.alpha_name), 403, "M_FORBIDDEN")
    refused(alice.get("/publicRooms", server="localhost:1"), 502, "M_UNKNOWN")
    refused(alice.get("/publicRooms", server="no server"), 400, "M_INVALID_PARAM")


def test_keys_and_devices(pair: Pair) -> None:
    alice, bob = pair.alpha.register("alice"), pair.beta.register("bob")
    nothing = ok(pair.ask(f"/user/devices/{quote(bob.user_id)}"))
    assert nothing == {"user_id": bob.user_id, "stream_id": 0, "devices": []}
    keys = upload_device_keys(bob)
    ok(bob.put(f"/devices/{bob.device_id}", {"display_name": "Phone"}))

    found = ok(alice.post("/keys/query", {"device_keys": {bob.user_id: [], "@ann:localhost:1": []}}))
    shown = {**keys, "unsigned": {"device_display_name": "Phone"}}
    assert found["device_keys"] == {bob.user_id: {bob.device_id: shown}}
    assert list(found["failures"]) == ["localhost:1"]

    wanted = {"one_time_keys": {bob.user_id: {bob.device_id: "signed_curve25519", "X": "signed_curve25519"}}}
    claimed = ok(alice.post("/keys/claim", wanted))
    assert list(claimed["one_time_keys"][bob.user_id][bob.device_id]) == ["signed_curve25519:AAAA"]
    assert not any(ok(alice.post("/keys/claim", wanted))["one_time_keys"].values())

    listed = ok(pair.ask(f"/user/devices/{quote(bob.user_id)}"))
    assert listed["stream_id"] > 0
    assert listed["devices"] == [
        {"device_id": bob.device_id, "keys": keys, "device_display_name": "Phone"}
    ]


def test_keys_are_asked_of_their_own_server(pair: Pair) -> None:
    for user_id in (f"@bob:{pair.alpha_name}", "@bob:other.test", "bob", "@a\0:" + pair.beta_name):
        for path, field, wanted in (
            ("/user/keys/query", "device_keys", []), ("/user/keys/claim", "one_time_keys", {"D": "a"})
        ):
            refused(pair.ask(path, {field: {user_id: wanted}}), 400, "M_INVALID_PARAM")
        refused(pair.ask(f"/user/devices/{quote(user_id)}"), 400, "M_INVALID_PARAM")
    for path in ("/user/keys/query", "/user/keys/claim"):
        bodies: list[Any] = [{}, {"device_keys": [], "one_time_keys": 1}, {"device_keys": {"@a:b": {}}}]
        for wrong in bodies:
            refused(pair.ask(path, wrong), 400, "M_BAD_JSON")


def upload_cross_signing_keys(client: Client) -> Identity:
    identity = Identity(client.user_id)
    keys = {f"{usage}_key": key for usage, key in identity.keys().items()}
    ok(client.post("/keys/device_signing/upload", keys))
    return identity


def test_cross_signing_keys_but_for_the_user_signing_key(pair: Pair) -> None:
    alice, bob = pair.alpha.register("alice"), pair.beta.register("bob")
    asked: Json = {"device_keys": {bob.user_id: []}}
    nothing: Json = {"device_keys": {bob.user_id: {}}, "master_keys": {}, "self_signing_keys": {}}
    assert ok(pair.ask("/user/keys/query", asked)) == nothing

    identity = upload_cross_signing_keys(bob)
    master, self_signing = identity.key("master"), identity.key("self_signing")
    keys = {"master_keys": {bob.user_id: master}, "self_signing_keys": {bob.user_id: self_signing}}
    assert ok(pair.ask("/user/keys/query", asked)) == nothing | keys
    listed = ok(pair.ask(f"/user/devices/{quote(bob.user_id)}"))
    assert listed.pop("stream_id") == 0  # no device of his ever changed
    assert listed == {
        "user_id": bob.user_id, "devices": [], "master_key": master, "self_signing_key": self_signing,
    }

    # Alice's signature on Bob's master key is hers alone to see.
    signed = upload_cross_signing_keys(alice)
    body = {bob.user_id: {identity.public("master"): signed.sign(master, "user_signing")}}
    assert ok(alice.post("/keys/signatures/upload", body))["failures"] == {}
    seen = ok(alice.post("/keys/query", asked))["master_keys"][bob.user_id]["signatures"]
    assert list(seen[alice.user_id]) == [f"ed25519:{signed.public('user_signing')}"]
    assert ok(pair.ask("/user/keys/query", asked)) == nothing | keys


@pytest.mark.parametrize(
    "path", ["/query/profile", "/query/directory", "/publicRooms", "/user/devices/@a:b"]
)
def test_unsigned_requests(pair: Pair, path: str) -> None:
    refused(pair.beta.client().get(FEDERATION + path), 401, "M_UNAUTHORIZED")
