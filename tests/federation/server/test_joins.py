"""Servers join, leave and knock on rooms of this one; what they may not, and what they are told."""

from collections.abc import Sequence
from typing import Any

import pytest

from homeserver.protocol.events import Event
from homeserver.protocol.room_versions import ROOM_VERSIONS
from tests.federation.server.world import World
from tests.federation.synthetic import Json, Synthetic
from tests.federation.synthetic_room import sign_pdu
from tests.harness import Client, ok, refused, room_path

ALL = list(ROOM_VERSIONS)


def a_room(world: World, version: str = "11", **options: Any) -> tuple[Client, str]:
    alice = world.here.register("alice")
    return alice, alice.create_room(preset="public_chat", room_version=version, **options)


def member(world: World, made: Json, membership: str, user: str, of: Synthetic | None = None) -> Event:
    """The template, signed by its user's server."""
    server = of or world.there
    pdu = {**made["event"], "origin_server_ts": 1_700_000_000_000}
    pdu["content"] = {**pdu["content"], "membership": membership}
    version = ROOM_VERSIONS[made["room_version"]]
    if not version.hashed_event_ids:
        pdu["event_id"] = f"$made{abs(hash(str(pdu)))}:{server.name}"
    return Event.parse(sign_pdu(pdu, version, server.name, server.key), version)


def restricted(alice: Client, allow: Sequence[str], version: str = "11") -> str:
    conditions = [{"type": "m.room_membership", "room_id": each} for each in allow]
    content = {"join_rule": "restricted", "allow": conditions}
    state = [{"type": "m.room.join_rules", "state_key": "", "content": content}]
    return alice.create_room(preset="private_chat", room_version=version, initial_state=state)


@pytest.mark.parametrize("version", ALL)
def test_a_server_joins_talks_and_leaves(world: World, version: str) -> None:
    alice, room_id = a_room(world, version)
    said = alice.send(room_id, "before")
    room = world.there.join(world.name, room_id)
    visitor = f"@visitor:{world.there.name}"
    members = ok(alice.get(f"{room_path(room_id)}/joined_members"))["joined"]
    assert set(members) == {alice.user_id, visitor}
    assert room.state[("m.room.create", "")] and room.state[("m.room.member", alice.user_id)]
    back = world.get("v1/backfill", room_id, v=said, limit=10)
    assert back["origin"] == world.name and len(back["pdus"]) > 5
    world.there.leave(world.name, room_id)
    assert set(ok(alice.get(f"{room_path(room_id)}/joined_members"))["joined"]) == {alice.user_id}
    refused(world.ask("GET", "v1/backfill", room_id, v=said, limit=10), 403, "M_FORBIDDEN")


def test_members_left_out(world: World) -> None:
    alice, room_id = a_room(world)
    others = [world.here.register(f"m{n}") for n in range(7)]
    for other in others:
        other.join(room_id)

    def join(localpart: str, **query: Any) -> Json:
        user = f"@{localpart}:{world.there.name}"
        made = world.get("v1/make_join", room_id, user, ver=ALL)
        event = member(world, made, "join", user)
        answer = world.ask("PUT", "v2/send_join", room_id, event.event_id, body=event.pdu, **query)
        assert answer.status_code == 200, answer.text
        body: Json = answer.json()
        return body

    whole = join("whole")
    assert whole["members_omitted"] is False and whole["servers_in_room"] == [world.name]
    listed = [each for each in whole["state"] if each["type"] == "m.room.member"]
    assert len(listed) == 8

    nameless = join("nameless", omit_members="true")
    heroes = [each["state_key"] for each in nameless["state"] if each["type"] == "m.room.member"]
    assert heroes == [alice.user_id, *(each.user_id for each in others[:4])]
    assert nameless["members_omitted"] is True
    assert nameless["servers_in_room"] == [world.name, world.there.name]

    alice.send_state(room_id, "m.room.name", {"name": "A name"})
    named = join("named", omit_members="true")
    assert not [each for each in named["state"] if each["type"] == "m.room.member"]
    version = ROOM_VERSIONS["11"]
    ids = {Event.parse(each, version).event_id for each in named["state"] + named["auth_chain"]}
    assert len(ids) == len(named["state"]) + len(named["auth_chain"]), "nothing comes twice"
    for each in named["state"] + named["auth_chain"] + [named["event"]]:
        assert ids >= set(each["auth_events"])


def test_v1_of_joining_and_leaving(world: World) -> None:
    _, room_id = a_room(world, "6")
    user = f"@old:{world.there.name}"
    made = world.get("v1/make_join", room_id, user, ver=["6"])
    event = member(world, made, "join", user)
    status, answer = world.ask("PUT", "v1/send_join", room_id, event.event_id, body=event.pdu).json()
    assert status == 200 and answer["state"] and answer["auth_chain"]
    made = world.get("v1/make_leave", room_id, user)
    event = member(world, made, "leave", user)
    assert world.ask("PUT", "v1/send_leave", room_id, event.event_id, body=event.pdu).json() == [200, {}]


