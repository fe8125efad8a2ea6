"""Alice's server and Bob's: how their users get into each other's rooms, are asked in, let in and put out."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.federation.authority import Authority
from tests.federation.processes import federate
from tests.harness import Client, HearthServer, Json, joined, ok, refused, room_path
from tests.waiting import until


class Pair(NamedTuple):
    here: HearthServer
    there: HearthServer
    here_name: str
    there_name: str

    def people(self) -> tuple[Client, Client]:
        """Alice, of here, and Bob, of there."""
        return self.here.register("alice"), self.there.register("bob")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    directory = tmp_path_factory.mktemp("rooms")
    authority = Authority(directory)
    here, there = HearthServer("sqlite", directory / "here"), HearthServer("sqlite", directory / "there")
    names = federate(here.process, authority), federate(there.process, authority)
    with here, there:
        yield Pair(here, there, *names)
        errors = here.internal_errors() + there.internal_errors()
        assert not errors, errors


def membership(reader: Client, room_id: str, user_id: str) -> str | None:
    response = reader.state(room_id, "m.room.member", user_id)
    content: Json = response.json() if response.status_code == 200 else {}
    return content.get("membership")


def becomes(reader: Client, room_id: str, user_id: str, expected: str) -> None:
    """Waits until a reader sees somebody's membership."""
    until(lambda: membership(reader, room_id, user_id) == expected, what=f"{user_id} {expected}")


def said(room_id: str, body: str) -> Callable[[Json], bool]:
    def seen(sync: Json) -> bool:
        events = joined(sync, room_id).get("timeline", {}).get("events", [])
        return any(event["content"].get("body") == body for event in events)

    return seen


def section(name: str, room_id: str) -> Callable[[Json], Any]:
    return lambda sync: sync.get("rooms", {}).get(name, {}).get(room_id)


def talk(room_id: str, one: Client, other: Client) -> None:
    """Each hears the other."""
    for speaker, listener in ((one, other), (other, one)):
        speaker.send(room_id, f"{speaker.user_id} speaks")
        listener.sync_until(said(room_id, f"{speaker.user_id} speaks"))


@pytest.mark.parametrize("version", ["1", "2", "3", "6", "9", "10", "11", "12"])
def test_joining_by_alias(pair: Pair, version: str) -> None:
    alice, bob = pair.people()
    name = f"version{version}"
    room_id = alice.create_room(preset="public_chat", room_version=version, room_alias_name=name, name="N")
    assert ok(bob.post(f"/join/%23{name}:{pair.here_name}", {}))["room_id"] == room_id
    assert ok(bob.state(room_id, "m.room.name")) == {"name": "N"}
    for user in (alice, bob):
        members = ok(user.get(f"{room_path(room_id)}/joined_members"))["joined"]
        assert set(members) == {alice.user_id, bob.user_id}
    talk(room_id, alice, bob)


def test_joining_by_server_name_old_and_new(pair: Pair) -> None:
    alice, bob = pair.people()
    for parameter in ("via", "server_name"):
        room_id = alice.create_room(preset="public_chat", room_version="12")
        refused(bob.post(f"/join/{room_id}", {}), 404, "M_NOT_FOUND")
        ok(bob.post(f"/join/{room_id}", {}, **{parameter: ["localhost:1", pair.here_name]}))
        becomes(alice, room_id, bob.user_id, "join")


def test_a_second_user_joins_without_asking_around(pair: Pair) -> None:
    alice, bob = pair.people()
    bill = pair.there.register("bill")
    room_id = alice.create_room(preset="public_chat")
    ok(bob.post(f"/join/{room_id}", {}, via=pair.here_name))
    ok(bill.post(f"/join/{room_id}", {}))
    becomes(alice, room_id, bill.user_id, "join")
    talk(room_id, bill, bob)


def test_several_join_at_once_and_one_of_them_twice(pair: Pair) -> None:
    alice, bob = pair.people()
    bill = pair.there.register("bill")
    room_id = alice.create_room(preset="public_chat")
    with ThreadPoolExecutor(6) as threads:
        joining = [
            threads.submit(user.post, f"/join/{room_id}", {}, via=pair.here_name)
            for user in (bob, bill, bob, bill, bob, bill)
        ]
    for each in joining:
        ok(each.result())
    for user in (bob, bill):
        becomes(alice, room_id, user.user_id, "join")
    events = [event for event in alice.timeline(room_id) if event["type"] == "m.room.member"]
    assert sorted(event["state_key"] for event in events) == sorted(
        user.user_id for user in (alice, bob, bill)
    )
    talk(room_id, bob, bill)


