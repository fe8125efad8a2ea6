"""Receipts in threads, account data, tags, filters, profiles, aliases, the directory, push rules.

https://spec.matrix.org/v1.19/client-server-api/#user-data
"""

import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.harness import Client, HearthServer, Json, joined, ok, refused, room_path

pytestmark = pytest.mark.parametrize("running_server", ["sqlite"], indirect=True)


def user_path(client: Client) -> str:
    return f"/user/{quote(client.user_id, safe='')}"


def alias_path(alias: str) -> str:
    return f"/directory/room/{quote(alias, safe='')}"


def together(server: HearthServer) -> tuple[Client, Client, str]:
    alice, bob = server.register("alice"), server.register("bob")
    room_id = alice.create_room(invite=[bob.user_id])
    bob.join(room_id)
    alice.sync()
    bob.sync()
    return alice, bob, room_id


def receipts(sync: Json, room_id: str) -> Json:
    """{event: {type: {user: receipt}}} of a sync."""
    for event in joined(sync, room_id).get("ephemeral", {}).get("events", []):
        if event["type"] == "m.receipt":
            content: Json = event["content"]
            return content
    return {}


def in_thread(root: str, body: str) -> Json:
    relation = {"rel_type": "m.thread", "event_id": root}
    return {"msgtype": "m.text", "body": body, "m.relates_to": relation}


class TestReceipts:
    def test_one_for_each_thread(self, server: HearthServer) -> None:
        alice, bob, room_id = together(server)
        root = alice.send(room_id, "root")
        reply = alice.send(room_id, in_thread(root, "reply"))
        last = alice.send(room_id, "last")
        alice.sync()
        path = f"{room_path(room_id)}/receipt/m.read"
        ok(bob.post(f"{path}/{quote(reply, safe='')}", {"thread_id": root}))
        ok(bob.post(f"{path}/{quote(root, safe='')}", {"thread_id": "main"}))
        ok(bob.post(f"{path}/{quote(last, safe='')}"))
        seen = receipts(alice.sync(), room_id)
        mine = {event_id: kinds["m.read"][bob.user_id] for event_id, kinds in seen.items()}
        assert mine.keys() == {root, reply, last}
        assert mine[reply]["thread_id"] == root
        assert mine[root]["thread_id"] == "main"
        assert "thread_id" not in mine[last]
        assert all(abs(each["ts"]) > 1_500_000_000_000 for each in mine.values())

    def test_they_never_go_back(self, server: HearthServer) -> None:
        alice, bob, room_id = together(server)
        first, second = alice.send(room_id, "1"), alice.send(room_id, "2")
        alice.sync()
        path = f"{room_path(room_id)}/receipt/m.read"
        ok(bob.post(f"{path}/{quote(second, safe='')}"))
        ok(bob.post(f"{path}/{quote(first, safe='')}"))
        assert receipts(alice.sync(), room_id).keys() == {second}
        alice.since = None
        assert receipts(alice.sync(), room_id).keys() == {second}

    @pytest.mark.parametrize(
        "body", [{"thread_id": ""}, {"thread_id": 7}, {"thread_id": None}, {"thread_id": "nonsense"}]
    )
    def test_odd_threads(self, server: HearthServer, body: Json) -> None:
        alice, _, room_id = together(server)
        event_id = alice.send(room_id, "x")
        response = alice.post(f"{room_path(room_id)}/receipt/m.read/{quote(event_id, safe='')}", body)
        expected = (200, 400) if body["thread_id"] in (None, "nonsense") else (400,)
        assert response.status_code in expected, response.text

    def test_refusals(self, server: HearthServer) -> None:
        alice, _, room_id = together(server)
        root = alice.send(room_id, "x")
        event_id = quote(root, safe="")
        stranger = server.register("stranger")
        refused(stranger.post(f"{room_path(room_id)}/receipt/m.read/{event_id}"), 403, "M_FORBIDDEN")
        path = f"{room_path(room_id)}/receipt"
        refused(alice.post(f"{path}/m.unknown/{event_id}"), 400, "M_INVALID_PARAM")
        fully = alice.post(f"{path}/m.fully_read/{event_id}", {"thread_id": "main"})
        refused(fully, 400, "M_INVALID_PARAM")
        ok(alice.post(f"{path}/m.fully_read/{event_id}"))
        stored = ok(alice.get(f"{user_path(alice)}{room_path(room_id)}/account_data/m.fully_read"))
        assert stored == {"event_id": root}

    def test_private_ones_are_private_and_yet_count(self, server: HearthServer) -> None:
        alice, bob, room_id = together(server)
        event_id = alice.send(room_id, "x")
        tablet = server.login(bob.user_id)
        room = joined(tablet.sync(), room_id)
        assert room["unread_notifications"]["notification_count"] == 1
        path = f"{room_path(room_id)}/receipt/m.read.private/{quote(event_id, safe='')}"
        ok(bob.post(path))
        assert "m.read.private" not in json.dumps(alice.sync())
        alice.since = None
        assert "m.read.private" not in json.dumps(alice.sync())
        news = tablet.sync()
        assert receipts(news, room_id)[event_id]["m.read.private"].keys() == {bob.user_id}
        assert joined(news, room_id)["unread_notifications"]["notification_count"] == 0


