"""Alice and Bob count what is unread, and change what notifies them, over HTTP."""

from typing import Any
from urllib.parse import quote

from tests.harness import Client, HearthServer, Json, joined, ok, refused, room_path

RULES = "/pushrules/global"
THREADS: Json = {"room": {"timeline": {"unread_thread_notifications": True}}}
NONE: Json = {"notification_count": 0, "highlight_count": 0}


def together(server: HearthServer) -> tuple[Client, Client, str]:
    alice, bob = server.register("alice"), server.register("bob")
    room_id = alice.create_room(invite=[bob.user_id])
    bob.join(room_id)
    alice.sync()
    bob.sync()
    return alice, bob, room_id


def text(body: str = "hello", **content: Any) -> Json:
    return {"msgtype": "m.text", "body": body, **content}


def unread(client: Client, room_id: str) -> tuple[int, int]:
    counts = joined(client.sync(), room_id)["unread_notifications"]
    return counts["notification_count"], counts["highlight_count"]


def push_rules(client: Client) -> list[Json]:
    events: list[Json] = client.sync().get("account_data", {}).get("events", [])
    return [event["content"] for event in events if event["type"] == "m.push_rules"]


class TestUnread:
    def test_messages_count_until_read(self, server: HearthServer) -> None:
        alice, bob, room_id = together(server)
        bob.send(room_id, "one")
        last = bob.send(room_id, text("two", **{"m.mentions": {"user_ids": [alice.user_id]}}))
        assert unread(alice, room_id) == (2, 1)
        assert unread(server.login(alice.user_id), room_id) == (2, 1)
        ok(alice.post(f"{room_path(room_id)}/receipt/m.read/{quote(last, safe='')}"))
        assert unread(alice, room_id) == (0, 0)

    def test_sending_reads(self, server: HearthServer) -> None:
        alice, bob, room_id = together(server)
        bob.send(room_id, "one")
        assert unread(alice, room_id) == (1, 0)
        alice.send(room_id, "two")
        assert unread(alice, room_id) == (0, 0)
        assert unread(bob, room_id) == (1, 0)

    def test_threads_are_apart_for_those_who_ask(self, server: HearthServer) -> None:
        alice, bob, room_id = together(server)
        root = bob.send(room_id, "root")
        relation = {"rel_type": "m.thread", "event_id": root}
        in_thread = bob.send(room_id, text("in thread", **{"m.relates_to": relation}))
        whole = joined(ok(alice.get("/sync")), room_id)
        assert whole["unread_notifications"] == {"notification_count": 2, "highlight_count": 0}
        assert "unread_thread_notifications" not in whole
        created = ok(alice.post(f"/user/{quote(alice.user_id, safe='')}/filter", THREADS))["filter_id"]
        apart = joined(ok(alice.get("/sync", filter=created)), room_id)
        one = {"notification_count": 1, "highlight_count": 0}
        assert apart["unread_notifications"] == one
        assert apart["unread_thread_notifications"] == {root: one}
        path = f"{room_path(room_id)}/receipt/m.read/{quote(in_thread, safe='')}"
        ok(alice.post(path, {"thread_id": root}))
        apart = joined(ok(alice.get("/sync", filter=created)), room_id)
        assert apart["unread_notifications"] == one
        assert apart.get("unread_thread_notifications", {}) == {}

    def test_nothing_before_the_join(self, server: HearthServer) -> None:
        alice, bob, room_id = together(server)
        alice.send(room_id, "before")
        carol = server.register("carol")
        alice.invite(room_id, carol.user_id)
        carol.join(room_id)
        assert joined(carol.sync(), room_id)["unread_notifications"] == NONE


class TestPushRules:
    def test_muting_a_room(self, server: HearthServer) -> None:
        alice, bob, room_id = together(server)
        rule = f"{RULES}/room/{quote(room_id, safe='')}"
        ok(alice.put(rule, {"actions": []}))
        bob.send(room_id, "quiet")
        assert unread(alice, room_id) == (0, 0)
        bob.send(room_id, text("hey", **{"m.mentions": {"user_ids": [alice.user_id]}}))
        assert unread(alice, room_id) == (1, 1)
        ok(alice.delete(rule))
        refused(alice.get(rule), 404, "M_NOT_FOUND")

    def test_keywords(self, server: HearthServer) -> None:
        alice, bob, room_id = together(server)
        body = {"actions": ["notify", {"set_tweak": "highlight"}], "pattern": "cake"}
        ok(alice.put(f"{RULES}/content/cake", body))
        bob.send(room_id, "There is Cake!")
        assert unread(alice, room_id) == (1, 1)

    def test_changes_reach_every_device(self, server: HearthServer) -> None:
        alice = server.register("alice")
        assert len(push_rules(alice)) == 1
        tablet = server.login(alice.user_id)
        tablet.sync()
        ok(alice.put(f"{RULES}/override/.m.rule.master/enabled", {"enabled": True}))
        for device in (alice, tablet):
            (rules,) = push_rules(device)
            assert rules["global"]["override"][0]["enabled"] is True
        assert push_rules(alice) == []
        assert ok(alice.get("/pushrules/")) == ok(alice.get("/pushrules")) == rules

    def test_rules_survive_a_restart(self, server: HearthServer) -> None:
        alice, bob, room_id = together(server)
        ok(alice.put(f"{RULES}/sender/{quote(bob.user_id, safe='')}", {"actions": []}))
        server.restart()
        bob.send(room_id, "unheard")
        assert unread(alice, room_id) == (0, 0)
