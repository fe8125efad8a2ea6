"""Whose devices Alice must look at again and whose she may forget, however she and Bob met and parted."""

import pytest

from tests.harness import Client, HearthServer, Json, ok, room_path
from tests.scenarios.test_encryption import with_keys


@pytest.fixture
def alice(server: HearthServer) -> Client:
    return server.register("alice")


@pytest.fixture
def bob(server: HearthServer) -> Client:
    client = server.register("bob")
    with_keys(client)
    return client


@pytest.fixture
def room_id(alice: Client, bob: Client) -> str:
    room_id = alice.create_room(preset="public_chat")
    bob.join(room_id)
    alice.sync()
    bob.sync()
    return room_id


def member(client: Client, room_id: str, verb: str, user_id: str) -> None:
    ok(client.post(f"{room_path(room_id)}/{verb}", {"user_id": user_id}))


def lists(client: Client) -> tuple[list[str], list[str]]:
    """(changed, left) of the next sync, which must be what /keys/changes says, too."""
    since = client.since
    told: Json = client.sync().get("device_lists", {})
    changes = ok(client.get("/keys/changes", **{"from": since, "to": client.since}))
    found = told.get("changed", []), told.get("left", [])
    assert found == (changes["changed"], changes["left"])
    return found


def test_kicked_then_banned(alice: Client, bob: Client, room_id: str) -> None:
    member(alice, room_id, "kick", bob.user_id)
    member(alice, room_id, "ban", bob.user_id)
    assert lists(alice) == ([], [bob.user_id])
    assert lists(bob) == ([], [alice.user_id])
    assert lists(alice) == lists(bob) == ([], [])


def test_gone_and_invited_again(
    server: HearthServer, alice: Client, bob: Client, room_id: str
) -> None:
    bob.leave(room_id)
    assert lists(alice) == ([], [bob.user_id])
    with_keys(server.login(bob.user_id))
    assert lists(alice) == ([], [])
    member(alice, room_id, "invite", bob.user_id)
    assert lists(alice) == ([bob.user_id], [])  # what Alice says now is encrypted for the new device, too
    assert lists(bob)[1] == [alice.user_id]
    bob.join(room_id)
    assert lists(alice) == ([bob.user_id], [])
    assert alice.user_id in lists(bob)[0]


def test_gone_and_back(alice: Client, bob: Client, room_id: str) -> None:
    bob.leave(room_id)
    bob.join(room_id)
    assert lists(alice) == ([bob.user_id], [])
    assert alice.user_id in lists(bob)[0]


def test_banned_and_unbanned(alice: Client, bob: Client, room_id: str) -> None:
    member(alice, room_id, "ban", bob.user_id)
    member(alice, room_id, "unban", bob.user_id)
    assert lists(alice) == ([], [bob.user_id])
    assert lists(bob) == ([], [alice.user_id])


def test_invited_and_declined_never_met(server: HearthServer, alice: Client, room_id: str) -> None:
    carol = server.register("carol")
    carol.sync()
    member(alice, room_id, "invite", carol.user_id)
    carol.leave(room_id)
    assert lists(alice) == ([], [])
    assert lists(carol) == ([], [])


def test_another_room_is_still_shared(alice: Client, bob: Client, room_id: str) -> None:
    other = alice.create_room(preset="public_chat")
    bob.join(other)
    alice.sync()
    bob.sync()
    bob.leave(room_id)
    member(alice, room_id, "ban", bob.user_id)
    assert lists(alice) == lists(bob) == ([], [])
    alice.leave(other)
    assert lists(alice) == ([], [bob.user_id])
    assert lists(bob) == ([], [alice.user_id])


def test_both_left(alice: Client, bob: Client, room_id: str) -> None:
    bob.leave(room_id)
    alice.leave(room_id)
    assert lists(alice) == ([], [bob.user_id])
    assert lists(bob) == ([], [alice.user_id])


def test_another_name_is_no_meeting(alice: Client, bob: Client, room_id: str) -> None:
    for name in ("Bob", "Robert"):
        ok(bob.put(f"/profile/{bob.user_id}/displayname", {"displayname": name}))
    assert lists(alice)[1] == []


def test_devices_that_change_after_parting_are_nobodys_business(
    server: HearthServer, alice: Client, bob: Client, room_id: str
) -> None:
    bob.leave(room_id)
    with_keys(server.login(bob.user_id))
    assert lists(alice) == ([], [bob.user_id])