class TestAccountData:
    def test_any_object_and_only_objects(self, server: HearthServer) -> None:
        alice = server.register("alice")
        path = f"{user_path(alice)}/account_data"
        content = {"a": [1, None, {"b": "ü"}], "": {}}
        ok(alice.put(f"{path}/{quote('org.example/odd type', safe='')}", content))
        assert ok(alice.get(f"{path}/{quote('org.example/odd type', safe='')}")) == content
        ok(alice.put(f"{path}/org.example.empty", {}))
        assert alice.get(f"{path}/org.example.empty").status_code in (200, 404)
        wrong: tuple[Any, ...] = ([], "text", 7, None)
        for body in wrong:
            response = alice.http.put(f"/_matrix/client/v3{path}/org.example.x", json=body)
            assert response.status_code == 400, body
        refused(alice.get(f"{path}/org.example.x"), 404, "M_NOT_FOUND")
        assert alice.put(f"{path}/org.example.big", {"x": "y" * 5_000_000}).status_code == 413

    def test_the_fully_read_marker_and_push_rules_are_read_only(self, server: HearthServer) -> None:
        alice = server.register("alice")
        for kind in ("m.push_rules", "m.fully_read"):
            refused(alice.put(f"{user_path(alice)}/account_data/{kind}", {}), 405, "M_BAD_JSON")

    def test_tags(self, server: HearthServer) -> None:
        alice, _, room_id = together(server)
        path = f"{user_path(alice)}{room_path(room_id)}/tags"
        ok(alice.put(f"{path}/u.one", {"order": 0}))
        ok(alice.put(f"{path}/u.two", {"order": 1, "org.example.more": [1]}))
        ok(alice.put(f"{path}/u.one", {"order": 0.5}))
        expected = {"u.one": {"order": 0.5}, "u.two": {"order": 1, "org.example.more": [1]}}
        assert ok(alice.get(path)) == {"tags": expected}
        data = f"{user_path(alice)}{room_path(room_id)}/account_data/m.tag"
        assert ok(alice.get(data)) == {"tags": expected}
        ok(alice.delete(f"{path}/u.one"))
        ok(alice.delete(f"{path}/u.never"))
        for wrong in ("NaN", '"0.5"', "[]"):
            body = f'{{"order": {wrong}}}'.encode()
            assert alice.http.put(f"/_matrix/client/v3{path}/u.x", content=body).status_code == 400
        ok(alice.put(data, {"tags": {"u.set": {}}}))
        assert ok(alice.get(path)) == {"tags": {"u.set": {}}}

    def test_filters(self, server: HearthServer) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        definition = {
            "event_fields": ["type", "content.body"],
            "room": {"timeline": {"limit": 3, "types": ["m.room.message"]}, "include_leave": True},
            "presence": {"not_types": ["*"]},
        }
        first = ok(alice.post(f"{user_path(alice)}/filter", definition))["filter_id"]
        assert not first.startswith("{")
        assert ok(alice.get(f"{user_path(alice)}/filter/{first}")) == definition
        refused(bob.get(f"{user_path(alice)}/filter/{first}"), 403, "M_FORBIDDEN")
        refused(alice.get(f"{user_path(alice)}/filter/999999"), 404, "M_NOT_FOUND")
        wrongs: tuple[Json, ...] = (
            {"room": {"timeline": {"limit": "3"}}},
            {"room": {"timeline": {"types": "m.room.message"}}},
            {"room": {"rooms": ["nonsense"]}},
            {"room": []},
            {"presence": {"senders": ["nonsense"]}},
            {"event_format": "xml"},
            {"event_fields": "type"},
            {"room": {"include_leave": "yes"}},
        )
        for wrong in wrongs:
            response = alice.post(f"{user_path(alice)}/filter", wrong)
            assert response.status_code == 400, (wrong, response.text)
            response = alice.get("/sync", filter=json.dumps(wrong))
            assert response.status_code == 400, (wrong, response.text)
        refused(alice.get("/sync", filter="999999"), 400, "M_INVALID_PARAM")


