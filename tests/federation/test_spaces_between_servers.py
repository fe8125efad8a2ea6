"""Spaces that hold rooms of another server: what it tells, and what its people's neighbours see."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.federation.authority import Authority
from tests.federation.processes import federate
from tests.federation.test_queries_between_servers import Pair
from tests.harness import Client, HearthServer, ok, refused, room_path

V1 = "/_matrix/client/v1"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    directory: Path = tmp_path_factory.mktemp("spaces")
    authority = Authority(directory)
    alpha, beta = HearthServer("sqlite", directory / "alpha"), HearthServer("sqlite", directory / "beta")
    alpha_name = federate(alpha.process, authority)
    beta_name = federate(beta.process, authority)
    with alpha, beta:
        yield Pair(authority, alpha, beta, alpha_name, beta_name)
        assert not alpha.internal_errors() + beta.internal_errors()


def space(client: Client) -> str:
    return client.create_room(creation_content={"type": "m.space"}, preset="public_chat")


def test_the_tree_goes_on_elsewhere(pair: Pair) -> None:
    alice, bob = pair.alpha.register("alice"), pair.beta.register("bob")
    root, theirs = space(alice), space(bob)
    public = bob.create_room(preset="public_chat", name="Public")
    secret = bob.create_room(preset="private_chat")
    own = alice.create_room(preset="private_chat")
    for child, server in ((public, pair.beta_name), (secret, pair.beta_name), (own, pair.alpha_name)):
        bob.send_state(theirs, "m.space.child", {"via": [server]}, child)
    alice.send_state(root, "m.space.child", {"via": ["localhost:1", pair.beta_name]}, theirs)

    told = ok(pair.ask(f"/hierarchy/{quote(theirs)}", suggested_only="false"))
    assert told["room"]["room_id"] == theirs
    assert [room["name"] for room in told["children"]] == ["Public"]
    assert told["inaccessible_children"] == [secret]
    refused(pair.ask(f"/hierarchy/{quote(secret)}"), 404, "M_NOT_FOUND")
    refused(pair.ask(f"/hierarchy/{quote(own)}"), 404, "M_NOT_FOUND")

    seen = ok(alice.get(f"{V1}{room_path(root)}/hierarchy"))["rooms"]
    assert [room["room_id"] for room in seen] == [root, theirs, public, own]
    assert [event["state_key"] for event in seen[1]["children_state"]] == [public, secret, own]
    carol = pair.alpha.register("carol")
    seen = ok(carol.get(f"{V1}{room_path(root)}/hierarchy"))["rooms"]
    assert [room["room_id"] for room in seen] == [root, theirs, public]


def test_a_server_that_is_shut_out(pair: Pair) -> None:
    bob = pair.beta.register("bob")
    room = bob.create_room(preset="public_chat")
    path = f"/hierarchy/{quote(room)}"
    assert ok(pair.ask(path))["children"] == []
    host = pair.alpha_name.partition(":")[0]
    bob.send_state(room, "m.room.server_acl", {"allow": ["*"], "deny": [host]})
    refused(pair.ask(path), 404, "M_NOT_FOUND")


def test_a_summary(pair: Pair) -> None:
    alice, bob = pair.alpha.register("alice"), pair.beta.register("bob")
    name = f"sum-{bob.user_id[1:].partition(':')[0]}"
    room = bob.create_room(preset="public_chat", name="N", room_alias_name=name)
    alias = f"#{name}:{pair.beta_name}"
    here = ok(bob.get(f"{V1}/room_summary/{quote(room)}")) | {"membership": "leave"}
    for asked, via in ((room, {"via": pair.beta_name}), (alias, {})):
        assert ok(alice.get(f"{V1}/room_summary/{quote(asked, safe='')}", **via)) == here
    refused(alice.get(f"{V1}/room_summary/{quote(room)}"), 404, "M_NOT_FOUND")
    secret = bob.create_room(preset="private_chat")
    path = f"{V1}/room_summary/{quote(secret)}"
    refused(alice.get(path, via=pair.beta_name), 404, "M_NOT_FOUND")
    refused(pair.alpha.client().get(path, via=pair.beta_name), 401, "M_MISSING_TOKEN")
