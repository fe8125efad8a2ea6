"""Every membership verb from every membership, with and without the power; creating rooms with every option.

https://spec.matrix.org/v1.19/client-server-api/#room-membership
"""

from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.harness import Client, HearthServer, Json, joined, ok, refused, room_path

pytestmark = pytest.mark.parametrize("running_server", ["sqlite"], indirect=True)

VERBS = ("invite", "kick", "ban", "unban")


def act(client: Client, verb: str, room_id: str, target: Client | None = None, **body: Any) -> httpx.Response:
    if target is not None:
        body["user_id"] = target.user_id
    return client.post(f"{room_path(room_id)}/{verb}", body)


def join(client: Client, room: str, **body: Any) -> httpx.Response:
    return client.post(f"/join/{quote(room, safe='')}", body)


def knock(client: Client, room: str, **body: Any) -> httpx.Response:
    return client.post(f"/knock/{quote(room, safe='')}", body)


def content(client: Client, room_id: str, event_type: str, state_key: str = "") -> Json:
    return ok(client.state(room_id, event_type, state_key))


def membership(client: Client, room_id: str, of: Client) -> str | None:
    response = client.state(room_id, "m.room.member", of.user_id)
    return ok(response)["membership"] if response.status_code == 200 else None


class Cast:
    """Alice may do everything, Carol is an ordinary member, Bob is the one it is about."""

    def __init__(self, server: HearthServer) -> None:
        self.alice, self.bob, self.carol = (server.register(name) for name in ("alice", "bob", "carol"))
        self.outsider = server.register("outsider")

    def room(self, bob_is: str, join_rule: str = "knock", **options: Any) -> str:
        rules = {"type": "m.room.join_rules", "content": {"join_rule": join_rule}}
        initial = [rules, *options.pop("initial_state", ())]
        room_id = self.alice.create_room(invite=[self.carol.user_id], initial_state=initial, **options)
        self.carol.join(room_id)
        match bob_is:
            case "invite":
                ok(act(self.alice, "invite", room_id, self.bob))
            case "join":
                ok(act(self.alice, "invite", room_id, self.bob))
                self.bob.join(room_id)
            case "knock":
                ok(knock(self.bob, room_id))
            case "leave":
                ok(act(self.alice, "invite", room_id, self.bob))
                ok(act(self.bob, "leave", room_id))
            case "ban":
                ok(act(self.alice, "ban", room_id, self.bob))
        return room_id


@pytest.fixture(scope="module")
def cast(running_server: HearthServer) -> Cast:
    return Cast(running_server)


# What becomes of Bob, by what he is and what Alice does; None where it is refused.
OUTCOMES: dict[str, dict[str, str | None]] = {
    "none": {"invite": "invite", "kick": None, "ban": "ban", "unban": None},
    "invite": {"invite": "invite", "kick": "leave", "ban": "ban", "unban": None},
    "join": {"invite": None, "kick": "leave", "ban": "ban", "unban": None},
    "knock": {"invite": "invite", "kick": "leave", "ban": "ban", "unban": None},
    "leave": {"invite": "invite", "kick": None, "ban": "ban", "unban": None},
    "ban": {"invite": None, "kick": None, "ban": "ban", "unban": "leave"},
}

# What becomes of Bob by what he does himself.
OWN_OUTCOMES: dict[str, dict[str, str | None]] = {
    "none": {"join": None, "leave": None, "knock": "knock"},
    "invite": {"join": "join", "leave": "leave", "knock": None},
    "join": {"join": "join", "leave": "leave", "knock": None},
    "knock": {"join": None, "leave": "leave", "knock": "knock"},
    "leave": {"join": None, "leave": "leave", "knock": "knock"},
    "ban": {"join": None, "leave": None, "knock": None},
}