class TestProfiles:
    def test_every_field(self, server: HearthServer) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        path = f"/profile/{quote(alice.user_id, safe='')}"
        for key, value in (
            ("displayname", "Ålice"),
            ("avatar_url", "mxc://localhost/abc"),
            ("m.tz", "Europe/Berlin"),
            ("org.example.any", {"a": [1, None]}),
        ):
            ok(alice.put(f"{path}/{key}", {key: value}))
            assert ok(bob.get(f"{path}/{key}")) == {key: value}
        assert ok(bob.get(path)).keys() == {"displayname", "avatar_url", "m.tz", "org.example.any"}
        for key in ("displayname", "avatar_url", "m.tz", "org.example.any"):
            ok(alice.delete(f"{path}/{key}"))
            refused(bob.get(f"{path}/{key}"), 404, "M_NOT_FOUND")
        assert ok(bob.get(path)) == {}

    @pytest.mark.parametrize(
        ("key", "body", "errcode"),
        [
            ("displayname", {}, "M_MISSING_PARAM"),
            ("displayname", {"displayname": 5}, "M_BAD_JSON"),
            ("displayname", {"displayname": ["x"]}, "M_BAD_JSON"),
            ("avatar_url", {"avatar_url": 5}, "M_BAD_JSON"),
            ("org.example.k", {"other": 1}, "M_MISSING_PARAM"),
            ("UPPER.case", {"UPPER.case": 1}, "M_INVALID_PARAM"),
            ("org.example." + "k" * 300, {"org.example." + "k" * 300: 1}, "M_KEY_TOO_LARGE"),
            ("org.example.big", {"org.example.big": "x" * 66_000}, "M_PROFILE_TOO_LARGE"),
        ],
    )
    def test_refusals(self, server: HearthServer, key: str, body: Json, errcode: str) -> None:
        alice = server.register("alice")
        response = alice.put(f"/profile/{quote(alice.user_id, safe='')}/{key}", body)
        refused(response, 400, errcode)

    def test_the_whole_profile_has_a_limit(self, server: HearthServer) -> None:
        alice = server.register("alice")
        path = f"/profile/{quote(alice.user_id, safe='')}"
        ok(alice.put(f"{path}/org.example.a", {"org.example.a": "x" * 40_000}))
        refused(
            alice.put(f"{path}/org.example.b", {"org.example.b": "x" * 40_000}), 400, "M_PROFILE_TOO_LARGE"
        )
        ok(alice.put(f"{path}/org.example.a", {"org.example.a": "x" * 50_000}))

    def test_nobody_else(self, server: HearthServer) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        path = f"/profile/{quote(alice.user_id, safe='')}"
        refused(bob.put(f"{path}/displayname", {"displayname": "x"}), 403, "M_FORBIDDEN")
        refused(bob.delete(f"{path}/displayname"), 403, "M_FORBIDDEN")
        refused(bob.get("/profile/@nobody-at-all:localhost"), 404, "M_NOT_FOUND")
        refused(bob.get("/profile/@nobody-at-all:localhost/displayname"), 404, "M_NOT_FOUND")


