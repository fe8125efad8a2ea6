"""Other servers invite users of this one; invites of third-party identifiers are redeemed."""

from typing import Any
from urllib.parse import quote

from homeserver.protocol.events import Event
from homeserver.protocol.signing import SigningKey, sign_json
from tests.federation.server.world import World
from tests.federation.synthetic import good
from tests.federation.synthetic_room import SyntheticRoom, forge, sign_pdu
from tests.harness import Client, ok, refused, room_path


def invites_of(client: Client) -> dict[str, Any]:
    found: dict[str, Any] = client.sync(since=None).get("rooms", {}).get("invite", {})
    return found


def put_invite(world: World, room: SyntheticRoom, pdu: Any, event_id: str, **changes: Any) -> Any:
    body = {"event": pdu, "invite_room_state": [], "room_version": room.version.id, **changes}
    return world.ask("PUT", "v2/invite", room.room_id, event_id, body=body)


def test_an_invite_arrives(world: World) -> None:
    for version in ("1", "6", "11", "12"):
        bob = world.here.register("bob")
        room = world.there.make_room(version)
        room.send("m.room.name", {"name": "A room"}, "")
        world.there.invite(world.name, room, bob.user_id)
        shown = invites_of(bob)[room.room_id]["invite_state"]["events"]
        assert {"m.room.name", "m.room.create", "m.room.member"} <= {each["type"] for each in shown}
        assert all(set(each) == {"type", "state_key", "sender", "content"} for each in shown)


def test_the_state_may_be_whole_events(world: World) -> None:
    bob = world.here.register("bob")
    room = world.there.make_room("12")
    named = room.send("m.room.name", {"name": "True"}, "")
    forged = forge(named, world.there.name, SigningKey.generate("a_synthetic"), type="m.room.topic")
    invite = room.make("m.room.member", {"membership": "invite"}, bob.user_id)
    state = [*(each.pdu for each in room.events_of(room.state)), forged, "none", {"type": 1}]
    good(put_invite(world, room, invite.pdu, invite.event_id, invite_room_state=state))
    types = {each["type"] for each in invites_of(bob)[room.room_id]["invite_state"]["events"]}
    assert {"m.room.name", "m.room.create"} <= types and "m.room.topic" not in types


def test_v1(world: World) -> None:
    bob = world.here.register("bob")
    room = world.there.make_room("2")
    invite = room.make("m.room.member", {"membership": "invite"}, bob.user_id)
    create = {"type": "m.room.create", "state_key": "", "sender": room.creator, "content": {}}
    pdu = {**invite.pdu, "unsigned": {"invite_room_state": [create], "kept": 1}}
    status, answer = world.ask("PUT", "v1/invite", room.room_id, invite.event_id, body=pdu).json()
    assert status == 200 and set(answer["event"]["signatures"]) == {world.name, world.there.name}
    assert {**answer["event"], "signatures": {}} == {**pdu, "signatures": {}}
    assert room.room_id in invites_of(bob)


def test_invites_that_are_refused(world: World) -> None:
    bob = world.here.register("bob")
    room = world.there.make_room("11")
    other = world.there.make_room("11")

    def made(target: str = bob.user_id, type: str = "m.room.member", **content: Any) -> Any:
        return room.make(type, {"membership": "invite", **content}, target)

    event = made()
    response = put_invite(world, room, event.pdu, event.event_id, room_version="org.example.99")
    assert refused(response, 400, "M_INCOMPATIBLE_ROOM_VERSION")["room_version"] == "org.example.99"
    refused(put_invite(world, room, event.pdu, event.event_id, room_version=None), 400, "M_MISSING_PARAM")
    unsigned = {**event.pdu, "signatures": {}}
    by_other = sign_pdu({**event.pdu, "sender": bob.user_id}, room.version, world.there.name, world.there.key)
    wrong = [
        put_invite(world, room, event.pdu, "$other"),
        put_invite(world, other, event.pdu, event.event_id),
        put_invite(world, room, None, event.event_id),
    ]
    for each in (
        made(membership="join"), made(type="m.room.message"), made("@x:elsewhere.example"), made("bob"),
    ):
        wrong.append(put_invite(world, room, each.pdu, each.event_id))
    for response in wrong:
        refused(response, 400, "M_INVALID_PARAM")
    nobody = made("@nobody:" + world.name)
    for response in (
        put_invite(world, room, unsigned, event.event_id),
        put_invite(world, room, {**event.pdu, "content": {"membership": "invite", "x": 1}}, event.event_id),
        put_invite(world, room, by_other, Event.parse(by_other, room.version).event_id),
        put_invite(world, room, nobody.pdu, nobody.event_id),
    ):
        refused(response, 403, "M_FORBIDDEN")
    third = made(third_party_invite={})
    unsigned = {**third.pdu, "signatures": {"x.example": {"ed25519:1": "AAAA"}}}
    refused(put_invite(world, room, unsigned, third.event_id), 403, "M_FORBIDDEN")
    block = {"default_action": "block"}
    ok(bob.put(f"/user/{quote(bob.user_id)}/account_data/m.invite_permission_config", block))
    refused(put_invite(world, room, event.pdu, event.event_id), 403, "M_INVITE_BLOCKED")
    assert not invites_of(bob)


