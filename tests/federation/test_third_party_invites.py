"""Inviting by an address, with an identity server that says who has it, keeps the invite, or misbehaves."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.federation.authority import Authority
from tests.federation.company import Company
from tests.federation.identity import TOKEN, IdentityServer
from tests.federation.processes import federate
from tests.federation.synthetic import Synthetic
from tests.harness import Client, HearthServer, Json, ok, refused, room_path


class Party(Company):
    def __init__(self, hearth: HearthServer, name: str, remote: Synthetic, identity: IdentityServer) -> None:
        super().__init__(hearth, name, remote)
        self.identity = identity

    def address(self, address: str = "Bob@Example.org", **changes: Any) -> Json:
        return {
            "id_server": self.identity.name, "id_access_token": TOKEN, "medium": "email", "address": address,
            **changes,
        }

    def invite(self, person: Client, room_id: str, **changes: Any) -> Any:
        return person.post(f"{room_path(room_id)}/invite", self.address(**changes))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Party]:
    directory = tmp_path_factory.mktemp("addresses")
    authority = Authority(directory)
    hearth = HearthServer("sqlite", directory / "hearth")
    name = federate(hearth.process, authority)
    with IdentityServer(authority) as identity, Synthetic(authority) as remote, hearth:
        yield Party(hearth, name, remote, identity)


@pytest.fixture
def party(running: Party) -> Iterator[Party]:
    identity = running.identity
    identity.bound, identity.worse, identity.key_counts, identity.stored = {}, {}, True, []
    identity.asked.clear()
    yield running
    errors = running.hearth.internal_errors()
    assert not errors, errors


def membership(reader: Client, room_id: str, user_id: str) -> Any:
    return ok(reader.state(room_id, "m.room.member", user_id))["membership"]


def test_who_has_the_address_is_invited(party: Party) -> None:
    alice, bob = party.hearth.register("alice"), party.hearth.register("bob")
    room_id = alice.create_room()
    party.identity.bound["email", "bob@example.org"] = bob.user_id
    party.identity.rotations = 1
    assert ok(party.invite(alice, room_id)) == {}
    assert membership(alice, room_id, bob.user_id) == "invite"
    assert party.identity.asked == ["hash_details", "lookup", "hash_details", "lookup"]
    refused(party.invite(bob, room_id), 403, "M_FORBIDDEN")
    party.identity.bound["msisdn", "15550100"] = f"@there:{party.remote.name}"
    ok(party.invite(alice, room_id, medium="msisdn", address="+15550100"))
    assert membership(alice, room_id, f"@there:{party.remote.name}") == "invite"


def test_the_invite_is_kept_for_who_will_have_the_address(party: Party) -> None:
    alice, bob = party.hearth.register("alice"), party.hearth.register("bob")
    room_id = alice.create_room(name="Hearth", creation_content={"type": "m.space"})
    ok(party.invite(alice, room_id))
    [stored] = party.identity.stored
    assert stored == stored | {
        "medium": "email", "address": "bob@example.org", "room_id": room_id, "sender": alice.user_id,
        "room_name": "Hearth", "room_join_rules": "invite", "room_type": "m.space",
    }
    kept = ok(alice.state(room_id, "m.room.third_party_invite", "token1"))
    assert kept["display_name"] == "b..." and "example" not in str(kept["display_name"])
    assert kept["public_key"] == kept["public_keys"][0]["public_key"]
    invite = {
        "medium": "email", "address": "bob@example.org", "mxid": bob.user_id, "room_id": room_id,
        "sender": alice.user_id, "signed": party.identity.signed(bob.user_id, "token1"),
    }
    body = {"medium": "email", "address": "bob@example.org", "mxid": bob.user_id, "invites": [invite]}
    ok(alice.put("/_matrix/federation/v1/3pid/onbind", body))
    assert membership(alice, room_id, bob.user_id) == "invite"
    bob.join(room_id)


def test_a_key_that_does_not_count_any_more(party: Party) -> None:
    """The inviting server asks when another one claims the invite."""
    alice = party.hearth.register("alice")
    room_id = alice.create_room(room_version="11")
    ok(party.invite(alice, room_id))
    user_id = f"@third:{party.remote.name}"
    claim = {"display_name": "b...", "signed": party.identity.signed(user_id, "token1")}
    body = {
        "type": "m.room.member", "room_id": room_id, "sender": alice.user_id, "state_key": user_id,
        "content": {"membership": "invite", "third_party_invite": claim},
    }
    path = f"/_matrix/federation/v1/exchange_third_party_invite/{room_id}"

    def exchange() -> Any:
        return party.remote.ask(party.name, "PUT", path, body)

    party.identity.key_counts = False
    refused(exchange(), 403, "M_FORBIDDEN")
    party.identity.worse["is_valid"] = ({}, 500)
    refused(exchange(), 400, "M_BAD_STATE")
    party.identity.worse, party.identity.key_counts = {}, True
    ok(exchange())
    assert membership(alice, room_id, user_id) == "invite"


def test_in_a_new_room(party: Party) -> None:
    alice, bob = party.hearth.register("alice"), party.hearth.register("bob")
    party.identity.bound["email", "bob@example.org"] = bob.user_id
    away = party.address("x", id_server="localhost:1")
    others = [party.address(), party.address("carol@example.org"), away]
    room_id = alice.create_room(invite_3pid=others, is_direct=True)
    assert ok(alice.state(room_id, "m.room.member", bob.user_id))["is_direct"] is True
    assert party.identity.stored[0]["address"] == "carol@example.org"
    ok(alice.state(room_id, "m.room.third_party_invite", "token1"))
    refused(alice.post("/createRoom", {"invite_3pid": [away]}), 502, "M_UNKNOWN")
    refused(alice.post("/createRoom", {"invite_3pid": [party.address(medium="x")]}), 400, "M_INVALID_PARAM")
    assert len(ok(alice.get("/joined_rooms"))["joined_rooms"]) == 2, "a room that is there is there"


def test_nobody_asks_who_may_not_invite(party: Party) -> None:
    alice, bob = party.hearth.register("alice"), party.hearth.register("bob")
    room_id = alice.create_room(preset="public_chat")
    refused(party.invite(bob, room_id), 403, "M_FORBIDDEN")
    bob.join(room_id)
    refused(party.invite(bob, room_id), 403, "M_FORBIDDEN")
    refused(party.invite(alice, room_id, id_server="no server"), 400, "M_INVALID_PARAM")
    refused(party.invite(alice, room_id, medium="pigeon"), 400, "M_INVALID_PARAM")
    refused(party.invite(alice, room_id, address=""), 400, "M_INVALID_PARAM")
    refused(party.invite(alice, room_id, id_access_token="a\r\nHost: x"), 400, "M_INVALID_PARAM")
    refused(party.invite(alice, room_id, address=None), 400, "M_MISSING_PARAM")
    assert not party.identity.asked


def test_identity_servers_that_refuse_or_lie(party: Party) -> None:
    alice, bob = party.hearth.register("alice"), party.hearth.register("bob")
    room_id = alice.create_room()
    # The client's token here is not meant.
    refused(party.invite(alice, room_id, id_access_token="other"), 403, "M_FORBIDDEN")
    refused(party.invite(alice, room_id, id_server="localhost:1"), 502, "M_UNKNOWN")
    worse = party.identity.worse
    terms = {"errcode": "M_TERMS_NOT_SIGNED", "error": "Please read this."}
    for operation, answer, status, errcode in (
        ("hash_details", (terms, 403), 403, "M_TERMS_NOT_SIGNED"),
        ("hash_details", ({}, 200), 502, "M_UNKNOWN"),
        ("hash_details", ({"lookup_pepper": "x", "algorithms": 7}, 200), 502, "M_UNKNOWN"),
        ("lookup", ({"errcode": "M_INVALID_PEPPER", "error": "again"}, 400), 403, "M_FORBIDDEN"),
        ("lookup", ({"mappings": []}, 200), 502, "M_UNKNOWN"),
        ("lookup", ({"mappings": {"x": "nobody"}}, 200), 502, "M_UNKNOWN"),
        ("lookup", (b"[", 200), 502, "M_UNKNOWN"),
        ("store_invite", ({"errcode": "M_UNKNOWN", "error": "down"}, 500), 502, "M_UNKNOWN"),
        ("store_invite", ({"token": "t", "display_name": "d", "public_keys": []}, 200), 502, "M_UNKNOWN"),
        ("store_invite", ({"token": "t", "display_name": "d", "public_keys": [7]}, 200), 502, "M_UNKNOWN"),
        ("store_invite", ({"token": "", "display_name": "d", "public_keys": [{}]}, 200), 502, "M_UNKNOWN"),
    ):
        worse.clear()
        worse[operation] = answer
        refused(party.invite(alice, room_id), status, errcode)
    worse.clear()
    in_use = {"errcode": "M_THREEPID_IN_USE", "error": "just now", "mxid": bob.user_id}
    worse["store_invite"] = (in_use, 400)
    ok(party.invite(alice, room_id))
    assert membership(alice, room_id, bob.user_id) == "invite"


def test_private_addresses_are_not_asked(party: Party, tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("guarded")
    authority = Authority(directory)
    guarded = HearthServer("sqlite", directory / "hearth")
    federate(guarded.process, authority, ip_range_whitelist=[])
    with guarded, IdentityServer(authority) as identity:
        alice = guarded.register("alice")
        room_id = alice.create_room()
        for name in (identity.name, identity.name.replace("localhost", "127.0.0.1")):
            body = party.address(id_server=name)
            refused(alice.post(f"{room_path(room_id)}/invite", body), 502, "M_UNKNOWN")
        assert not identity.asked
        assert not guarded.internal_errors()