class TestVerbs:
    @pytest.mark.parametrize("bob_is", OUTCOMES)
    def test_by_the_mighty(self, cast: Cast, bob_is: str) -> None:
        for verb, outcome in OUTCOMES[bob_is].items():
            room_id = cast.room(bob_is)
            before = membership(cast.alice, room_id, cast.bob)
            response = act(cast.alice, verb, room_id, cast.bob, reason="because")
            if outcome is None:
                refused(response, 403, "M_FORBIDDEN")
                assert membership(cast.alice, room_id, cast.bob) == before
            else:
                assert ok(response) == {}
                assert membership(cast.alice, room_id, cast.bob) == outcome
                if before != outcome:
                    seen = content(cast.alice, room_id, "m.room.member", cast.bob.user_id)
                    assert seen["reason"] == "because"

    @pytest.mark.parametrize("bob_is", OWN_OUTCOMES)
    def test_by_oneself(self, cast: Cast, bob_is: str) -> None:
        for verb, outcome in OWN_OUTCOMES[bob_is].items():
            room_id = cast.room(bob_is)
            before = membership(cast.alice, room_id, cast.bob)
            match verb:
                case "join":
                    response = join(cast.bob, room_id, reason="because")
                case "knock":
                    response = knock(cast.bob, room_id, reason="because")
                case _:
                    response = act(cast.bob, "leave", room_id, reason="because")
            if outcome is None:
                refused(response, 403, "M_FORBIDDEN")
                assert membership(cast.alice, room_id, cast.bob) == before
            else:
                answer = ok(response)
                assert answer == ({} if verb == "leave" else {"room_id": room_id})
                assert membership(cast.alice, room_id, cast.bob) == outcome, (bob_is, verb)

    @pytest.mark.parametrize("bob_is", OUTCOMES)
    def test_by_the_powerless(self, cast: Cast, bob_is: str) -> None:
        room_id = cast.room(bob_is, power_level_content_override={"invite": 50})
        before = membership(cast.alice, room_id, cast.bob)
        for verb in VERBS:
            refused(act(cast.carol, verb, room_id, cast.bob), 403, "M_FORBIDDEN")
            refused(act(cast.outsider, verb, room_id, cast.bob), 403, "M_FORBIDDEN")
            refused(act(cast.carol, verb, room_id, cast.alice), 403, "M_FORBIDDEN")
        assert membership(cast.alice, room_id, cast.bob) == before

    def test_bad_bodies(self, cast: Cast) -> None:
        room_id = cast.room("join")
        for verb in VERBS:
            path = f"{room_path(room_id)}/{verb}"
            for body, codes in (
                ({}, ("M_MISSING_PARAM", "M_BAD_JSON")),
                ({"user_id": 7}, ("M_BAD_JSON", "M_INVALID_PARAM")),
                ({"user_id": "bob"}, ("M_INVALID_PARAM", "M_BAD_JSON")),
                ({"user_id": None}, ("M_BAD_JSON", "M_INVALID_PARAM", "M_MISSING_PARAM")),
                ({"user_id": cast.bob.user_id, "reason": 7}, ("M_BAD_JSON", "M_INVALID_PARAM")),
            ):
                response = cast.alice.post(path, body)
                assert response.status_code == 400, (verb, body, response.text)
                assert response.json()["errcode"] in codes
        assert membership(cast.alice, room_id, cast.bob) == "join"

    def test_rooms_that_are_not_there(self, cast: Cast) -> None:
        for room_id in ("!nothing:localhost", "!nothing", "nonsense", "#alias:localhost"):
            for verb in VERBS:
                response = act(cast.alice, verb, room_id, cast.bob)
                assert response.status_code in (400, 403, 404), (room_id, verb, response.text)
            for verb in ("join", "leave", "forget"):
                response = act(cast.alice, verb, room_id)
                assert response.status_code in (400, 403, 404), (room_id, verb, response.text)

    def test_nobody_acts_on_their_equals(self, cast: Cast) -> None:
        room_id = cast.room("join", room_version="11")
        levels = content(cast.alice, room_id, "m.room.power_levels")
        levels["users"] |= {cast.bob.user_id: 50, cast.carol.user_id: 50}
        cast.alice.send_state(room_id, "m.room.power_levels", levels)
        for verb in ("kick", "ban"):
            refused(act(cast.bob, verb, room_id, cast.carol), 403, "M_FORBIDDEN")
        own = levels | {"users": levels["users"] | {cast.bob.user_id: 100}}
        path = f"{room_path(room_id)}/state/m.room.power_levels/"
        refused(cast.bob.put(path, own), 403, "M_FORBIDDEN")
        cast.bob.leave(room_id)

    def test_forgetting_needs_leaving(self, cast: Cast) -> None:
        for bob_is, status in (("join", 400), ("invite", 400), ("knock", 400), ("leave", 200), ("ban", 200)):
            room_id = cast.room(bob_is)
            response = act(cast.bob, "forget", room_id)
            assert response.status_code == status, (bob_is, response.text)
            if status == 400:
                assert response.json()["errcode"] == "M_UNKNOWN"
            else:
                assert cast.bob.get(f"{room_path(room_id)}/messages", dir="b").status_code == 403
                ok(act(cast.bob, "forget", room_id))

    def test_what_a_join_says_is_in_the_member_event(self, cast: Cast) -> None:
        room_id = cast.alice.create_room(preset="public_chat")
        said = {"org.example.badge": "gold", "membership": "ban", "join_authorised_via_users_server": "@x:y"}
        ok(join(cast.bob, room_id, reason="why not", **said))
        expected = {"membership": "join", "reason": "why not", "org.example.badge": "gold"}
        assert content(cast.alice, room_id, "m.room.member", cast.bob.user_id) == expected

    def test_joining_again_is_no_new_event(self, cast: Cast) -> None:
        room_id = cast.room("join")
        path = f"{room_path(room_id)}/state/m.room.member/{cast.bob.user_id}"
        before = ok(cast.bob.get(path, format="event"))["event_id"]
        ok(join(cast.bob, room_id))
        ok(act(cast.bob, "join", room_id))
        assert ok(cast.bob.get(path, format="event"))["event_id"] == before

    def test_setting_what_is_set_already_is_no_new_event(self, cast: Cast) -> None:
        room_id = cast.room("join")
        shown = {"membership": "join", "displayname": "here only"}
        once = cast.bob.send_state(room_id, "m.room.member", shown, cast.bob.user_id)
        assert cast.bob.send_state(room_id, "m.room.member", shown, cast.bob.user_id) == once

    def test_members_show_their_profile(self, cast: Cast) -> None:
        me = quote(cast.bob.user_id)
        ok(cast.bob.put(f"/profile/{me}/displayname", {"displayname": "Bob"}))
        room_id = cast.room("invite")
        assert content(cast.alice, room_id, "m.room.member", cast.bob.user_id)["displayname"] == "Bob"
        cast.bob.join(room_id)
        assert content(cast.alice, room_id, "m.room.member", cast.bob.user_id)["displayname"] == "Bob"
        ok(cast.bob.delete(f"/profile/{me}/displayname"))
        assert "displayname" not in content(cast.alice, room_id, "m.room.member", cast.bob.user_id)

    @pytest.mark.parametrize(
        ("rule", "version", "outcome"),
        [
            ("public", "11", 200),
            ("invite", "11", 403),
            ("private", "11", 403),
            ("knock", "11", 403),
            ("knock_restricted", "11", 403),
            ("restricted", "11", 403),
            ("restricted", "7", 403),
            ("knock", "6", 403),
            ("nonsense", "12", 403),
        ],
    )
    def test_join_rules(self, cast: Cast, rule: str, version: str, outcome: int) -> None:
        state = [{"type": "m.room.join_rules", "content": {"join_rule": rule}}]
        room_id = cast.alice.create_room(room_version=version, initial_state=state)
        assert join(cast.bob, room_id).status_code == outcome

    @pytest.mark.parametrize(
        "rules",
        [
            {"join_rule": ["public"]},
            {"join_rule": {}},
            {"join_rule": "restricted"},
            {"join_rule": "restricted", "allow": 7},
            {"join_rule": "restricted", "allow": {"a": 1}},
            {"join_rule": "restricted", "allow": [7, {}, {"type": "m.room_membership"}]},
        ],
    )
    def test_mangled_rules_admit_nobody(self, cast: Cast, rules: Json) -> None:
        room_id = cast.alice.create_room(initial_state=[{"type": "m.room.join_rules", "content": rules}])
        refused(join(cast.bob, room_id), 403, "M_FORBIDDEN")

    @pytest.mark.parametrize(
        ("rule", "version", "outcome"),
        [
            ("knock", "6", 403),
            ("knock", "7", 200),
            ("knock", "12", 200),
            ("knock_restricted", "9", 403),
            ("knock_restricted", "10", 200),
            ("restricted", "10", 403),
            ("public", "10", 403),
            ("invite", "10", 403),
        ],
    )
    def test_knock_rules(self, cast: Cast, rule: str, version: str, outcome: int) -> None:
        state = [{"type": "m.room.join_rules", "content": {"join_rule": rule}}]
        room_id = cast.alice.create_room(room_version=version, initial_state=state)
        response = knock(cast.bob, room_id)
        assert response.status_code == outcome, response.text

    def test_a_space_admits_only_its_members(self, cast: Cast) -> None:
        space = cast.alice.create_room(preset="public_chat", creation_content={"type": "m.space"})
        allow = [{"type": "m.room_membership", "room_id": space}, {"type": "org.example.other"}, 7]
        rule = {"join_rule": "knock_restricted", "allow": allow}
        state = [{"type": "m.room.join_rules", "content": rule}]
        room_id = cast.alice.create_room(room_version="10", initial_state=state)
        refused(join(cast.bob, room_id), 403, "M_FORBIDDEN")
        ok(knock(cast.bob, room_id))
        cast.bob.join(space)
        cast.bob.join(room_id)
        cast.bob.leave(room_id)
        cast.bob.leave(space)
        refused(join(cast.bob, room_id), 403, "M_FORBIDDEN")