class TestAliases:
    @pytest.mark.parametrize(
        "alias", ["#with space:localhost", "#no-domain", "nonsense", f"#{'a' * 260}:localhost"]
    )
    def test_what_is_no_alias(self, server: HearthServer, alias: str) -> None:
        alice = server.register("alice")
        room_id = alice.create_room()
        response = alice.put(alias_path(alias), {"room_id": room_id})
        if alias == "#with space:localhost" and response.status_code == 200:
            return  # the grammar forbids only NUL and colons
        refused(response, 400, "M_INVALID_PARAM")

    def test_those_with_power_may_delete(self, server: HearthServer) -> None:
        alice, bob, carol = (server.register(name) for name in ("alice", "bob", "carol"))
        room_id = alice.create_room(preset="public_chat")
        bob.join(room_id)
        carol.join(room_id)
        name = bob.user_id[1:].partition(":")[0]
        aliases = [f"#{name}-{number}/ü:localhost" for number in range(2)]
        for alias in aliases:
            ok(bob.put(alias_path(alias), {"room_id": room_id}))
        refused(carol.delete(alias_path(aliases[0])), 403, "M_FORBIDDEN")
        ok(bob.delete(alias_path(aliases[0])))
        ok(alice.delete(alias_path(aliases[1])))
        assert ok(bob.get(f"{room_path(room_id)}/aliases")) == {"aliases": []}

    def test_aliases_in_a_state_event_that_were_there_are_not_checked(self, server: HearthServer) -> None:
        alice = server.register("alice")
        room_id = alice.create_room()
        name = alice.user_id[1:].partition(":")[0]
        first, second = f"#{name}-1:localhost", f"#{name}-2:localhost"
        for alias in (first, second):
            ok(alice.put(alias_path(alias), {"room_id": room_id}))
        alice.send_state(room_id, "m.room.canonical_alias", {"alias": first, "alt_aliases": [second]})
        path = f"{room_path(room_id)}/state/m.room.canonical_alias/"
        refused(alice.put(path, {"alias": "#nothing:localhost"}), 400, "M_BAD_ALIAS")
        refused(alice.put(path, {"alt_aliases": ["#nothing:localhost"]}), 400, "M_BAD_ALIAS")
        for wrong in ({"alias": "nonsense"}, {"alt_aliases": ["nonsense"]}, {"alt_aliases": [7]}):
            response = alice.put(path, wrong)
            assert response.status_code == 400, response.text
            assert response.json()["errcode"] in ("M_INVALID_PARAM", "M_BAD_JSON")
        alice.send_state(room_id, "m.room.canonical_alias", {"alt_aliases": [second]})

    def test_the_directory(self, server: HearthServer) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        unique = alice.user_id[1:].partition(":")[0]
        name = f"Zoo of {unique}"
        room_id = alice.create_room(
            visibility="public", name=name, topic="Animals", room_alias_name=f"zoo-{unique}",
            creation_content={"type": "m.space"},
            initial_state=[
                {"type": "m.room.avatar", "content": {"url": "mxc://localhost/zoo"}},
                {"type": "m.room.history_visibility", "content": {"history_visibility": "world_readable"}},
                {"type": "m.room.guest_access", "content": {"guest_access": "can_join"}},
            ],
        )  # fmt: skip
        [found] = ok(bob.post("/publicRooms", {"filter": {"generic_search_term": unique}}))["chunk"]
        assert found == {
            "room_id": room_id,
            "name": name,
            "topic": "Animals",
            "canonical_alias": f"#zoo-{unique}:localhost",
            "avatar_url": "mxc://localhost/zoo",
            "num_joined_members": 1,
            "world_readable": True,
            "guest_can_join": True,
            "join_rule": "public",
            "room_type": "m.space",
        }
        for term in (name.upper(), "ANIMALS", f"zoo-{unique}"):
            answer = ok(bob.post("/publicRooms", {"filter": {"generic_search_term": term}}))
            assert room_id in [each["room_id"] for each in answer["chunk"]], term

        def ids(room_types: list[str | None]) -> list[str]:
            body = {"filter": {"generic_search_term": unique, "room_types": room_types}}
            return [each["room_id"] for each in ok(bob.post("/publicRooms", body))["chunk"]]

        assert ids(["m.space"]) == ids([None, "m.space"]) == [room_id]
        assert ids([None]) == ids([]) == []
        page = ok(bob.get("/publicRooms", limit=1))
        assert len(page["chunk"]) == 1 and page["total_room_count_estimate"] >= 1
        path = f"/directory/list/room/{quote(room_id)}"
        refused(bob.put(path, {"visibility": "private"}), 403, "M_FORBIDDEN")
        ok(alice.put(path, {"visibility": "private"}))
        assert ok(bob.get(path)) == {"visibility": "private"}
        assert ids(["m.space"]) == []


