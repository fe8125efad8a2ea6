"""People of Hearth and of Synapse come into each other's rooms, and go again, in every way there is."""

from urllib.parse import quote

import pytest

from tests.harness import joined, ok, refused, room_path
from tests.interop.federation.sides import (
    Direction,
    history,
    membership,
    state,
    states,
    wait_for,
    wait_for_invite,
    wait_for_leave,
)
from tests.waiting import until

pytestmark = pytest.mark.interop


def test_join_by_alias(direction: Direction) -> None:
    owner, guest = direction.home.register("owner"), direction.away.register("guest")
    localpart = owner.user_id[1:].partition(":")[0]
    room_id = direction.room(owner, room_alias_name=localpart, name="By alias")
    first = owner.send(room_id, "before anybody came")
    assert guest.join(f"#{localpart}:{direction.home.name}") == room_id
    guest.sync_until(lambda sync: joined(sync, room_id).get("timeline", {}).get("events"))
    until(lambda: membership(owner, room_id, guest.user_id) == "join")
    assert states(owner, room_id) == states(guest, room_id)
    assert state(guest, room_id, "m.room.name") == {"name": "By alias"}
    assert first in [each["event_id"] for each in history(guest, room_id)]
    for sender, reader in ((owner, guest), (guest, owner)):
        wait_for(reader, room_id, sender.send(room_id, "hello"))


def test_invites(direction: Direction) -> None:
    owner, guest = direction.home.register("owner"), direction.away.register("guest")
    room_id = direction.room(owner, preset="private_chat", name="Invited", topic="Secrets")
    refused(guest.post(f"/join/{quote(room_id)}", {}, via=direction.home.name,
                       server_name=direction.home.name), 403, "M_FORBIDDEN")
    guest.sync()
    owner.invite(room_id, guest.user_id)
    shown = {each["type"]: each["content"] for each in wait_for_invite(guest, room_id)}
    assert shown["m.room.name"] == {"name": "Invited"} and "m.room.create" in shown
    ok(guest.post(f"{room_path(room_id)}/join"))
    until(lambda: membership(owner, room_id, guest.user_id) == "join")
    wait_for(owner, room_id, guest.send(room_id, "thank you"))


def test_an_invite_refused_and_one_taken_back(direction: Direction) -> None:
    owner, guest = direction.home.register("owner"), direction.away.register("guest")
    room_id = direction.room(owner, preset="private_chat")
    guest.sync()
    owner.invite(room_id, guest.user_id)
    wait_for_invite(guest, room_id)
    guest.leave(room_id)
    until(lambda: membership(owner, room_id, guest.user_id) == "leave")
    owner.invite(room_id, guest.user_id)
    wait_for_invite(guest, room_id)
    owner.kick(room_id, guest.user_id)
    wait_for_leave(guest, room_id)


def test_leaving_and_coming_back(direction: Direction) -> None:
    shared = direction.shared()
    shared.talk()
    shared.guest.leave(shared.room_id)
    until(lambda: membership(shared.owner, shared.room_id, shared.guest.user_id) == "leave")
    missed = shared.owner.send(shared.room_id, "said while away")
    direction.join(shared.guest, shared.room_id)
    until(lambda: membership(shared.owner, shared.room_id, shared.guest.user_id) == "join")
    shared.talk()
    shared.agree()
    assert missed in [each["event_id"] for each in history(shared.guest, shared.room_id)]


def test_the_owner_leaves(direction: Direction) -> None:
    """The room goes on where it was not made, and its server lets others in."""
    shared = direction.shared()
    shared.owner.leave(shared.room_id)
    until(lambda: membership(shared.guest, shared.room_id, shared.owner.user_id) == "leave")
    shared.guest.send(shared.room_id, "alone")
    ok(shared.owner.post(f"/join/{quote(shared.room_id)}", {}, via=direction.away.name,
                         server_name=direction.away.name))
    until(lambda: membership(shared.guest, shared.room_id, shared.owner.user_id) == "join")
    shared.talk()
    shared.agree()


def test_kicks_and_bans(direction: Direction) -> None:
    shared = direction.shared()
    owner, guest, room_id = shared.owner, shared.guest, shared.room_id
    shared.talk()
    guest.sync()
    owner.kick(room_id, guest.user_id)
    wait_for_leave(guest, room_id)
    direction.join(guest, room_id)
    until(lambda: membership(owner, room_id, guest.user_id) == "join")
    guest.sync()
    owner.ban(room_id, guest.user_id)
    wait_for_leave(guest, room_id)
    refused(guest.post(f"/join/{quote(room_id)}", {}, via=direction.home.name,
                       server_name=direction.home.name), 403, "M_FORBIDDEN")
    ok(owner.post(f"{room_path(room_id)}/unban", {"user_id": guest.user_id}))
    direction.join(guest, room_id)
    until(lambda: membership(owner, room_id, guest.user_id) == "join")
    shared.talk()
    shared.agree()