def test_what_is_not_allowed_or_not_there(pair: Pair) -> None:
    alice, bob = pair.people()
    private = alice.create_room(preset="private_chat")
    refused(bob.post(f"/join/{private}", {}, via=pair.here_name), 403, "M_FORBIDDEN")
    refused(bob.post(f"/knock/{private}", {}, via=pair.here_name), 403, "M_FORBIDDEN")
    refused(bob.post(f"/join/!nothing:{pair.here_name}", {}), 404, "M_NOT_FOUND")
    refused(bob.post("/join/!nothing:localhost:1", {}), 502, "M_UNKNOWN")
    alone = alice.create_room(preset="public_chat", creation_content={"m.federate": False})
    refused(bob.post(f"/join/{alone}", {}, via=pair.here_name), 403, "M_FORBIDDEN")
    refused(alice.post(f"{room_path(alone)}/invite", {"user_id": bob.user_id}), 403, "M_FORBIDDEN")


@pytest.mark.parametrize("version", ["1", "10", "12"])
def test_an_invite_that_is_taken(pair: Pair, version: str) -> None:
    alice, bob = pair.people()
    room_id = alice.create_room(preset="private_chat", room_version=version, name="Come in")
    ok(alice.post(f"{room_path(room_id)}/invite", {"user_id": bob.user_id, "reason": "tea"}))
    assert membership(alice, room_id, bob.user_id) == "invite"
    shown = bob.sync_until(section("invite", room_id))["invite_state"]["events"]
    contents = {(event["type"], event["state_key"]): event["content"] for event in shown}
    assert contents["m.room.name", ""] == {"name": "Come in"}
    assert contents["m.room.member", bob.user_id]["reason"] == "tea"
    assert ("m.room.create", "") in contents
    ok(bob.post(f"{room_path(room_id)}/join", {}))
    becomes(alice, room_id, bob.user_id, "join")
    # The sync after it tells the room's state, though the invite came before this server knew any.
    told = bob.sync_until(section("join", room_id))
    events = [*told["state"]["events"], *told["timeline"]["events"]]
    types = {(event["type"], event["state_key"]) for event in events if "state_key" in event}
    assert {("m.room.create", ""), ("m.room.power_levels", ""), ("m.room.name", "")} <= types
    assert {("m.room.member", alice.user_id), ("m.room.member", bob.user_id)} <= types
    talk(room_id, alice, bob)


def test_an_invite_that_is_declined(pair: Pair) -> None:
    alice, bob = pair.people()
    room_id = alice.create_room(preset="private_chat")
    alice.invite(room_id, bob.user_id)
    bob.sync_until(section("invite", room_id))
    ok(bob.post(f"{room_path(room_id)}/leave", {"reason": "no"}))
    bob.sync_until(section("leave", room_id))
    becomes(alice, room_id, bob.user_id, "leave")
    refused(bob.post(f"/join/{room_id}", {}, via=pair.here_name), 403, "M_FORBIDDEN")


def test_an_invite_that_is_taken_back(pair: Pair) -> None:
    alice, bob = pair.people()
    room_id = alice.create_room(preset="private_chat")
    alice.invite(room_id, bob.user_id)
    bob.sync_until(section("invite", room_id))
    alice.kick(room_id, bob.user_id)
    bob.sync_until(section("leave", room_id))
    refused(bob.post(f"{room_path(room_id)}/join", {}), 403, "M_FORBIDDEN")


def test_somebody_who_is_not_there_cannot_be_invited(pair: Pair) -> None:
    alice, _ = pair.people()
    room_id = alice.create_room(preset="private_chat")
    for user_id in (f"@nobody:{pair.there_name}", "@nobody:localhost:1"):
        response = alice.post(f"{room_path(room_id)}/invite", {"user_id": user_id})
        assert response.status_code in (403, 404, 502), response.text
        assert membership(alice, room_id, user_id) is None


def test_a_conversation_begins_with_somebody_elsewhere(pair: Pair) -> None:
    alice, bob = pair.people()
    room_id = alice.create_room(preset="trusted_private_chat", invite=[bob.user_id], is_direct=True)
    shown = bob.sync_until(section("invite", room_id))["invite_state"]["events"]
    assert any(event["content"].get("is_direct") for event in shown)
    ok(bob.post(f"/join/{room_id}", {}))
    talk(room_id, alice, bob)
    bob.send_state(room_id, "m.room.name", {"name": "Ours"})  # as mighty as she is
    until(lambda: alice.state(room_id, "m.room.name").json() == {"name": "Ours"})


def test_leaving_and_coming_back(pair: Pair) -> None:
    alice, bob = pair.people()
    room_id = alice.create_room(preset="public_chat")
    ok(bob.post(f"/join/{room_id}", {}, via=pair.here_name))
    becomes(alice, room_id, bob.user_id, "join")
    bob.leave(room_id)
    becomes(alice, room_id, bob.user_id, "leave")
    alice.send(room_id, "unheard")
    alice.send_state(room_id, "m.room.topic", {"topic": "changed meanwhile"})
    ok(bob.post(f"/join/{room_id}", {}))  # his server remembers who was there
    assert ok(bob.state(room_id, "m.room.topic"))["topic"] == "changed meanwhile"
    talk(room_id, alice, bob)