def test_invites_to_a_room_that_this_server_is_in(world: World) -> None:
    alice, bob = world.here.register("alice"), world.here.register("bob")
    room_id = alice.create_room(preset="public_chat", room_version="11")
    room = world.there.join(world.name, room_id)
    visitor = f"@visitor:{world.there.name}"
    invite = room.make("m.room.member", {"membership": "invite"}, bob.user_id, sender=visitor)
    good(put_invite(world, room, invite.pdu, invite.event_id))
    assert not invites_of(bob), "it comes with a transaction"
    alice.ban(room_id, bob.user_id)
    refused(put_invite(world, room, invite.pdu, invite.event_id), 403, "M_FORBIDDEN")
    alice.send_state(room_id, "m.room.server_acl", {"allow": ["*"], "deny": ["localhost"]})
    refused(put_invite(world, room, invite.pdu, invite.event_id), 403, "M_FORBIDDEN")


def test_third_party_invites_are_exchanged(world: World) -> None:
    alice = world.here.register("alice")
    room_id = alice.create_room(room_version="11")
    key = SigningKey.generate()
    entry = {"display_name": "e…", "public_key": key.verify_key.encode()}
    alice.send_state(room_id, "m.room.third_party_invite", entry, "token")
    user = f"@third:{world.there.name}"
    signed = sign_json({"mxid": user, "token": "token"}, "identity.example", key)

    def exchange(**changes: Any) -> Any:
        content = {"membership": "invite", "third_party_invite": {"display_name": "e…", "signed": signed}}
        body = {
            "type": "m.room.member", "room_id": room_id, "sender": alice.user_id, "state_key": user,
            "content": content, **changes,
        }
        return world.ask("PUT", "v1/exchange_third_party_invite", room_id, body=body)

    forged = {"membership": "invite", "third_party_invite": {"signed": {**signed, "token": "other"}}}
    refused(exchange(content=forged), 403, "M_FORBIDDEN")
    refused(exchange(state_key="@x:elsewhere.example"), 403, "M_FORBIDDEN")
    refused(exchange(sender=user), 400, "M_INVALID_PARAM")
    refused(exchange(type="m.room.message"), 400, "M_INVALID_PARAM")
    ok(exchange())
    assert ok(alice.state(room_id, "m.room.member", user))["membership"] == "invite"
    assert room_id in world.there.invites


def test_a_bound_identifier_redeems_its_invites(world: World) -> None:
    alice, bob = world.here.register("alice"), world.here.register("bob")
    room_id = alice.create_room()
    key = SigningKey.generate()
    entry = {"display_name": "e…", "key_validity_url": "https://x", "public_key": key.verify_key.encode()}
    alice.send_state(room_id, "m.room.third_party_invite", entry, "token")
    signed = sign_json({"mxid": bob.user_id, "token": "token"}, "identity.example", key)
    invite = {
        "medium": "email", "address": "b@example.org", "mxid": bob.user_id, "room_id": room_id,
        "sender": alice.user_id, "signed": signed,
    }
    away = {**invite, "room_id": f"!x:{world.there.name}", "sender": f"@y:{world.there.name}"}
    forged = {**invite, "signed": {**signed, "token": "none"}}
    body = {
        "medium": "email", "address": "b@example.org", "mxid": bob.user_id,
        "invites": [away, forged, {**invite, "room_id": "x"}, {**invite, "mxid": alice.user_id}],
    }
    path = "/_matrix/federation/v1/3pid/onbind"
    ok(alice.put(path, body))
    assert not invites_of(bob)
    ok(alice.put(path, {**body, "invites": [*body["invites"], invite]}))
    assert room_id in invites_of(bob)
    assert ok(alice.get(f"{room_path(room_id)}/state/m.room.member/{quote(bob.user_id)}"))["displayname"]
    refused(alice.put(path, {**body, "mxid": f"@nobody:{world.name}"}), 404, "M_NOT_FOUND")