def test_the_guest_kicks(direction: Direction) -> None:
    """Power given across servers is power."""
    shared = direction.shared()
    other = direction.home.register("other")
    other.join(shared.room_id)
    levels = state(shared.owner, shared.room_id, "m.room.power_levels") or {}
    levels["users"][shared.guest.user_id] = 50
    power = shared.owner.send_state(shared.room_id, "m.room.power_levels", levels)
    wait_for(shared.guest, shared.room_id, power)
    until(lambda: membership(shared.guest, shared.room_id, other.user_id) == "join")
    shared.guest.kick(shared.room_id, other.user_id)
    until(lambda: membership(shared.owner, shared.room_id, other.user_id) == "leave")
    shared.agree()


def test_knocks(direction: Direction) -> None:
    """Only those that are let in: Synapse neither sends nor understands that a knock was refused."""
    if int(direction.version) < 7:
        pytest.skip("came with room version 7")
    owner, guest = direction.home.register("owner"), direction.away.register("guest")
    rules = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
    room_id = direction.room(owner, preset="private_chat", initial_state=[rules], name="Knock first")
    guest.sync()
    knocked = guest.post(f"/knock/{quote(room_id, safe='')}", {"reason": "please"},
                         via=direction.home.name, server_name=direction.home.name)
    assert ok(knocked)["room_id"] == room_id
    seen = guest.sync_until(lambda sync: sync.get("rooms", {}).get("knock", {}).get(room_id))
    assert "m.room.name" in [each["type"] for each in seen["knock_state"]["events"]]
    until(lambda: membership(owner, room_id, guest.user_id) == "knock")
    assert (state(owner, room_id, "m.room.member", guest.user_id) or {})["reason"] == "please"
    owner.invite(room_id, guest.user_id)
    wait_for_invite(guest, room_id)
    ok(guest.post(f"{room_path(room_id)}/join"))
    until(lambda: membership(owner, room_id, guest.user_id) == "join")
    wait_for(owner, room_id, guest.send(room_id, "thank you"))


def test_a_knock_taken_back(direction: Direction) -> None:
    if int(direction.version) < 7:
        pytest.skip("came with room version 7")
    owner, guest = direction.home.register("owner"), direction.away.register("guest")
    rules = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
    room_id = direction.room(owner, preset="private_chat", initial_state=[rules])
    ok(guest.post(f"/knock/{quote(room_id, safe='')}", {}, via=direction.home.name,
                  server_name=direction.home.name))
    until(lambda: membership(owner, room_id, guest.user_id) == "knock")
    guest.leave(room_id)
    if direction.away.kind != "synapse":  # which takes a knock back for itself only
        until(lambda: membership(owner, room_id, guest.user_id) == "leave")


def test_restricted_joins_through_a_space(direction: Direction) -> None:
    if int(direction.version) < 8:
        pytest.skip("came with room version 8")
    owner = direction.home.register("owner")
    guest, stranger = direction.away.register("guest"), direction.away.register("stranger")
    space = direction.room(owner, creation_content={"type": "m.space"})
    allow = [{"type": "m.room_membership", "room_id": space}]
    rule = {"join_rule": "restricted", "allow": allow}
    rules = {"type": "m.room.join_rules", "state_key": "", "content": rule}
    room_id = direction.room(owner, preset="private_chat", initial_state=[rules])
    owner.send_state(space, "m.space.child", {"via": [direction.home.name]}, room_id)
    direction.join(guest, space)
    until(lambda: membership(owner, space, guest.user_id) == "join")
    direction.join(guest, room_id)
    until(lambda: membership(owner, room_id, guest.user_id) == "join")
    authorised = (state(owner, room_id, "m.room.member", guest.user_id) or {})
    assert authorised["join_authorised_via_users_server"] == owner.user_id
    answer = stranger.post(f"/join/{quote(room_id)}", {}, via=direction.home.name,
                           server_name=direction.home.name)
    assert answer.status_code == 403, answer.text
    wait_for(owner, room_id, guest.send(room_id, "in"))
    # Both of one server now: its own members vouch.
    direction.join(stranger, space)
    direction.join(stranger, room_id)
    until(lambda: membership(owner, room_id, stranger.user_id) == "join")
