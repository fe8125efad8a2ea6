"""Sending, state, redaction by room version, and every way of reading events back.

https://spec.matrix.org/v1.19/client-server-api/#events
"""

import json
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.harness import Client, HearthServer, Json, ok, refused, room_path

sqlite_only = pytest.mark.parametrize("running_server", ["sqlite"], indirect=True)
VERSIONS = [str(number) for number in range(1, 13)]


def event(client: Client, room_id: str, event_id: str) -> Json:
    return ok(client.get(f"{room_path(room_id)}/event/{quote(event_id, safe='')}"))


def redact(client: Client, room_id: str, event_id: str, txn: str = "r", **body: Any) -> httpx.Response:
    path = f"{room_path(room_id)}/redact/{quote(event_id, safe='')}/{txn}{quote(event_id[1:9], safe='')}"
    return client.put(path, body)


def messages(client: Client, room_id: str, **query: Any) -> Json:
    return ok(client.get(f"{room_path(room_id)}/messages", **{"dir": "b", "limit": 100, **query}))


def bodies(events: list[Json]) -> list[str]:
    return [each["content"]["body"] for each in events if "body" in each["content"]]


class TestRedacting:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_what_remains(self, server: HearthServer, version: str) -> None:
        number = int(version)
        alice = server.register("alice")
        room_id = alice.create_room(room_version=version)
        more = {"org.example.more": "gone"}
        levels = ok(alice.state(room_id, "m.room.power_levels"))
        allow = [{"type": "m.room_membership", "room_id": room_id}]
        kept_levels = {
            key: levels[key]
            for key in (
                *("ban", "events", "events_default", "kick", "redact", "state_default", "users"),
                *("users_default", *(("invite",) if number >= 11 else ())),
            )
            if key in levels
        }
        cases: list[tuple[str, Json, Json]] = [
            ("m.room.history_visibility", {"history_visibility": "joined"}, {"history_visibility": "joined"}),
            (
                "m.room.join_rules",
                {"join_rule": "invite", "allow": allow},
                {"join_rule": "invite", **({"allow": allow} if number >= 8 else {})},
            ),
            ("m.room.power_levels", {**levels, "notifications": {"room": 50}}, kept_levels),
            ("m.room.name", {"name": "Name"}, {}),
            ("m.room.topic", {"topic": "Topic"}, {}),
            (
                "m.room.aliases",
                {"aliases": ["#a:localhost"]},
                {"aliases": ["#a:localhost"]} if number < 6 else {},
            ),
            ("m.room.canonical_alias", {}, {}),
        ]
        for event_type, content, kept in cases:
            state_key = "localhost" if event_type == "m.room.aliases" else ""
            event_id = alice.send_state(room_id, event_type, content | more, state_key)
            ok(redact(alice, room_id, event_id, reason="x"))
            seen = event(alice, room_id, event_id)
            assert seen["content"] == kept, event_type
            assert seen["unsigned"]["redacted_because"]["content"]["reason"] == "x"
            assert ok(alice.state(room_id, event_type, state_key)) == kept

    @pytest.mark.parametrize("version", VERSIONS)
    def test_a_member_stays_one(self, server: HearthServer, version: str) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        room_id = alice.create_room(room_version=version, preset="public_chat")
        ok(bob.put(f"/profile/{quote(bob.user_id)}/displayname", {"displayname": "rude"}))
        bob.join(room_id)
        path = f"{room_path(room_id)}/state/m.room.member/{quote(bob.user_id)}"
        event_id = ok(alice.get(path, format="event"))["event_id"]
        ok(redact(alice, room_id, event_id))
        assert ok(alice.get(path)) == {"membership": "join"}
        joined = ok(alice.get(f"{room_path(room_id)}/joined_members"))["joined"]
        assert joined[bob.user_id] == {"display_name": bob.user_id}
        bob.send(room_id, "still here")

    @sqlite_only
    def test_who_may(self, server: HearthServer) -> None:
        alice, bob, carol = (server.register(name) for name in ("alice", "bob", "carol"))
        room_id = alice.create_room(preset="public_chat")
        bob.join(room_id)
        hers, his = alice.send(room_id, "hers"), bob.send(room_id, "his")
        refused(redact(bob, room_id, hers), 403, "M_FORBIDDEN")
        refused(redact(carol, room_id, his), 403, "M_FORBIDDEN")
        first = ok(redact(bob, room_id, his, reason="sorry"))["event_id"]
        assert ok(redact(bob, room_id, his))["event_id"] == first, "the same transaction"
        ok(redact(alice, room_id, his, txn="again"))
        assert event(alice, room_id, his)["unsigned"]["redacted_because"]["event_id"] == first
        refused(redact(alice, room_id, "$nothing"), 404, "M_NOT_FOUND")
        refused(redact(alice, alice.create_room(), hers), 404, "M_NOT_FOUND")
        admin = server.register_admin()
        admin.join(room_id)
        ok(redact(admin, room_id, hers))
        assert event(bob, room_id, hers)["content"] == {}

    @sqlite_only
    @pytest.mark.parametrize("version", ["2", "10", "11", "12"])
    def test_the_redaction_names_its_target_twice(self, server: HearthServer, version: str) -> None:
        alice = server.register("alice")
        room_id = alice.create_room(room_version=version)
        for sent in ("redact", "send"):
            target = alice.send(room_id, "x")
            if sent == "redact":
                redaction = ok(redact(alice, room_id, target))["event_id"]
            else:
                content = {"redacts": target, "reason": "r", "org.example.more": 1}
                redaction = alice.send(room_id, content, "m.room.redaction")
            in_sync = [each for each in alice.timeline(room_id) if each["event_id"] == redaction]
            for seen in (event(alice, room_id, redaction), messages(alice, room_id)["chunk"][0], *in_sync):
                assert seen["redacts"] == seen["content"]["redacts"] == target
                if sent == "send":
                    assert (seen["content"]["reason"], seen["content"]["org.example.more"]) == ("r", 1)
            assert event(alice, room_id, target)["content"] == {}

    @sqlite_only
    def test_a_redacted_redaction_undoes_nothing(self, server: HearthServer) -> None:
        alice = server.register("alice")
        room_id = alice.create_room()
        target = alice.send(room_id, "x")
        redaction = ok(redact(alice, room_id, target, reason="rude words"))["event_id"]
        ok(redact(alice, room_id, redaction))
        assert event(alice, room_id, target)["content"] == {}
        assert "reason" not in event(alice, room_id, redaction)["content"]
        assert "rude words" not in json.dumps(event(alice, room_id, target))