def test_who_gets_no_template(world: World) -> None:
    alice, room_id = a_room(world)
    user = f"@u:{world.there.name}"
    error = refused(
        world.ask("GET", "v1/make_join", room_id, user, ver=["1", "2"]), 400, "M_INCOMPATIBLE_ROOM_VERSION"
    )
    assert error["room_version"] == "11"
    refused(world.ask("GET", "v1/make_join", room_id, user), 400, "M_INCOMPATIBLE_ROOM_VERSION")
    refused(world.ask("GET", "v1/make_join", "!none:x", user, ver=ALL), 404, "M_NOT_FOUND")
    for stranger in ("@u:elsewhere.example", alice.user_id, "u"):
        refused(world.ask("GET", "v1/make_join", room_id, stranger, ver=ALL), 403, "M_FORBIDDEN")
    refused(world.ask("GET", "v1/make_leave", room_id, user), 403, "M_FORBIDDEN")
    refused(world.ask("GET", "v1/make_knock", room_id, user, ver=ALL), 403, "M_FORBIDDEN")
    refused(world.ask("GET", "v1/make_knock", room_id, user), 400, "M_MISSING_PARAM")
    private = alice.create_room(preset="private_chat")
    refused(world.ask("GET", "v1/make_join", private, user, ver=ALL), 403, "M_FORBIDDEN")
    alice.ban(room_id, user)
    refused(world.ask("GET", "v1/make_join", room_id, user, ver=ALL), 403, "M_FORBIDDEN")
    alice.leave(room_id)
    refused(world.ask("GET", "v1/make_join", room_id, f"@v:{world.there.name}", ver=ALL), 404, "M_NOT_FOUND")


def test_rooms_that_do_not_federate(world: World) -> None:
    _, room_id = a_room(world, creation_content={"m.federate": False})
    user = f"@u:{world.there.name}"
    refused(world.ask("GET", "v1/make_join", room_id, user, ver=ALL), 403, "M_FORBIDDEN")


def test_kept_out_by_the_acl(world: World) -> None:
    alice, room_id = a_room(world)
    said = alice.send(room_id, "x")
    world.there.join(world.name, room_id)
    world.elsewhere.join(world.name, room_id)
    acl = {"allow": ["*"], "deny": ["LOCAL*"], "allow_ip_literals": True}
    # This server's own name is kept out, too, which does not concern it.
    alice.send_state(room_id, "m.room.server_acl", acl)
    user = f"@visitor:{world.there.name}"
    named = {"earliest_events": [], "latest_events": [said]}
    for response in (
        world.ask("GET", "v1/make_join", room_id, user, ver=ALL),
        world.ask("GET", "v1/make_leave", room_id, user),
        world.ask("GET", "v1/make_knock", room_id, user, ver=ALL),
        world.ask("PUT", "v1/send_join", room_id, "$x", body={}),
        world.ask("PUT", "v2/send_join", room_id, "$x", body={}),
        world.ask("PUT", "v1/send_leave", room_id, "$x", body={}),
        world.ask("PUT", "v2/send_leave", room_id, "$x", body={}),
        world.ask("PUT", "v1/send_knock", room_id, "$x", body={}),
        world.ask("GET", "v1/state", room_id, event_id=said),
        world.ask("GET", "v1/state_ids", room_id, event_id=said),
        world.ask("GET", "v1/backfill", room_id, v=said, limit=1),
        world.ask("GET", "v1/event_auth", room_id, said),
        world.ask("GET", "v1/event", said),
        world.ask("GET", "v1/timestamp_to_event", room_id, ts=0, dir="f"),
        world.ask("POST", "v1/get_missing_events", room_id, body=named),
    ):
        refused(response, 403, "M_FORBIDDEN")
    world.get("v1/state_ids", room_id, event_id=said, of=world.elsewhere)
    acl = {"allow": ["*"], "deny": [], "allow_ip_literals": False}
    alice.send_state(room_id, "m.room.server_acl", acl)
    response = world.ask("GET", "v1/state_ids", room_id, event_id=said, of=world.elsewhere)
    refused(response, 403, "M_FORBIDDEN")
    world.get("v1/state_ids", room_id, event_id=said)