def test_who_is_kicked_may_return_and_who_is_banned_may_not(pair: Pair) -> None:
    alice, bob = pair.people()
    room_id = alice.create_room(preset="public_chat")
    ok(bob.post(f"/join/{room_id}", {}, via=pair.here_name))
    bob.sync()
    alice.kick(room_id, bob.user_id)
    bob.sync_until(section("leave", room_id))
    ok(bob.post(f"/join/{room_id}", {}, via=pair.here_name))
    bob.sync_until(section("join", room_id))
    alice.ban(room_id, bob.user_id)
    bob.sync_until(section("leave", room_id))
    refused(bob.post(f"/join/{room_id}", {}, via=pair.here_name), 403, "M_FORBIDDEN")
    refused(alice.post(f"{room_path(room_id)}/invite", {"user_id": bob.user_id}), 403, "M_FORBIDDEN")
    ok(alice.post(f"{room_path(room_id)}/unban", {"user_id": bob.user_id}))
    ok(bob.post(f"/join/{room_id}", {}, via=pair.here_name))
    talk(room_id, alice, bob)


def knocking_room(alice: Client) -> str:
    rules = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
    return alice.create_room(preset="private_chat", initial_state=[rules], name="Knock")


def test_a_knock_that_is_answered(pair: Pair) -> None:
    alice, bob = pair.people()
    room_id = knocking_room(alice)
    ok(bob.post(f"/knock/{room_id}", {"reason": "please"}, via=pair.here_name))
    shown = bob.sync_until(section("knock", room_id))["knock_state"]["events"]
    assert {"name": "Knock"} in [event["content"] for event in shown]
    becomes(alice, room_id, bob.user_id, "knock")
    alice.invite(room_id, bob.user_id)
    bob.sync_until(section("invite", room_id))
    ok(bob.post(f"/join/{room_id}", {}))
    talk(room_id, alice, bob)


def test_a_knock_that_is_withdrawn_or_refused(pair: Pair) -> None:
    alice, bob = pair.people()
    room_id = knocking_room(alice)
    ok(bob.post(f"/knock/{room_id}", {}, via=pair.here_name))
    becomes(alice, room_id, bob.user_id, "knock")
    bob.leave(room_id)
    becomes(alice, room_id, bob.user_id, "leave")
    bob.sync()
    ok(bob.post(f"/knock/{room_id}", {}, via=pair.here_name))
    bob.sync_until(section("knock", room_id))
    alice.kick(room_id, bob.user_id)
    bob.sync_until(section("leave", room_id))


@pytest.mark.parametrize("version", ["8", "10", "12"])
def test_a_restricted_room(pair: Pair, version: str) -> None:
    alice, bob = pair.people()
    bill = pair.there.register("bill")
    space = alice.create_room(preset="public_chat")
    allow = [{"type": "m.room_membership", "room_id": space}]
    content = {"join_rule": "restricted", "allow": allow}
    room_id = alice.create_room(
        preset="private_chat", room_version=version,
        initial_state=[{"type": "m.room.join_rules", "state_key": "", "content": content}],
        power_level_content_override={"invite": 50},
    )  # fmt: skip
    refused(bob.post(f"/join/{room_id}", {}, via=pair.here_name), 403, "M_FORBIDDEN")
    for user in (bob, bill):
        ok(user.post(f"/join/{space}", {}, via=pair.here_name))
        becomes(alice, space, user.user_id, "join")
    ok(bob.post(f"/join/{room_id}", {}, via=pair.here_name))
    # Bob may not invite, so somebody of Alice's server has to vouch for Bill too.
    ok(bill.post(f"/join/{room_id}", {}))
    for user in (bob, bill):
        content = ok(alice.state(room_id, "m.room.member", user.user_id))
        assert content["join_authorised_via_users_server"] == alice.user_id
    talk(room_id, alice, bill)


def test_an_invite_is_declined_even_if_its_server_is_gone(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    here, there = HearthServer("sqlite", tmp_path / "here"), HearthServer("sqlite", tmp_path / "there")
    federate(here.process, authority)
    federate(there.process, authority)
    with there:
        with here:
            alice, bob = here.register("alice"), there.register("bob")
            room_id = alice.create_room(preset="private_chat")
            alice.invite(room_id, bob.user_id)
            bob.sync_until(section("invite", room_id))
        bob.leave(room_id)
        bob.sync_until(section("leave", room_id))
        assert room_id not in bob.sync().get("rooms", {}).get("invite", {})
        assert not there.internal_errors()