class TestBlockingInvites:
    """https://spec.matrix.org/v1.19/client-server-api/#invite-permission"""

    def test_on_every_way_to_invite(self, server: HearthServer, cast: Cast) -> None:
        shy = server.register("shy")
        earlier = cast.alice.create_room(invite=[shy.user_id])
        room_id = cast.alice.create_room()
        setting = f"/user/{quote(shy.user_id)}/account_data/m.invite_permission_config"
        ok(shy.put(setting, {"default_action": "block"}))
        refused(act(cast.alice, "invite", room_id, shy), 403, "M_INVITE_BLOCKED")
        path = f"{room_path(room_id)}/state/m.room.member/{quote(shy.user_id)}"
        refused(cast.alice.put(path, {"membership": "invite"}), 403, "M_INVITE_BLOCKED")
        before = ok(cast.alice.get("/joined_rooms"))
        refused(cast.alice.post("/createRoom", {"invite": [shy.user_id]}), 403, "M_INVITE_BLOCKED")
        assert ok(cast.alice.get("/joined_rooms")) == before
        assert earlier not in shy.sync().get("rooms", {}).get("invite", {})
        ok(shy.put(setting, {}))
        ok(act(cast.alice, "invite", room_id, shy))
        assert shy.sync(since=None)["rooms"]["invite"].keys() == {earlier, room_id}

    def test_odd_settings_block_nobody(self, server: HearthServer, cast: Cast) -> None:
        odd = server.register("odd")
        setting = f"/user/{quote(odd.user_id)}/account_data/m.invite_permission_config"
        for content in ({"default_action": "allow"}, {"default_action": ["block"]}, {"block": True}):
            ok(odd.put(setting, content))
            cast.alice.create_room(invite=[odd.user_id])