def test_events_that_are_not_what_they_must_be(world: World) -> None:
    alice, room_id = a_room(world)
    _, other_room = a_room(world)
    user = f"@careful:{world.there.name}"
    made = world.get("v1/make_join", room_id, user, ver=ALL)
    true = member(world, made, "join", user)

    def send(event: Event | Json, event_id: str = "", room: str = room_id, path: str = "v2/send_join") -> Any:
        pdu = event.pdu if isinstance(event, Event) else event
        return world.ask("PUT", path, room, event_id or true.event_id, body=pdu)

    def changed(**changes: Any) -> Event:
        return member(world, {**made, "event": {**made["event"], **changes}}, "join", user)

    unsigned = true.with_pdu({**true.pdu, "signatures": {}})
    meddled = {**true.pdu, "content": {**true.pdu["content"], "displayname": "Somebody else"}}
    by_other = f"@x:{world.elsewhere.name}"
    wrong = [
        send(true, "$other"),
        send(true, room=other_room),
        send({}),
        send(true, path="v2/send_leave"),
        send(true, path="v1/send_knock"),
    ]
    for each in (
        changed(type="m.room.message"), changed(state_key=alice.user_id), changed(room_id=other_room),
        member(world, made, "leave", user), member(world, made, "ban", user),
    ):
        wrong.append(send(each, each.event_id))
    for response in wrong:
        refused(response, 400, "M_INVALID_PARAM")
    for each in (changed(sender=alice.user_id), changed(sender=by_other, state_key=by_other)):
        refused(send(each, each.event_id), 403, "M_FORBIDDEN")
    refused(send(unsigned), 403, "M_FORBIDDEN")
    refused(send(meddled), 403, "M_FORBIDDEN")
    no_json = world.there.ask(
        world.name, "PUT", f"/_matrix/federation/v2/send_join/{room_id}/$x", b"[]"
    )
    refused(no_json, 400, "M_BAD_JSON")
    alice.ban(room_id, user)
    refused(send(true), 403, "M_FORBIDDEN")
    joined = ok(alice.get(f"{room_path(room_id)}/joined_members"))["joined"]
    assert set(joined) == {alice.user_id}


@pytest.mark.parametrize("version", ["8", "10", "12"])
def test_restricted_rooms(world: World, version: str) -> None:
    alice = world.here.register("alice")
    hall = alice.create_room(preset="public_chat")
    room_id = restricted(alice, [hall], version)
    user = f"@visitor:{world.there.name}"
    refused(world.ask("GET", "v1/make_join", room_id, user, ver=ALL), 403, "M_FORBIDDEN")
    world.there.join(world.name, hall)
    made = world.get("v1/make_join", room_id, user, ver=ALL)
    assert made["event"]["content"]["join_authorised_via_users_server"] == alice.user_id
    joined = world.there.join(world.name, room_id)
    event = joined.events[joined.extremities[0]]
    assert set(event.pdu["signatures"]) == {world.name, world.there.name}
    # Joining once more needs nobody's word.
    again = world.get("v1/make_join", room_id, user, ver=ALL)
    assert again["event"]["content"] == {"membership": "join"}


def test_restricted_rooms_that_this_server_cannot_let_into(world: World) -> None:
    alice, bob = world.here.register("alice"), world.here.register("bob")
    user = f"@visitor:{world.there.name}"
    unknown = restricted(alice, ["!unknown:elsewhere.example"])
    refused(world.ask("GET", "v1/make_join", unknown, user, ver=ALL), 400, "M_UNABLE_TO_AUTHORISE_JOIN")
    nothing = restricted(alice, [])
    refused(world.ask("GET", "v1/make_join", nothing, user, ver=ALL), 403, "M_FORBIDDEN")
    hall = alice.create_room(preset="public_chat")
    world.there.join(world.name, hall)
    powerless = restricted(alice, [hall])
    alice.invite(powerless, bob.user_id)
    bob.join(powerless)
    levels = {"users": {alice.user_id: 100}, "invite": 50}
    alice.send_state(powerless, "m.room.power_levels", levels)
    made = world.get("v1/make_join", powerless, user, ver=ALL)
    event = member(world, made, "join", user)
    alice.leave(powerless)
    refused(world.ask("GET", "v1/make_join", powerless, user, ver=ALL), 400, "M_UNABLE_TO_GRANT_JOIN")
    response = world.ask("PUT", "v2/send_join", powerless, event.event_id, body=event.pdu)
    refused(response, 400, "M_UNABLE_TO_GRANT_JOIN")


def test_knocking(world: World) -> None:
    alice, room_id = a_room(world, "10", name="Knock here")
    alice.send_state(room_id, "m.room.join_rules", {"join_rule": "knock"})
    shown = world.there.knock(world.name, room_id)["knock_room_state"]
    assert {each["type"] for each in shown} == {"m.room.create", "m.room.name", "m.room.join_rules"}
    version = ROOM_VERSIONS["10"]
    assert all(Event.parse(each, version).room_id == room_id for each in shown)
    user = f"@visitor:{world.there.name}"
    assert ok(alice.state(room_id, "m.room.member", user))["membership"] == "knock"
    refused(world.ask("GET", "v1/make_join", room_id, user, ver=ALL), 403, "M_FORBIDDEN")
    world.there.leave(world.name, room_id)
    assert ok(alice.state(room_id, "m.room.member", user))["membership"] == "leave"
