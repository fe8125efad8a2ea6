"""Alice and Bob make rooms, invite, join, knock, kick, ban and leave, name rooms and find them, over HTTP."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import signedjson.key
import signedjson.sign

from homeserver.rooms.create import PRESETS
from tests.harness import Client, HearthServer, Json, ok, refused, room_path


def content(client: Client, room_id: str, event_type: str, state_key: str = "") -> Json:
    return ok(client.state(room_id, event_type, state_key))


def membership(client: Client, room_id: str, of: Client) -> str | None:
    response = client.state(room_id, "m.room.member", of.user_id)
    return ok(response)["membership"] if response.status_code == 200 else None


def state_types(client: Client, room_id: str) -> list[str]:
    """In the order in which the events were sent."""
    page = ok(client.get(f"{room_path(room_id)}/messages", dir="f", limit=100))
    return [event["type"] for event in page["chunk"]]


def act(client: Client, verb: str, room_id: str, target: Client | None = None, **body: Any) -> httpx.Response:
    if target is not None:
        body["user_id"] = target.user_id
    return client.post(f"{room_path(room_id)}/{verb}", body)


def knock(client: Client, room: str, **body: Any) -> httpx.Response:
    return client.post(f"/knock/{quote(room, safe='')}", body)


def join(client: Client, room: str, **body: Any) -> httpx.Response:
    return client.post(f"/join/{quote(room, safe='')}", body)


def alias_path(alias: str) -> str:
    return f"/directory/room/{quote(alias, safe='')}"


def alias_of(client: Client, localpart: str) -> str:
    return f"#{localpart}-{client.user_id[1:]}"


class TestCreating:
    @pytest.mark.parametrize(
        ("preset", "join_rule", "guest_access"),
        [
            ("private_chat", "invite", "can_join"),
            ("trusted_private_chat", "invite", "can_join"),
            ("public_chat", "public", "forbidden"),
        ],
    )
    def test_presets(self, server: HearthServer, preset: str, join_rule: str, guest_access: str) -> None:
        alice = server.register("alice")
        room_id = alice.create_room(preset=preset)
        assert content(alice, room_id, "m.room.join_rules") == {"join_rule": join_rule}
        assert content(alice, room_id, "m.room.guest_access") == {"guest_access": guest_access}
        assert content(alice, room_id, "m.room.history_visibility") == {"history_visibility": "shared"}

    def test_the_visibility_chooses_the_preset(self, server: HearthServer) -> None:
        alice = server.register("alice")
        for visibility, join_rule in (("public", "public"), ("private", "invite")):
            room_id = alice.create_room(visibility=visibility)
            assert content(alice, room_id, "m.room.join_rules") == {"join_rule": join_rule}
            listed = ok(alice.get(f"/directory/list/room/{quote(room_id)}"))
            assert listed == {"visibility": visibility}

    def test_the_order_of_the_first_events(self, server: HearthServer) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        room_id = alice.create_room(
            room_alias_name=f"order-{alice.user_id[1:].partition(':')[0]}",
            name="Name",
            topic="Topic",
            invite=[bob.user_id],
            initial_state=[{"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}],
        )
        assert state_types(alice, room_id) == [
            "m.room.create",
            "m.room.member",
            "m.room.power_levels",
            "m.room.canonical_alias",
            "m.room.join_rules",
            "m.room.history_visibility",
            "m.room.guest_access",
            "m.room.encryption",
            "m.room.name",
            "m.room.topic",
            "m.room.member",
        ]
        assert membership(alice, room_id, bob) == "invite"

    @pytest.mark.parametrize("version", [str(number) for number in range(1, 13)])
    def test_every_room_version(self, server: HearthServer, version: str) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        room_id = alice.create_room(room_version=version, preset="public_chat", name="Name")
        bob.join(room_id)
        event_id = bob.send(room_id, "hello")
        assert content(alice, room_id, "m.room.create")["room_version"] == version
        path = f"{room_path(room_id)}/redact/{quote(event_id, safe='')}/1"
        redaction = ok(alice.put(path, {"reason": "x"}))
        event = ok(alice.get(f"{room_path(room_id)}/event/{quote(redaction['event_id'], safe='')}"))
        assert (event["redacts"], event["content"]["redacts"]) == (event_id, event_id)
        gone = ok(bob.get(f"{room_path(room_id)}/event/{quote(event_id, safe='')}"))
        assert gone["content"] == {}
        assert gone["unsigned"]["redacted_because"]["event_id"] == redaction["event_id"]

    def test_options_override(self, server: HearthServer) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        room_id = alice.create_room(
            preset="public_chat",
            room_version="11",
            creation_content={
                "m.federate": False,
                "type": "m.space",
                "creator": "@evil:x",
                "room_version": "1",
            },
            initial_state=[{"type": "m.room.join_rules", "content": {"join_rule": "knock"}}],
            power_level_content_override={
                "events_default": 25,
                "users": {alice.user_id: 100, bob.user_id: 50},
            },
            invite=[bob.user_id],
            is_direct=True,
        )
        create = content(alice, room_id, "m.room.create")
        assert (create["m.federate"], create["type"], create["room_version"]) == (False, "m.space", "11")
        assert "creator" not in create
        assert content(alice, room_id, "m.room.join_rules") == {"join_rule": "knock"}
        levels = content(alice, room_id, "m.room.power_levels")
        assert (levels["events_default"], levels["users"][bob.user_id]) == (25, 50)
        assert content(alice, room_id, "m.room.member", bob.user_id)["is_direct"] is True

    def test_trusted_invitees_are_equals(self, server: HearthServer) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        invite = {"preset": "trusted_private_chat", "invite": [bob.user_id]}
        new = alice.create_room(room_version="12", **invite)
        assert content(alice, new, "m.room.create")["additional_creators"] == [bob.user_id]
        assert alice.user_id not in content(alice, new, "m.room.power_levels").get("users", {})
        old = alice.create_room(room_version="11", **invite)
        assert content(alice, old, "m.room.power_levels")["users"] == {alice.user_id: 100, bob.user_id: 100}

    def test_refusals(self, server: HearthServer) -> None:
        alice = server.register("alice")
        refused(alice.post("/createRoom", {"room_version": "99"}), 400, "M_UNSUPPORTED_ROOM_VERSION")
        refused(alice.post("/createRoom", {"preset": 5}), 400, "M_BAD_JSON")
        refused(alice.post("/createRoom", {"preset": "chaos"}), 400, "M_INVALID_PARAM")
        refused(alice.post("/createRoom", {"invite": ["bob"]}), 400, "M_INVALID_PARAM")
        refused(alice.post("/createRoom", {"initial_state": [{"type": "x"}]}), 400, "M_BAD_JSON")
        refused(alice.post("/createRoom", {"room_alias_name": "a:b"}), 400, "M_INVALID_PARAM")
        demoted = {"power_level_content_override": {"users_default": 0, "users": {}}, "room_version": "11"}
        refused(alice.post("/createRoom", {**demoted, "name": "N"}), 400, "M_INVALID_ROOM_STATE")
        localpart = f"taken-{alice.user_id[1:].partition(':')[0]}"
        alice.create_room(room_alias_name=localpart)
        refused(alice.post("/createRoom", {"room_alias_name": localpart}), 400, "M_ROOM_IN_USE")


class TestMembership:
    def test_an_invite_is_needed_in_a_private_room(self, server: HearthServer) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        room_id = alice.create_room()
        refused(join(bob, room_id), 403, "M_FORBIDDEN")
        refused(act(bob, "invite", room_id, alice), 403, "M_FORBIDDEN")
        ok(act(alice, "invite", room_id, bob, reason="come"))
        assert content(alice, room_id, "m.room.member", bob.user_id)["reason"] == "come"
        ok(act(alice, "invite", room_id, bob))
        assert ok(act(bob, "join", room_id, reason="thanks")) == {"room_id": room_id}
        assert ok(join(bob, room_id)) == {"room_id": room_id}
        assert content(bob, room_id, "m.room.member", bob.user_id)["reason"] == "thanks"
        refused(act(alice, "invite", room_id, bob), 403, "M_FORBIDDEN")
        assert room_id in ok(bob.get("/joined_rooms"))["joined_rooms"]

    def test_invites_that_make_no_sense(self, server: HearthServer) -> None:
        alice = server.register("alice")
        path = f"{room_path(alice.create_room())}/invite"
        refused(alice.post(path, {"medium": "email"}), 400, "M_MISSING_PARAM")
        refused(alice.post(path, {}), 400, "M_MISSING_PARAM")
        refused(alice.post(path, {"user_id": 5}), 400, "M_BAD_JSON")
        refused(alice.post(path, {"user_id": "bob"}), 400, "M_INVALID_PARAM")

    def test_declining_and_leaving(self, server: HearthServer) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        room_id = alice.create_room(invite=[bob.user_id])
        ok(act(bob, "leave", room_id, reason="no"))
        declined = {"membership": "leave", "reason": "no"}
        assert content(alice, room_id, "m.room.member", bob.user_id) == declined
        ok(act(bob, "leave", room_id))
        refused(act(server.register("carol"), "leave", room_id), 403, "M_FORBIDDEN")
        refused(act(bob, "leave", "!nowhere:localhost"), 404, "M_NOT_FOUND")

    def test_forgetting(self, server: HearthServer) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        room_id = alice.create_room(preset="public_chat")
        bob.join(room_id)
        refused(act(bob, "forget", room_id), 400, "M_UNKNOWN")
        bob.leave(room_id)
        ok(bob.get(f"{room_path(room_id)}/messages", dir="b"))
        ok(act(bob, "forget", room_id))
        refused(bob.get(f"{room_path(room_id)}/messages", dir="b"), 403, "M_FORBIDDEN")
        bob.join(room_id)
        ok(bob.get(f"{room_path(room_id)}/messages", dir="b"))

    def test_kicking(self, server: HearthServer) -> None:
        alice, bob, carol = (server.register(name) for name in ("alice", "bob", "carol"))
        room_id = alice.create_room(preset="public_chat")
        refused(act(alice, "kick", room_id, bob), 403, "M_FORBIDDEN")
        bob.join(room_id)
        carol.join(room_id)
        refused(act(bob, "kick", room_id, carol), 403, "M_FORBIDDEN")
        ok(act(alice, "kick", room_id, bob, reason="noise"))
        assert content(alice, room_id, "m.room.member", bob.user_id) == {
            "membership": "leave",
            "reason": "noise",
        }
        refused(bob.put(f"{room_path(room_id)}/send/m.room.message/1", {}), 403, "M_FORBIDDEN")
        bob.join(room_id)

    def test_banning(self, server: HearthServer) -> None:
        alice, bob, carol = (server.register(name) for name in ("alice", "bob", "carol"))
        room_id = alice.create_room(preset="public_chat")
        bob.join(room_id)
        refused(act(bob, "ban", room_id, carol), 403, "M_FORBIDDEN")
        ok(act(alice, "ban", room_id, bob, reason="worse"))
        assert content(alice, room_id, "m.room.member", bob.user_id)["membership"] == "ban"
        refused(join(bob, room_id), 403, "M_FORBIDDEN")
        refused(act(alice, "invite", room_id, bob), 403, "M_FORBIDDEN")
        ok(act(alice, "ban", room_id, carol))
        ok(act(alice, "unban", room_id, bob))
        refused(act(alice, "unban", room_id, bob), 403, "M_FORBIDDEN")
        bob.join(room_id)
        refused(alice.post(f"{room_path(room_id)}/ban", {}), 400, "M_MISSING_PARAM")

    def test_knocking(self, server: HearthServer) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        room_id = alice.create_room(
            initial_state=[{"type": "m.room.join_rules", "content": {"join_rule": "knock"}}]
        )
        refused(join(bob, room_id), 403, "M_FORBIDDEN")
        assert ok(knock(bob, room_id, reason="let me in")) == {"room_id": room_id}
        assert content(alice, room_id, "m.room.member", bob.user_id)["reason"] == "let me in"
        assert membership(alice, room_id, bob) == "knock"
        ok(act(alice, "invite", room_id, bob))
        bob.join(room_id)
        refused(knock(bob, alice.create_room()), 403, "M_FORBIDDEN")
        refused(knock(bob, "#nothing:localhost"), 404, "M_NOT_FOUND")
        refused(knock(bob, "nonsense"), 400, "M_INVALID_PARAM")

    def test_a_space_admits_its_members(self, server: HearthServer) -> None:
        alice, bob, carol = (server.register(name) for name in ("alice", "bob", "carol"))
        space = alice.create_room(preset="public_chat", creation_content={"type": "m.space"})
        allow = [{"type": "m.room_membership", "room_id": space}]
        for version in ("8", "9", "10", "12"):
            room_id = alice.create_room(
                room_version=version,
                initial_state=[
                    {"type": "m.room.join_rules", "content": {"join_rule": "restricted", "allow": allow}}
                ],
            )
            refused(join(carol, room_id), 403, "M_FORBIDDEN")
            bob.join(space)
            bob.join(room_id)
            joined = content(alice, room_id, "m.room.member", bob.user_id)
            assert joined["join_authorised_via_users_server"] == alice.user_id
            ok(act(alice, "invite", room_id, carol))
            carol.join(room_id)

    def test_a_third_party_invite_is_redeemed_with_its_signature(self, server: HearthServer) -> None:
        alice, bob, carol = (server.register(name) for name in ("alice", "bob", "carol"))
        key = signedjson.key.generate_signing_key("0")
        public = signedjson.key.encode_verify_key_base64(signedjson.key.get_verify_key(key))
        room_id = alice.create_room()
        invite = {"display_name": "b...", "key_validity_url": "https://id.example/", "public_key": public}
        alice.send_state(room_id, "m.room.third_party_invite", invite, "token")

        def signed(person: Client, token: str = "token", name: str = "0") -> Json:
            body = {"mxid": person.user_id, "sender": alice.user_id, "token": token}
            signer = key if name == "0" else signedjson.key.generate_signing_key(name)
            return {"third_party_signed": signedjson.sign.sign_json(body, "id.example", signer)}

        refused(act(carol, "join", room_id, **signed(bob)), 403, "M_FORBIDDEN")
        refused(act(carol, "join", room_id, **signed(carol, token="other")), 403, "M_FORBIDDEN")
        refused(act(carol, "join", room_id, **signed(carol, name="other")), 403, "M_FORBIDDEN")
        refused(act(carol, "join", room_id, third_party_signed={"mxid": carol.user_id}), 400, "M_BAD_JSON")
        ok(act(bob, "join", room_id, **signed(bob)))
        assert membership(alice, room_id, bob) == "join"

    def test_joining_what_is_not_there(self, server: HearthServer) -> None:
        alice = server.register("alice")
        refused(join(alice, "!nowhere:localhost"), 404, "M_NOT_FOUND")
        refused(join(alice, "#nothing:localhost"), 404, "M_NOT_FOUND")
        refused(join(alice, "nonsense"), 400, "M_INVALID_PARAM")

    def test_members_are_listed(self, server: HearthServer) -> None:
        alice, bob, carol = (server.register(name) for name in ("alice", "bob", "carol"))
        room_id = alice.create_room(preset="public_chat", invite=[carol.user_id])
        alice.sync()
        before = alice.since
        bob.join(room_id)
        ok(bob.put(f"/profile/{bob.user_id}/displayname", {"displayname": "Bob"}))
        path = f"{room_path(room_id)}/members"

        def users(**query: Any) -> set[str]:
            return {event["state_key"] for event in ok(alice.get(path, **query))["chunk"]}

        assert users() == {alice.user_id, bob.user_id, carol.user_id}
        assert users(membership="join") == {alice.user_id, bob.user_id}
        assert users(not_membership="join") == {carol.user_id}
        assert users(at=before) == {alice.user_id, carol.user_id}
        refused(alice.get(path, membership="guest"), 400, "M_INVALID_PARAM")
        refused(alice.get(path, at="nonsense"), 400, "M_INVALID_PARAM")
        joined = ok(alice.get(f"{room_path(room_id)}/joined_members"))["joined"]
        assert joined.keys() == {alice.user_id, bob.user_id}
        assert joined[bob.user_id] == {"display_name": "Bob"}
        assert joined[alice.user_id] == {"display_name": alice.user_id}
        refused(carol.get(f"{room_path(room_id)}/joined_members"), 403, "M_FORBIDDEN")
        refused(carol.get(path), 403, "M_FORBIDDEN")


class TestSending:
    def test_a_transaction_is_done_once(self, server: HearthServer) -> None:
        alice = server.register("alice")
        room_id = alice.create_room()
        first = alice.send(room_id, "once", transaction_id="same")
        assert alice.send(room_id, "twice", transaction_id="same") == first
        other = server.login(alice.user_id)
        second = other.send(room_id, "other device", transaction_id="same")
        assert second != first
        path = f"{room_path(room_id)}/event/{quote(first, safe='')}"
        assert ok(alice.get(path))["unsigned"]["transaction_id"] == "same"
        assert "transaction_id" not in ok(other.get(path))["unsigned"]

    def test_bodies_that_are_none(self, server: HearthServer) -> None:
        alice = server.register("alice")
        room_id = alice.create_room()
        path = f"/_matrix/client/v3{room_path(room_id)}/send/m.room.message/t"
        refused(alice.http.put(path, json=[1]), 400, "M_BAD_JSON")
        refused(alice.http.put(path, content=b"{"), 400, "M_NOT_JSON")
        refused(alice.put(path, {"body": "x" * 70_000}), 413, "M_TOO_LARGE")
        refused(alice.put(path, {"body": 1.5}), 400, "M_BAD_JSON")
        refused(alice.put(path.replace("m.room.message", "x" * 300), {}), 413, "M_TOO_LARGE")
        outsider = server.register("bob")
        refused(outsider.put(path, {}), 403, "M_FORBIDDEN")

    @pytest.mark.parametrize("version", ["10", "11"])
    def test_a_redaction_is_sent_like_any_event(self, server: HearthServer, version: str) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        room_id = alice.create_room(preset="public_chat", room_version=version)
        bob.join(room_id)
        mine, theirs = bob.send(room_id, "mine"), alice.send(room_id, "theirs")
        redaction = bob.send(room_id, {"redacts": mine}, "m.room.redaction")
        path = f"{room_path(room_id)}/event/"
        assert ok(alice.get(path + quote(mine, safe="")))["content"] == {}
        assert ok(alice.get(path + quote(redaction, safe="")))["redacts"] == mine
        refused(
            bob.put(f"{room_path(room_id)}/redact/{quote(theirs, safe='')}/1", {"reason": "x"}),
            403,
            "M_FORBIDDEN",
        )
        refused(bob.put(f"{room_path(room_id)}/redact/$nothing/2", {}), 404, "M_NOT_FOUND")

    def test_state_with_and_without_a_key(self, server: HearthServer) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        room_id = alice.create_room(preset="public_chat")
        bob.join(room_id)
        path = f"{room_path(room_id)}/state"
        name = ok(alice.put(f"{path}/m.room.name", {"name": "One"}))["event_id"]
        assert ok(alice.put(f"{path}/m.room.name/", {"name": "One"}))["event_id"] == name
        assert ok(bob.get(f"{path}/m.room.name")) == ok(bob.get(f"{path}/m.room.name/")) == {"name": "One"}
        event = ok(bob.get(f"{path}/m.room.name", format="event"))
        assert (event["event_id"], event["room_id"], event["state_key"]) == (name, room_id, "")
        refused(bob.get(f"{path}/m.room.name", format="xml"), 400, "M_INVALID_PARAM")
        refused(bob.get(f"{path}/m.room.topic"), 404, "M_NOT_FOUND")
        refused(bob.put(f"{path}/m.room.name", {"name": "Two"}), 403, "M_FORBIDDEN")
        alice.send_state(room_id, "org.example.keyed", {"a": 1}, "with/slash and ünïcödé")
        assert content(bob, room_id, "org.example.keyed", "with/slash and ünïcödé") == {"a": 1}
        whole = bob.get(path)
        assert whole.status_code == 200
        types = {event["type"] for event in whole.json()}
        assert types >= {"m.room.create", "m.room.name", "org.example.keyed"}
        refused(server.register("carol").get(path), 403, "M_FORBIDDEN")

    def test_membership_as_state(self, server: HearthServer) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        room_id = alice.create_room()
        alice.send_state(room_id, "m.room.member", {"membership": "invite"}, bob.user_id)
        bob.send_state(room_id, "m.room.member", {"membership": "join"}, bob.user_id)
        assert membership(alice, room_id, bob) == "join"
        path = f"{room_path(room_id)}/state/m.room.member/{bob.user_id}"
        refused(alice.put(path, {"membership": "join"}), 403, "M_FORBIDDEN")
        alice.send_state(room_id, "m.room.member", {"membership": "ban"}, bob.user_id)
        assert membership(alice, room_id, bob) == "ban"


class TestAliases:
    def test_a_name_for_a_room(self, server: HearthServer) -> None:
        alice, bob, nobody = server.register("alice"), server.register("bob"), server.client()
        room_id = alice.create_room(preset="public_chat")
        alias = alias_of(alice, "pub")
        refused(nobody.get(alias_path(alias)), 404, "M_NOT_FOUND")
        ok(alice.put(alias_path(alias), {"room_id": room_id}))
        refused(alice.put(alias_path(alias), {"room_id": room_id}), 409, "M_UNKNOWN")
        found = ok(nobody.get(alias_path(alias)))
        assert found == {"room_id": room_id, "servers": [alias.partition(":")[2]]}
        assert bob.join(alias) == room_id
        assert ok(bob.get(f"{room_path(room_id)}/aliases")) == {"aliases": [alias]}
        refused(server.register("carol").get(f"{room_path(room_id)}/aliases"), 403, "M_FORBIDDEN")
        refused(bob.delete(alias_path(alias)), 403, "M_FORBIDDEN")
        ok(alice.delete(alias_path(alias)))
        refused(alice.delete(alias_path(alias)), 404, "M_NOT_FOUND")

    def test_refusals(self, server: HearthServer) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        room_id = alice.create_room()
        refused(alice.put(alias_path("#pub:elsewhere.example"), {"room_id": room_id}), 400, "M_INVALID_PARAM")
        refused(alice.put(alias_path("nonsense"), {"room_id": room_id}), 400, "M_INVALID_PARAM")
        refused(alice.put(alias_path(alias_of(alice, "x")), {}), 400, "M_MISSING_PARAM")
        refused(bob.put(alias_path(alias_of(alice, "x")), {"room_id": room_id}), 403, "M_FORBIDDEN")
        refused(alice.get(alias_path("nonsense")), 400, "M_INVALID_PARAM")

    def test_the_canonical_alias_is_checked(self, server: HearthServer) -> None:
        alice = server.register("alice")
        room_id, other = alice.create_room(), alice.create_room()
        mine, elsewhere = alias_of(alice, "mine"), alias_of(alice, "elsewhere")
        ok(alice.put(alias_path(mine), {"room_id": room_id}))
        ok(alice.put(alias_path(elsewhere), {"room_id": other}))
        path = f"{room_path(room_id)}/state/m.room.canonical_alias"
        refused(alice.put(path, {"alias": elsewhere}), 400, "M_BAD_ALIAS")
        refused(alice.put(path, {"alias": mine, "alt_aliases": ["#no:localhost"]}), 400, "M_BAD_ALIAS")
        refused(alice.put(path, {"alias": "nonsense"}), 400, "M_INVALID_PARAM")
        ok(alice.put(path, {"alias": mine, "alt_aliases": [mine]}))
        ok(alice.delete(alias_path(mine)))
        assert content(alice, room_id, "m.room.canonical_alias") == {"alt_aliases": []}


class TestPublicRooms:
    def test_publishing_and_finding(self, server: HearthServer) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        unique = alice.user_id[1:].partition(":")[0]
        room_id = alice.create_room(preset="public_chat", name=f"Den of {unique}", topic="Quiet")
        listed = f"/directory/list/room/{quote(room_id)}"
        search = {"filter": {"generic_search_term": f"den of {unique}"}}
        assert ok(bob.post("/publicRooms", search))["chunk"] == []
        refused(bob.put(listed, {"visibility": "public"}), 403, "M_FORBIDDEN")
        ok(alice.put(listed, {}))
        assert ok(server.client().get(listed)) == {"visibility": "public"}
        bob.join(room_id)
        [found] = ok(bob.post("/publicRooms", search))["chunk"]
        assert found == {
            "room_id": room_id,
            "name": f"Den of {unique}",
            "topic": "Quiet",
            "num_joined_members": 2,
            "world_readable": False,
            "guest_can_join": False,
            "join_rule": "public",
        }
        ok(alice.put(listed, {"visibility": "private"}))
        assert ok(bob.post("/publicRooms", search))["chunk"] == []

    def test_pages(self, server: HearthServer) -> None:
        alice = server.register("alice")
        unique = alice.user_id[1:].partition(":")[0]
        rooms = {alice.create_room(visibility="public", name=f"{unique} {number}") for number in range(5)}
        seen: list[str] = []
        since = None
        while True:
            body: Json = {"limit": 2, "filter": {"generic_search_term": unique}}
            if since is not None:
                body["since"] = since
            page = ok(alice.post("/publicRooms", body))
            seen += [room["room_id"] for room in page["chunk"]]
            since = page.get("next_batch")
            if since is None:
                break
        assert len(seen) == len(set(seen)) == 5
        assert set(seen) == rooms
        plain = ok(alice.get("/publicRooms", limit=1))
        assert len(plain["chunk"]) == 1
        assert plain["total_room_count_estimate"] >= 5

    def test_types_networks_and_refusals(self, server: HearthServer) -> None:
        alice = server.register("alice")
        space = alice.create_room(visibility="public", creation_content={"type": "org.example.unusual"})
        search = {"filter": {"room_types": ["org.example.unusual"]}}
        assert [room["room_id"] for room in ok(alice.post("/publicRooms", search))["chunk"]] == [space]
        assert ok(alice.post("/publicRooms", {"third_party_instance_id": "irc"}))["chunk"] == []
        both = {"third_party_instance_id": "irc", "include_all_networks": True}
        refused(alice.post("/publicRooms", both), 400, "M_INVALID_PARAM")
        refused(alice.get("/publicRooms", since="nonsense"), 400, "M_INVALID_PARAM")
        refused(alice.get("/publicRooms", limit="many"), 400, "M_INVALID_PARAM")
        refused(alice.get("/publicRooms", server="elsewhere.example"), 403, "M_FORBIDDEN")
        refused(alice.get("/directory/list/room/!nowhere:localhost"), 404, "M_NOT_FOUND")
        refused(alice.put("/directory/list/room/!nowhere:localhost", {}), 404, "M_NOT_FOUND")
        refused(server.client().get("/publicRooms"), 401, "M_MISSING_TOKEN")


@pytest.mark.parametrize("which", ["off", "invite", "all"])
def test_rooms_that_are_encrypted_unasked(tmp_path: Path, which: str) -> None:
    settings = {
        "encryption_enabled_by_default_for_room_type": which,
        "login_via_existing_session": {"enabled": True, "require_ui_auth": False},
        "server_notices": {"system_mxid_localpart": "notices"},
    }
    with HearthServer("sqlite", tmp_path, settings=settings) as server:
        alice = server.register("alice")
        presets = {"off": [], "invite": ["private_chat", "trusted_private_chat"], "all": list(PRESETS)}
        for preset in PRESETS:
            room_id = alice.create_room(preset=preset)
            found = alice.get(f"{room_path(room_id)}/state/m.room.encryption")
            assert found.status_code == (200 if preset in presets[which] else 404), preset
        asked = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "org.example.other"}}
        room_id = alice.create_room(initial_state=[asked])
        assert ok(alice.get(f"{room_path(room_id)}/state/m.room.encryption")) == asked["content"]
        # Nobody is asked for a password where the operator says so.
        assert ok(alice.post("/_matrix/client/v1/login/get_token"))["login_token"]