@sqlite_only
class TestSending:
    def test_transactions_are_of_a_device_and_a_path(self, server: HearthServer) -> None:
        alice = server.register("alice")
        here, there = alice.create_room(), alice.create_room()
        first = alice.send(here, "x", transaction_id="1")
        assert alice.send(here, "y", transaction_id="1") == first
        assert alice.send(there, "x", transaction_id="1") != first
        assert alice.send(here, {"body": "x"}, "org.example.type", transaction_id="1") != first
        odd = quote("ä/ %?#", safe="")
        second = alice.send(here, "odd", transaction_id=odd)
        assert alice.send(here, "odd", transaction_id=odd) == second
        assert event(alice, here, second)["unsigned"]["transaction_id"] == "ä/ %?#"

    def test_transactions_survive_a_refreshed_token(self, server: HearthServer) -> None:
        alice = server.register("alice")
        room_id = alice.create_room()
        identifier = {"type": "m.id.user", "user": alice.user_id}
        login = {"type": "m.login.password", "identifier": identifier, "refresh_token": True}
        phone = server.client()
        answer = ok(phone.post("/login", login | {"password": "correct horse battery staple"}))
        phone.adopt(answer)
        first = phone.send(room_id, "x", transaction_id="1")
        renewed = ok(phone.post("/refresh", {"refresh_token": answer["refresh_token"]}))
        phone.adopt(answer | renewed)
        assert phone.send(room_id, "x", transaction_id="1") == first

    def test_content_comes_back_as_it_was_sent(self, server: HearthServer) -> None:
        alice = server.register("alice")
        room_id = alice.create_room()
        content = {
            "body": "é\u0000\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
            "nested": {"list": [1, "two", None, True, {"a": []}], "": "empty key"},
            "big": 2**53 - 1,
            "small": -(2**53) + 1,
            "msgtype": 7,
        }
        event_id = alice.send(room_id, content, "org.example.odd")
        assert event(alice, room_id, event_id)["content"] == content
        assert alice.timeline(room_id, since=None)[-1]["content"] == content

    @pytest.mark.parametrize("value", ["1.5", "1e3", "9007199254740992", "-9007199254740992", "1e400"])
    def test_numbers_that_canonical_json_forbids(self, server: HearthServer, value: str) -> None:
        alice = server.register("alice")
        room_id = alice.create_room()
        path = f"/_matrix/client/v3{room_path(room_id)}/send/m.x/1"
        response = alice.http.put(path, content=f'{{"n": {value}}}'.encode())
        assert response.status_code == 400, response.text
        assert response.json()["errcode"] in ("M_BAD_JSON", "M_NOT_JSON")

    def test_old_rooms_take_floats(self, server: HearthServer) -> None:
        alice = server.register("alice")
        room_id = alice.create_room(room_version="5")
        path = f"{room_path(room_id)}/send/m.x/1"
        assert alice.put(path, {"n": 1.5}).status_code in (200, 400)

    def test_sizes(self, server: HearthServer) -> None:
        alice = server.register("alice")
        room_id = alice.create_room()
        alice.send(room_id, "x" * 60_000)
        path = f"{room_path(room_id)}/send/m.room.message"
        refused(alice.put(f"{path}/1", {"body": "x" * 65_536}), 413, "M_TOO_LARGE")
        refused(alice.put(f"{path}/2", {"body": "é" * 33_000}), 413, "M_TOO_LARGE")
        for event_type in ("t" * 256, "é" * 128):
            response = alice.put(f"{room_path(room_id)}/send/{quote(event_type)}/3", {})
            refused(response, 413, "M_TOO_LARGE")
        state = f"{room_path(room_id)}/state/m.x"
        refused(alice.put(f"{state}/{'k' * 256}", {}), 413, "M_TOO_LARGE")
        ok(alice.put(f"{state}/{'k' * 255}", {}))
        assert alice.put(f"{path}/{'t' * 20_000}", {"body": "x"}).status_code in (200, 400, 413, 414)

    def test_power_is_needed(self, server: HearthServer) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        override = {"events": {"m.room.name": 0, "org.example.high": 75}, "events_default": 10}
        room_id = alice.create_room(preset="public_chat", power_level_content_override=override)
        bob.join(room_id)
        path = room_path(room_id)
        refused(bob.put(f"{path}/send/m.room.message/1", {"body": "x"}), 403, "M_FORBIDDEN")
        refused(bob.put(f"{path}/send/org.example.high/2", {}), 403, "M_FORBIDDEN")
        refused(bob.put(f"{path}/state/m.room.topic/", {"topic": "x"}), 403, "M_FORBIDDEN")
        bob.send_state(room_id, "m.room.name", {"name": "anybody may"})
        refused(bob.put(f"{path}/state/m.room.name/@other:localhost", {}), 403, "M_FORBIDDEN")
        bob.send_state(room_id, "m.room.name", {"name": "own"}, bob.user_id)

    def test_power_levels_are_checked(self, server: HearthServer) -> None:
        alice = server.register("alice")
        room_id = alice.create_room(room_version="11")
        levels = ok(alice.state(room_id, "m.room.power_levels"))
        path = f"{room_path(room_id)}/state/m.room.power_levels/"
        malformed: tuple[Json, ...] = (
            {"users": {"nonsense": 5}},
            {"users": {alice.user_id: "100"}},
            {"users": []},
            {"events": {"m.x": None}},
            {"ban": "50"},
            {"events_default": 1.5},
            {"notifications": {"room": "50"}},
            {"notifications": 7},
        )
        for change in malformed:
            refused(alice.put(path, levels | change), 400, "M_BAD_JSON")
        for change in ({"ban": 101}, {"users": {alice.user_id: 101}}):
            refused(alice.put(path, levels | change), 403, "M_FORBIDDEN")
        assert ok(alice.state(room_id, "m.room.power_levels")) == levels


