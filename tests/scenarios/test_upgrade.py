"""Upgrading rooms: what the replacement has, what the old room keeps, and what follows its people."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pytest

from tests.harness import Client, HearthServer, Json, joined, ok, refused, room_path


def upgrade(client: Client, room_id: str, version: str = "12", **more: Any) -> str:
    body = {"new_version": version, **more}
    replacement: str = ok(client.post(f"{room_path(room_id)}/upgrade", body))["replacement_room"]
    return replacement


def state(client: Client, room_id: str, type: str, key: str = "") -> Json:
    return ok(client.state(room_id, type, key))


def create_event(client: Client, room_id: str) -> Json:
    events: Any = ok(client.get(f"{room_path(room_id)}/state"))
    return next(event for event in events if event["type"] == "m.room.create")


COPIED: dict[str, Json] = {
    "m.room.name": {"name": "Tea"},
    "m.room.topic": {"topic": "All about tea"},
    "m.room.avatar": {"url": "mxc://localhost/tea"},
    "m.room.encryption": {"algorithm": "m.megolm.v1.aes-sha2"},
    "m.room.history_visibility": {"history_visibility": "joined"},
    "m.room.guest_access": {"guest_access": "forbidden"},
    "m.room.join_rules": {"join_rule": "knock"},
    "m.room.server_acl": {"allow": ["*"], "deny": ["evil.example"]},
}


@pytest.mark.parametrize("versions", [("1", "12"), ("5", "11"), ("11", "12"), ("12", "12"), ("12", "10")])
def test_the_replacement(server: HearthServer, versions: tuple[str, str]) -> None:
    old_version, new_version = versions
    alice, bob, eve = server.register("alice"), server.register("bob"), server.register("eve")
    room = alice.create_room(room_version=old_version, preset="public_chat")
    bob.join(room)
    alice.ban(room, eve.user_id)
    for type, content in COPIED.items():
        alice.send_state(room, type, content)
    alice.send_state(room, "m.room.pinned_events", {"pinned": ["$x"]})
    levels = state(alice, room, "m.room.power_levels")
    levels["users"][bob.user_id] = 60
    levels["events"]["m.custom"] = 33
    alice.send_state(room, "m.room.power_levels", levels)
    said = alice.send(room, "the last words")

    new = upgrade(alice, room, new_version)

    for type, content in COPIED.items():
        assert state(alice, new, type) == content
    create = create_event(alice, new)["content"]
    assert create["room_version"] == new_version
    assert create["predecessor"].pop("room_id") == room
    assert create["predecessor"] == ({} if new_version == "12" else {"event_id": said})
    assert "type" not in create and "additional_creators" not in create
    refused(alice.state(new, "m.room.pinned_events"), 404, "M_NOT_FOUND")
    assert state(alice, new, "m.room.member", eve.user_id)["membership"] == "ban"
    members = ok(alice.get(f"{room_path(new)}/joined_members"))["joined"]
    assert list(members) == [alice.user_id]
    after = state(alice, new, "m.room.power_levels")
    assert after["users"][bob.user_id] == 60 and after["events"]["m.custom"] == 33
    assert (alice.user_id in after["users"]) is (new_version != "12")
    if new_version == "12":
        assert after["events"]["m.room.tombstone"] == 150
    else:
        assert after["users"][alice.user_id] >= after["events"]["m.room.tombstone"]
    alice.send(new, "hello again")

    tombstone = state(alice, room, "m.room.tombstone")
    assert tombstone["replacement_room"] == new and tombstone["body"]
    closed = state(alice, room, "m.room.power_levels")
    assert (closed["events_default"], closed["invite"]) == (50, 50)
    assert {**closed, "events_default": 0, "invite": levels["invite"]} == levels


def test_a_space_keeps_its_type_and_children(server: HearthServer) -> None:
    alice = server.register("alice")
    space = alice.create_room(
        room_version="11", creation_content={"type": "m.space", "m.federate": False, "own": 1}
    )
    alice.send_state(space, "m.space.child", {"via": ["localhost"], "order": "a"}, "!kept:localhost")
    alice.send_state(space, "m.space.child", {}, "!removed:localhost")
    new = upgrade(alice, space)
    create = create_event(alice, new)["content"]
    assert (create["type"], create["m.federate"], create.get("own")) == ("m.space", False, None)
    assert state(alice, new, "m.space.child", "!kept:localhost") == {"via": ["localhost"], "order": "a"}
    refused(alice.state(new, "m.space.child", "!removed:localhost"), 404, "M_NOT_FOUND")


def test_join_rules_that_the_new_version_does_not_have(server: HearthServer) -> None:
    alice = server.register("alice")
    parent = alice.create_room()
    rules = {
        "join_rule": "knock_restricted", "allow": [{"type": "m.room_membership", "room_id": parent}],
    }
    room = alice.create_room()
    alice.send_state(room, "m.room.join_rules", rules)
    assert state(alice, upgrade(alice, room, "11"), "m.room.join_rules") == rules
    for version, rule in (("10", "knock_restricted"), ("9", "restricted"), ("7", "invite")):
        assert state(alice, upgrade(alice, room, version), "m.room.join_rules")["join_rule"] == rule
    alice.send_state(room, "m.room.join_rules", {"join_rule": "knock"})
    assert state(alice, upgrade(alice, room, "7"), "m.room.join_rules")["join_rule"] == "knock"
    assert state(alice, upgrade(alice, room, "6"), "m.room.join_rules")["join_rule"] == "invite"


def test_aliases_and_the_directory_move(server: HearthServer) -> None:
    alice = server.register("alice")
    name = f"tea-{alice.user_id[1:].partition(':')[0]}"
    room = alice.create_room(room_alias_name=name, visibility="public", room_version="11")
    alias, other = f"#{name}:localhost", f"#{name}-2:localhost"
    ok(alice.put(f"/directory/room/{quote(other)}", {"room_id": room}))
    content = {"alias": alias, "alt_aliases": [other], "kept": 1}
    alice.send_state(room, "m.room.canonical_alias", content)
    new = upgrade(alice, room)
    assert ok(alice.get(f"{room_path(new)}/aliases"))["aliases"] == [alias, other]
    assert ok(alice.get(f"{room_path(room)}/aliases"))["aliases"] == []
    assert ok(alice.get(f"/directory/room/{quote(alias)}"))["room_id"] == new
    assert state(alice, new, "m.room.canonical_alias") == {"alias": alias, "alt_aliases": [other]}
    assert state(alice, room, "m.room.canonical_alias") == {"alt_aliases": [], "kept": 1}
    for each, visibility in ((room, "private"), (new, "public")):
        assert ok(alice.get(f"/directory/list/room/{quote(each)}"))["visibility"] == visibility


def test_creators(server: HearthServer) -> None:
    alice, bob = server.register("alice"), server.register("bob")
    room = alice.create_room(room_version="11", invite=[bob.user_id])
    bob.join(room)
    levels = state(alice, room, "m.room.power_levels")
    levels["users"][bob.user_id] = 100
    alice.send_state(room, "m.room.power_levels", levels)
    creators = [bob.user_id, alice.user_id, bob.user_id]
    new = upgrade(alice, room, additional_creators=creators)
    assert create_event(alice, new)["content"]["additional_creators"] == [bob.user_id]
    assert state(alice, new, "m.room.power_levels")["users"] == {}
    # They are not handed on, and mean nothing to older versions.
    newer = upgrade(alice, new)
    assert "additional_creators" not in create_event(alice, newer)["content"]
    older = upgrade(alice, new, "11", additional_creators=["not a user"])
    assert "additional_creators" not in create_event(alice, older)["content"]
    users = state(alice, older, "m.room.power_levels")["users"]
    assert users == {alice.user_id: 150, bob.user_id: 150}
    path = f"{room_path(room)}/upgrade"
    wrong = {"new_version": "12", "additional_creators": ["not a user"]}
    refused(alice.post(path, wrong), 400, "M_INVALID_PARAM")
    refused(alice.post(path, wrong | {"additional_creators": "x"}), 400, "M_BAD_JSON")


def test_who_may_upgrade(server: HearthServer) -> None:
    alice, bob, carol = server.register("alice"), server.register("bob"), server.register("carol")
    room = alice.create_room(room_version="11", preset="public_chat")
    bob.join(room)
    path = f"{room_path(room)}/upgrade"
    before = len(ok(bob.get("/joined_rooms"))["joined_rooms"])
    refused(bob.post(path, {"new_version": "12"}), 403, "M_FORBIDDEN")
    refused(carol.post(path, {"new_version": "12"}), 403, "M_FORBIDDEN")
    refused(alice.post(path, {"new_version": "99"}), 400, "M_UNSUPPORTED_ROOM_VERSION")
    refused(alice.post(path, {}), 400, "M_BAD_JSON")
    assert len(ok(bob.get("/joined_rooms"))["joined_rooms"]) == before
    refused(alice.state(room, "m.room.tombstone"), 404, "M_NOT_FOUND")

    # The power to send the tombstone is all it takes; the rest is done as far as it goes.
    levels = state(alice, room, "m.room.power_levels")
    levels["events"]["m.room.tombstone"] = 0
    alice.send_state(room, "m.room.power_levels", levels)
    new = upgrade(bob, room, "11")
    assert state(bob, room, "m.room.tombstone")["replacement_room"] == new
    assert state(bob, room, "m.room.power_levels") == levels
    assert state(bob, new, "m.room.power_levels")["users"] == levels["users"]


def test_two_upgrades_at_once(server: HearthServer) -> None:
    alice, bob = server.register("alice"), server.register("bob")
    room = alice.create_room(room_version="11", preset="trusted_private_chat", invite=[bob.user_id])
    bob.join(room)
    path = f"{room_path(room)}/upgrade"
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda client: client.post(path, {"new_version": "12"}), [alice, bob] * 4)
        )
    made = {answer.json()["replacement_room"] for answer in answers if answer.status_code == 200}
    assert made
    for answer in answers:
        if answer.status_code != 200:
            refused(answer, 403, "M_FORBIDDEN")
    rooms = {*ok(alice.get("/joined_rooms"))["joined_rooms"], *ok(bob.get("/joined_rooms"))["joined_rooms"]}
    assert rooms - {room} == made
    assert state(alice, room, "m.room.tombstone")["replacement_room"] in made


def test_what_people_keep_follows_them(server: HearthServer) -> None:
    alice, bob = server.register("alice"), server.register("bob")
    room = alice.create_room(preset="public_chat", room_version="10")
    bob.join(room)
    me = f"/user/{quote(bob.user_id)}"
    ok(bob.put(f"{me}{room_path(room)}/tags/m.favourite", {"order": 0.5}))
    ok(bob.put(f"{me}/account_data/m.direct", {alice.user_id: [room], "@x:y": ["!z"], "odd": 1}))
    ok(bob.put(f"/pushrules/global/room/{quote(room)}", {"actions": ["notify"]}))
    mute = {"actions": [], "conditions": [{"kind": "event_match", "key": "room_id", "pattern": room}]}
    ok(bob.put(f"/pushrules/global/override/{quote(room)}", mute))

    new = upgrade(alice, room)
    bob.sync()
    bob.join(new)
    bob.sync_until(lambda answer: "m.push_rules" in types(answer.get("account_data", {})))

    assert ok(bob.get(f"{me}{room_path(new)}/tags"))["tags"] == {"m.favourite": {"order": 0.5}}
    direct = ok(bob.get(f"{me}/account_data/m.direct"))
    assert direct == {alice.user_id: [room, new], "@x:y": ["!z"], "odd": 1}
    assert ok(bob.get(f"/pushrules/global/room/{quote(new)}"))["actions"] == ["notify"]
    [condition] = ok(bob.get(f"/pushrules/global/override/{quote(new)}"))["conditions"]
    assert condition["pattern"] == new

    # Whoever merely claims to replace a room gets nothing of it.
    false = alice.create_room(
        preset="public_chat", creation_content={"predecessor": {"room_id": room, "event_id": "$x"}}
    )
    bob.join(false)
    bob.sync_until(lambda answer: joined(answer, false))
    assert ok(bob.get(f"{me}{room_path(false)}/tags"))["tags"] == {}


def types(part: Json) -> set[str]:
    return {event["type"] for event in part.get("events", [])}


def test_nothing_is_left_of_an_upgrade_that_the_room_forbids(server: HearthServer) -> None:
    alice = server.register("alice")
    room = alice.create_room(room_version="11")
    alice.send_state(room, "m.room.name", {"name": "x" * 20_000})
    before = ok(alice.get("/joined_rooms"))["joined_rooms"]
    alice.leave(room)
    refused(alice.post(f"{room_path(room)}/upgrade", {"new_version": "12"}), 403, "M_FORBIDDEN")
    assert set(ok(alice.get("/joined_rooms"))["joined_rooms"]) == set(before) - {room}