DEFAULTS = {
    "override": [
        ".m.rule.master",
        ".m.rule.suppress_notices",
        ".m.rule.invite_for_me",
        ".m.rule.member_event",
        ".m.rule.is_user_mention",
        ".m.rule.is_room_mention",
        ".m.rule.tombstone",
        ".m.rule.reaction",
        ".m.rule.room.server_acl",
        ".m.rule.suppress_edits",
    ],
    "content": [],
    "room": [],
    "sender": [],
    "underride": [
        ".m.rule.call",
        ".m.rule.encrypted_room_one_to_one",
        ".m.rule.room_one_to_one",
        ".m.rule.message",
        ".m.rule.encrypted",
    ],
}


class TestPushRules:
    def rules(self, client: Client) -> Json:
        rules: Json = ok(client.get("/pushrules/"))["global"]
        return rules

    def test_the_defaults_in_their_order(self, server: HearthServer) -> None:
        alice = server.register("alice")
        rules = self.rules(alice)
        assert rules == ok(alice.get("/pushrules/global/"))
        for kind, expected in DEFAULTS.items():
            present = [rule["rule_id"] for rule in rules[kind]]
            assert present == expected, kind
            assert all(rule["default"] for rule in rules[kind])
        by_id = {rule["rule_id"]: rule for kind in rules.values() for rule in kind}
        assert by_id[".m.rule.master"]["enabled"] is False
        assert by_id[".m.rule.master"]["conditions"] == []
        mention = by_id[".m.rule.is_user_mention"]["conditions"]
        assert mention == [
            {
                "kind": "event_property_contains",
                "key": r"content.m\.mentions.user_ids",
                "value": alice.user_id,
            }
        ]
        invited = by_id[".m.rule.invite_for_me"]["conditions"]
        assert {"kind": "event_match", "key": "state_key", "pattern": alice.user_id} in invited
        assert by_id[".m.rule.suppress_notices"]["actions"] == []

    def test_own_rules_come_before_the_defaults(self, server: HearthServer) -> None:
        alice = server.register("alice")
        path = "/pushrules/global/override"
        body: Json = {"actions": [], "conditions": []}
        for rule_id in ("one", "two"):
            ok(alice.put(f"{path}/{rule_id}", body))
        ok(alice.put(f"{path}/three", body, after="two"))
        ok(alice.put(f"{path}/four", body, before="one"))

        def order() -> list[str]:
            return [rule["rule_id"] for rule in self.rules(alice)["override"]]

        own = [rule_id for rule_id in order() if not rule_id.startswith(".")]
        assert own == ["two", "three", "four", "one"]
        assert order()[0] == ".m.rule.master"
        assert order()[1:5] == own
        ok(alice.put(f"{path}/two", body | {"actions": ["notify"]}))
        assert sorted(own) == sorted(rule_id for rule_id in order() if not rule_id.startswith("."))
        ok(alice.delete(f"{path}/two"))
        refused(alice.get(f"{path}/two"), 404, "M_NOT_FOUND")

    def test_refusals(self, server: HearthServer) -> None:
        alice = server.register("alice")
        path = "/pushrules/global"
        good: Json = {"actions": ["notify"], "conditions": []}
        for kind, rule_id, body, query in (
            ("override", ".m.rule.mine", good, {}),
            ("override", "a/b", good, {}),
            ("override", "x", {"conditions": []}, {}),
            ("override", "x", good | {"actions": ["dance"]}, {}),
            ("override", "x", good | {"conditions": [{"no": "kind"}]}, {}),
            ("content", "x", {"actions": []}, {}),
            ("content", "x", {"actions": [], "pattern": 7}, {}),
            ("room", "nonsense", {"actions": []}, {}),
            ("sender", "nonsense", {"actions": []}, {}),
            ("override", "x", good, {"before": ".m.rule.master"}),
            ("nonsense", "x", good, {}),
        ):
            response = alice.put(f"{path}/{kind}/{quote(str(rule_id), safe='')}", body, **query)
            lenient = kind in ("room", "sender") or body.get("actions") == ["dance"]
            expected = (200, 400) if lenient else (400, 404)
            assert response.status_code in expected, (kind, rule_id, body, response.text)
        refused(alice.put(f"{path}/override/x", good, after="nothing"), 400, "M_UNKNOWN")
        assert alice.delete(f"{path}/override/.m.rule.master").status_code in (400, 404)
        assert ok(alice.get(f"{path}/override/.m.rule.master"))["default"] is True
        refused(alice.get(f"{path}/override/nothing/enabled"), 404, "M_NOT_FOUND")

    def test_enabling_and_actions(self, server: HearthServer) -> None:
        alice = server.register("alice")
        rule = "/pushrules/global/underride/.m.rule.message"
        assert ok(alice.get(f"{rule}/enabled")) == {"enabled": True}
        ok(alice.put(f"{rule}/enabled", {"enabled": False}))
        assert ok(alice.get(f"{rule}/enabled")) == {"enabled": False}
        assert ok(alice.get(rule))["enabled"] is False
        actions = ["notify", {"set_tweak": "sound", "value": "ping"}]
        ok(alice.put(f"{rule}/actions", {"actions": actions}))
        assert ok(alice.get(f"{rule}/actions")) == {"actions": actions}
        assert ok(alice.get(rule))["default"] is True
        for wrong in ({"enabled": 1}, {}, {"enabled": None}):
            assert alice.put(f"{rule}/enabled", wrong).status_code == 400
        alice.sync()
        own = "/pushrules/global/sender/" + quote("@x:localhost", safe="")
        ok(alice.put(own, {"actions": []}))
        [event] = [each for each in alice.sync()["account_data"]["events"] if each["type"] == "m.push_rules"]
        assert [each["rule_id"] for each in event["content"]["global"]["sender"]] == ["@x:localhost"]

    def counts(self, reader: Client, room_id: str) -> tuple[int, int]:
        unread = joined(reader.sync(since=None), room_id)["unread_notifications"]
        return unread["notification_count"], unread["highlight_count"]

    def test_what_notifies(self, server: HearthServer) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        third = server.register("carol")
        room_id = alice.create_room(invite=[bob.user_id, third.user_id])
        bob.join(room_id)
        third.join(room_id)
        mine = quote(bob.user_id)
        ok(bob.put(f"/profile/{mine}/displayname", {"displayname": "Bobby Tables"}))
        text = {"msgtype": "m.text"}
        empty: Json = {"m.mentions": {}}
        cases: list[tuple[Json, tuple[int, int]]] = [
            (text | {"body": "plain"}, (1, 0)),
            ({"msgtype": "m.notice", "body": "a notice"}, (0, 0)),
            (text | {"body": "hi bobby tables"}, (1, 0)),
            (text | {"body": "hi bobby tables"} | empty, (1, 0)),
            (text | {"body": "x", "m.mentions": {"user_ids": [bob.user_id]}}, (1, 1)),
            (text | {"body": "@room look"}, (1, 0)),
            (text | {"body": "x", "m.mentions": {"room": True}}, (1, 1)),
            (text | {"body": "x", "m.relates_to": {"rel_type": "m.replace", "event_id": "$x"}}, (0, 0)),
        ]
        for content, expected in cases:
            event_id = alice.send(room_id, content)
            assert self.counts(bob, room_id) == expected, content
            ok(bob.post(f"{room_path(room_id)}/receipt/m.read/{quote(event_id, safe='')}"))
            assert self.counts(bob, room_id) == (0, 0)
        third.send(room_id, text | {"body": "without the power", "m.mentions": {"room": True}})
        assert self.counts(bob, room_id) == (1, 0)


def test_typing_says_who_and_not_how_long(server: HearthServer) -> None:
    alice, bob, room_id = together(server)
    path = f"{room_path(room_id)}/typing/{quote(bob.user_id)}"
    ok(bob.put(path, {"typing": True, "timeout": 30_000}))

    def typing(sync: Json) -> Any:
        events = joined(sync, room_id).get("ephemeral", {}).get("events", [])
        return [each["content"]["user_ids"] for each in events if each["type"] == "m.typing"]

    assert alice.sync_until(typing) == [[bob.user_id]]
    ok(bob.put(path, {"typing": False}))
    assert alice.sync_until(typing) == [[]]
    assert bob.put(path, {"typing": "yes"}).status_code == 400
    assert bob.put(path, {}).status_code == 400
    refused(bob.put(path.replace("bob", "alice"), {"typing": True}), 403, "M_FORBIDDEN")