class TestReading:
    def test_pages_in_both_directions(self, server: HearthServer) -> None:
        alice = server.register("alice")
        room_id = alice.create_room()
        for number in range(7):
            alice.send(room_id, str(number))
        for direction in ("b", "f"):
            seen: list[str] = []
            token: str | None = None
            for _ in range(20):
                query = {"dir": direction, "limit": 3} | ({"from": token} if token else {})
                page = messages(alice, room_id, **query)
                assert len(page["chunk"]) <= 3
                seen += [each["event_id"] for each in page["chunk"]]
                token = page.get("end")
                if token is None:
                    break
            assert token is None, "no end"
            assert len(seen) == len(set(seen)) >= 13
            whole = messages(alice, room_id, dir=direction)
            assert seen == [each["event_id"] for each in whole["chunk"]]
            assert "end" not in whole

    def test_sync_tokens_are_places_in_the_room(self, server: HearthServer) -> None:
        alice = server.register("alice")
        room_id = alice.create_room()
        alice.send(room_id, "before")
        token = alice.sync()["next_batch"]
        alice.send(room_id, "after")
        assert bodies(messages(alice, room_id, dir="f", **{"from": token})["chunk"]) == ["after"]
        assert bodies(messages(alice, room_id, dir="b", **{"from": token})["chunk"]) == ["before"]
        assert bodies(messages(alice, room_id, dir="b", to=token)["chunk"]) == ["after"]
        start = messages(alice, room_id, dir="b", limit=1)
        back = messages(alice, room_id, dir="f", **{"from": start["end"]})
        assert bodies(back["chunk"]) == ["after"]

    @sqlite_only
    def test_filters(self, server: HearthServer) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        room_id = alice.create_room(preset="public_chat")
        bob.join(room_id)
        alice.send(room_id, "hers")
        bob.send(room_id, "his")
        alice.send(room_id, {"body": "pic", "url": "mxc://a/b"})
        alice.send(room_id, {"body": "other"}, "org.example.other")

        def found(**event_filter: Any) -> list[str]:
            return bodies(messages(alice, room_id, dir="f", filter=json.dumps(event_filter))["chunk"])

        assert found(types=["m.room.message"]) == ["hers", "his", "pic"]
        assert found(types=["org.example.*"]) == ["other"]
        assert found(types=["*"], not_types=["m.room.*"]) == ["other"]
        assert found(senders=[bob.user_id]) == ["his"]
        assert found(not_senders=[bob.user_id]) == ["hers", "pic", "other"]
        assert found(senders=[bob.user_id], not_senders=[bob.user_id]) == []
        assert found(contains_url=True) == ["pic"]
        assert found(contains_url=False, types=["m.room.message"]) == ["hers", "his"]
        assert found(rooms=["!other:localhost"]) == []
        assert found(not_rooms=[room_id]) == []
        assert found(types=[]) == []
        assert found(unknown_key=1, types=["m.room.message"]) == ["hers", "his", "pic"]
        lazy = messages(alice, room_id, filter=json.dumps({"lazy_load_members": True}), limit=2)
        senders = {each["sender"] for each in lazy["chunk"]}
        assert {each["state_key"] for each in lazy["state"]} == senders

    @sqlite_only
    def test_context(self, server: HearthServer) -> None:
        alice = server.register("alice")
        room_id = alice.create_room(name="Name")
        ids = [alice.send(room_id, str(number)) for number in range(9)]
        path = f"{room_path(room_id)}/context/{quote(ids[4], safe='')}"
        page = ok(alice.get(path, limit=4))
        assert bodies([page["event"]]) == ["4"]
        assert bodies(page["events_before"]) == ["3", "2"]
        assert bodies(page["events_after"]) == ["5", "6"]
        assert {each["type"] for each in page["state"]} >= {"m.room.create", "m.room.name"}
        assert bodies(messages(alice, room_id, dir="b", limit=1, **{"from": page["start"]})["chunk"]) == ["1"]
        assert bodies(messages(alice, room_id, dir="f", limit=1, **{"from": page["end"]})["chunk"]) == ["7"]
        alone = ok(alice.get(path, limit=0))
        assert alone["events_before"] == alone["events_after"] == []
        assert alone["event"]["event_id"] == ids[4]
        first = ok(alice.get(path.replace(quote(ids[4], safe=""), quote(ids[0], safe="")), limit=100))
        assert bodies(first["events_after"]) == [str(number) for number in range(1, 9)]
        assert first["events_before"][-1]["type"] == "m.room.create"
        for wrong in ("-1", "many"):
            refused(alice.get(path, limit=wrong), 400, "M_INVALID_PARAM")

    @sqlite_only
    def test_the_state_in_a_context_is_that_of_its_end(self, server: HearthServer) -> None:
        alice = server.register("alice")
        room_id = alice.create_room(name="old")
        event_id = alice.send(room_id, "x")
        alice.send(room_id, "y")
        alice.send_state(room_id, "m.room.name", {"name": "new"})
        path = f"{room_path(room_id)}/context/{quote(event_id, safe='')}"
        page = ok(alice.get(path, limit=1))
        [name] = [each["content"] for each in page["state"] if each["type"] == "m.room.name"]
        assert name == {"name": "old"}

    def test_members_at_a_moment(self, server: HearthServer) -> None:
        alice, bob, carol = (server.register(name) for name in ("alice", "bob", "carol"))
        room_id = alice.create_room(preset="public_chat")
        tokens = [alice.sync()["next_batch"]]
        bob.join(room_id)
        tokens.append(alice.sync()["next_batch"])
        alice.ban(room_id, bob.user_id)
        alice.invite(room_id, carol.user_id)
        tokens.append(alice.sync()["next_batch"])

        def members(**query: Any) -> dict[str, str]:
            chunk = ok(alice.get(f"{room_path(room_id)}/members", **query))["chunk"]
            return {each["state_key"]: each["content"]["membership"] for each in chunk}

        a, b, c = alice.user_id, bob.user_id, carol.user_id
        assert members(at=tokens[0]) == {a: "join"}
        assert members(at=tokens[1]) == {a: "join", b: "join"}
        assert members(at=tokens[2]) == members() == {a: "join", b: "ban", c: "invite"}
        assert members(not_membership="ban") == {a: "join", c: "invite"}
        assert members(membership="ban") == {b: "ban"}
        assert members(membership="ban", not_membership="join") == {b: "ban", c: "invite"}
        assert members(membership="knock") == {}

    @sqlite_only
    def test_joined_members(self, server: HearthServer) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        me = quote(alice.user_id)
        ok(alice.put(f"/profile/{me}/displayname", {"displayname": "Alice"}))
        ok(alice.put(f"/profile/{me}/avatar_url", {"avatar_url": "mxc://localhost/a"}))
        room_id = alice.create_room(invite=[bob.user_id])
        assert ok(alice.get(f"{room_path(room_id)}/joined_members")) == {
            "joined": {alice.user_id: {"display_name": "Alice", "avatar_url": "mxc://localhost/a"}}
        }
        refused(bob.get(f"{room_path(room_id)}/joined_members"), 403, "M_FORBIDDEN")

    @sqlite_only
    def test_state(self, server: HearthServer) -> None:
        alice = server.register("alice")
        room_id = alice.create_room()
        path = f"{room_path(room_id)}/state"
        alice.send_state(room_id, "org.example.t", {"k": 1}, "key")
        alice.send_state(room_id, "org.example.t", {"k": 2})
        assert ok(alice.get(f"{path}/org.example.t/key")) == {"k": 1}
        assert ok(alice.get(f"{path}/org.example.t/")) == ok(alice.get(f"{path}/org.example.t")) == {"k": 2}
        full = ok(alice.get(f"{path}/org.example.t/key", format="event"))
        assert (full["state_key"], full["content"], full["room_id"]) == ("key", {"k": 1}, room_id)
        refused(alice.get(f"{path}/org.example.t/other"), 404, "M_NOT_FOUND")
        refused(alice.get(f"{path}/org.example.t/key", format="xml"), 400, "M_INVALID_PARAM")
        refused(alice.post(f"{path}/org.example.t/key", {}), 405, "M_UNRECOGNIZED")
        response = alice.put(f"{path}/m.room.member/{quote(alice.user_id)}", {"membership": "leave"})
        assert ok(response)["event_id"]
        assert ok(alice.get(f"{path}/org.example.t/key")) == {"k": 1}


@sqlite_only
class TestRelations:
    def test_a_page_may_be_filtered_by_relation(self, server: HearthServer) -> None:
        alice = server.register("alice")
        room_id = alice.create_room()
        root = alice.send(room_id, "root")
        relation = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
        alice.send(room_id, {"msgtype": "m.text", "body": "in thread"} | relation)
        alice.send(room_id, "plain")
        event_filter = json.dumps({"related_by_rel_types": ["m.thread"]})
        page = messages(alice, room_id, filter=event_filter)
        assert [each["event_id"] for each in page["chunk"]] == [root]
        event_filter = json.dumps({"related_by_senders": ["@nobody:localhost"]})
        assert messages(alice, room_id, filter=event_filter)["chunk"] == []