class TestCreators:
    """https://spec.matrix.org/v1.19/rooms/v12/"""

    def test_nobody_is_above_them(self, cast: Cast) -> None:
        room_id = cast.alice.create_room(
            room_version="12",
            invite=[cast.bob.user_id, cast.carol.user_id],
            creation_content={"additional_creators": [cast.bob.user_id]},
        )
        cast.bob.join(room_id)
        cast.carol.join(room_id)
        levels = content(cast.bob, room_id, "m.room.power_levels")
        cast.bob.send_state(
            room_id, "m.room.power_levels", levels | {"users": {cast.carol.user_id: 2**53 - 1}}
        )
        for creator in (cast.alice, cast.bob):
            for verb in ("kick", "ban"):
                refused(act(cast.carol, verb, room_id, creator), 403, "M_FORBIDDEN")
        path = f"{room_path(room_id)}/state/m.room.power_levels/"
        for creator in (cast.alice, cast.bob):
            listed = levels | {"users": {creator.user_id: 100}}
            refused(cast.alice.put(path, listed), 400, "M_BAD_JSON")
        ok(act(cast.bob, "kick", room_id, cast.carol))
        cast.alice.send_state(room_id, "m.room.tombstone", {"body": "x", "replacement_room": "!a"})


class TestCreating:
    def test_names_override_the_initial_state(self, cast: Cast) -> None:
        state = [
            {"type": "m.room.name", "content": {"name": "initial"}},
            {"type": "m.room.topic", "content": {"topic": "initial"}, "state_key": ""},
            {"type": "org.example.keyed", "state_key": "key", "content": {"a": 1}},
            {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}},
        ]
        room_id = cast.alice.create_room(name="name", topic="topic", initial_state=state)
        assert content(cast.alice, room_id, "m.room.name") == {"name": "name"}
        topic = content(cast.alice, room_id, "m.room.topic")
        assert topic["topic"] == "topic"
        [plain] = topic["m.topic"]["m.text"]
        assert plain["body"] == "topic" and plain.get("mimetype", "text/plain") == "text/plain"
        assert content(cast.alice, room_id, "org.example.keyed", "key") == {"a": 1}
        visibility = content(cast.alice, room_id, "m.room.history_visibility")
        assert visibility == {"history_visibility": "joined"}

    def test_the_powers_of_a_new_room(self, cast: Cast) -> None:
        for version in ("1", "10", "11", "12"):
            room_id = cast.alice.create_room(room_version=version)
            levels = content(cast.alice, room_id, "m.room.power_levels")
            create = content(cast.alice, room_id, "m.room.create")
            if version == "12":
                assert cast.alice.user_id not in levels["users"]
                tombstone = levels["events"]["m.room.tombstone"]
                assert tombstone > levels.get("state_default", 50)
                assert room_id[1:] and ":" not in room_id
            else:
                assert levels["users"] == {cast.alice.user_id: 100}
                assert room_id.endswith(":localhost")
            assert create.get("creator") == (cast.alice.user_id if int(version) < 11 else None)
            for value in (levels["users_default"], levels["events_default"], levels["invite"]):
                assert isinstance(value, int)

    def test_additional_creators(self, cast: Cast) -> None:
        room_id = cast.alice.create_room(
            room_version="12",
            preset="trusted_private_chat",
            invite=[cast.bob.user_id, cast.carol.user_id],
            creation_content={"additional_creators": [cast.bob.user_id]},
        )
        creators = content(cast.alice, room_id, "m.room.create")["additional_creators"]
        assert sorted(creators) == sorted([cast.bob.user_id, cast.carol.user_id])
        for bad in (["nonsense"], "text", [7], {"a": 1}):
            body = {"room_version": "12", "creation_content": {"additional_creators": bad}}
            assert cast.alice.post("/createRoom", body).status_code == 400, bad
        levels = {"users": {cast.alice.user_id: 100}}
        body = {"room_version": "12", "power_level_content_override": levels}
        assert cast.alice.post("/createRoom", body).status_code == 400

    def test_direct_chats_say_so(self, cast: Cast) -> None:
        room_id = cast.alice.create_room(is_direct=True, invite=[cast.bob.user_id])
        cast.bob.since = None
        [invited] = [
            event
            for event in cast.bob.sync()["rooms"]["invite"][room_id]["invite_state"]["events"]
            if event["type"] == "m.room.member" and event["state_key"] == cast.bob.user_id
        ]
        assert invited["content"]["is_direct"] is True
        mine = content(cast.alice, room_id, "m.room.member", cast.alice.user_id)
        assert "is_direct" not in mine

    def test_an_alias_is_the_canonical_one(self, cast: Cast) -> None:
        name = f"canonical-{cast.alice.user_id[1:].partition(':')[0]}"
        room_id = cast.alice.create_room(room_alias_name=name)
        alias = content(cast.alice, room_id, "m.room.canonical_alias")
        assert alias["alias"] == f"#{name}:localhost"
        found = ok(cast.bob.get(f"/directory/room/{quote(alias['alias'], safe='')}"))
        assert found["room_id"] == room_id and found["servers"] == ["localhost"]

    def test_federation_may_be_ruled_out(self, cast: Cast) -> None:
        room_id = cast.alice.create_room(creation_content={"m.federate": False, "org.example.more": [1]})
        create = content(cast.alice, room_id, "m.room.create")
        assert create["m.federate"] is False and create["org.example.more"] == [1]

    def test_what_is_wrong_makes_no_room(self, cast: Cast) -> None:
        before = ok(cast.alice.get("/joined_rooms"))["joined_rooms"]
        bodies: tuple[Json, ...] = (
            {"initial_state": [{"type": "m.room.create", "content": {}}]},
            {"initial_state": [{"type": "m.x", "content": {"n": 1.5}}]},
            {"initial_state": [{"type": "m.x" * 200, "content": {}}]},
            {"initial_state": [{"type": "m.room.power_levels", "content": {"users": {"nonsense": 1}}}]},
            {"initial_state": {"type": "m.x"}},
            {"name": 7},
            {"topic": ["x"]},
            {"name": "x" * 70_000},
            {"creation_content": []},
            {"creation_content": {"m.federate": 1.5}},
            {"room_version": 11},
            {"room_version": ""},
            {"visibility": "semi"},
            {"is_direct": "yes"},
            {"invite": "text"},
            {"invite": [7]},
            {"invite": ["@no-domain"]},
            {"power_level_content_override": {"ban": "high"}},
            {"power_level_content_override": {"users": {cast.bob.user_id: "50"}}},
            {"room_alias_name": ""},
            {"room_alias_name": "#x:localhost"},
            {"room_alias_name": "a" * 300},
            {"room_alias_name": "nul\0"},
            {"preset": None, "visibility": 5},
        )
        for body in bodies:
            response = cast.alice.post("/createRoom", body)
            assert response.status_code in (400, 413), (body, response.text[:300])
        assert ok(cast.alice.get("/joined_rooms"))["joined_rooms"] == before

    def test_inviting_oneself_or_somebody_twice(self, cast: Cast) -> None:
        twice = [cast.bob.user_id, cast.bob.user_id]
        room_id = cast.alice.create_room(invite=twice)
        assert membership(cast.alice, room_id, cast.bob) == "invite"
        response = cast.alice.post("/createRoom", {"invite": [cast.alice.user_id]})
        assert response.status_code in (200, 400, 403), response.text
        if response.status_code == 200:
            assert membership(cast.alice, response.json()["room_id"], cast.alice) == "join"

    def test_nulls_are_nothing(self, cast: Cast) -> None:
        body = {"name": None, "topic": None, "preset": None, "invite": None, "room_version": None}
        response = cast.alice.post("/createRoom", body)
        assert response.status_code in (200, 400)

    def test_the_creator_hears_of_it_at_once(self, cast: Cast) -> None:
        cast.alice.sync()
        room_id = cast.alice.create_room(name="News")
        room = joined(cast.alice.sync(), room_id)
        types = [event["type"] for event in room["timeline"]["events"] + room["state"]["events"]]
        assert "m.room.create" in types and "m.room.name" in types
        assert len(types) == len(set(types)) or types.count("m.room.member") >= 1
