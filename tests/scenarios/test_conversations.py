"""Edits, reactions, threads and references over HTTP: relations, what is bundled, threads, dates, reports."""

import json
import threading
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.harness import Client, HearthServer, Json, joined, ok, refused, room_path

V1 = "/_matrix/client/v1"


def relating(rel_type: str, event_id: str, body: str = "child", **relation: Any) -> Json:
    return {
        "msgtype": "m.text",
        "body": body,
        "m.relates_to": {"rel_type": rel_type, "event_id": event_id, **relation},
    }


def edit(client: Client, room_id: str, event_id: str, body: str, **content: Any) -> str:
    new = {"msgtype": "m.text", "body": body}
    return client.send(
        room_id, {**relating("m.replace", event_id, f"* {body}"), "m.new_content": new, **content}
    )


def react(client: Client, room_id: str, event_id: str, key: str) -> httpx.Response:
    relation = {"m.relates_to": {"rel_type": "m.annotation", "event_id": event_id, "key": key}}
    transaction = f"r{next(client._transactions)}"
    return client.put(f"{room_path(room_id)}/send/m.reaction/{transaction}", relation)


def redact(client: Client, room_id: str, event_id: str) -> None:
    path = f"{room_path(room_id)}/redact/{quote(event_id, safe='')}/x{next(client._transactions)}"
    ok(client.put(path, {}))


def relations(client: Client, room_id: str, event_id: str, *kind: str, **query: Any) -> httpx.Response:
    path = "/".join(quote(part, safe="") for part in (event_id, *kind))
    return client.get(f"{V1}{room_path(room_id)}/relations/{path}", **query)


def chunk(response: httpx.Response) -> list[str]:
    return [event["event_id"] for event in ok(response)["chunk"]]


def threads(client: Client, room_id: str, **query: Any) -> httpx.Response:
    return client.get(f"{V1}{room_path(room_id)}/threads", **query)


def one(client: Client, room_id: str, event_id: str) -> Json:
    return ok(client.get(f"{room_path(room_id)}/event/{quote(event_id, safe='')}"))


def bundled(event: Json) -> Json:
    found: Json = event["unsigned"].get("m.relations", {})
    return found


def bundle(client: Client, room_id: str, event_id: str) -> Json:
    return bundled(one(client, room_id, event_id))


def ignore(client: Client, *others: Client) -> None:
    listed: Json = {other.user_id: {} for other in others}
    path = f"/user/{quote(client.user_id, safe='')}/account_data/m.ignored_user_list"
    ok(client.put(path, {"ignored_users": listed}))


@pytest.fixture
def people(server: HearthServer) -> tuple[Client, Client, str]:
    alice, bob = server.register("alice"), server.register("bob")
    room_id = alice.create_room(preset="public_chat")
    bob.join(room_id)
    return alice, bob, room_id


People = tuple[Client, Client, str]


class TestRelations:
    def test_by_kind_and_in_both_directions(self, people: People) -> None:
        alice, bob, room_id = people
        root = alice.send(room_id, "root")
        reply = bob.send(room_id, relating("m.thread", root))
        reaction = ok(react(bob, room_id, root, "+1"))["event_id"]
        second = alice.send(room_id, relating("m.thread", root))
        assert chunk(relations(alice, room_id, root)) == [second, reaction, reply]
        assert chunk(relations(alice, room_id, root, dir="f")) == [reply, reaction, second]
        assert chunk(relations(alice, room_id, root, "m.thread")) == [second, reply]
        assert chunk(relations(alice, room_id, root, "m.thread", "m.room.message")) == [second, reply]
        assert chunk(relations(alice, room_id, root, "m.thread", "m.reaction")) == []
        assert chunk(relations(alice, room_id, root, "m.reference")) == []

    @pytest.mark.parametrize("direction", ["b", "f"])
    def test_pages(self, people: People, direction: str) -> None:
        alice, _, room_id = people
        root = alice.send(room_id, "root")
        replies = []
        for _ in range(5):
            replies.append(alice.send(room_id, relating("m.thread", root)))
            alice.send(room_id, "between")
        seen: list[str] = []
        query: Json = {"limit": 2, "dir": direction}
        pages = 0
        while True:
            page = ok(relations(alice, room_id, root, "m.thread", **query))
            assert ("prev_batch" in page) == ("from" in query)
            seen += [event["event_id"] for event in page["chunk"]]
            pages += 1
            if "next_batch" not in page:
                break
            query["from"] = page["next_batch"]
        assert pages == 3
        assert seen == (replies if direction == "f" else replies[::-1])
        # And back from where the last page began.
        back = {"dir": "f" if direction == "b" else "b", "from": query["from"]}
        assert chunk(relations(alice, room_id, root, "m.thread", **back)) == seen[:4][::-1]

    def test_tokens_of_sync_and_messages(self, people: People) -> None:
        alice, _, room_id = people
        root = alice.send(room_id, "root")
        first = alice.send(room_id, relating("m.thread", root))
        token = alice.sync()["next_batch"]
        second = alice.send(room_id, relating("m.thread", root))
        assert chunk(relations(alice, room_id, root, **{"from": token})) == [first]
        assert chunk(relations(alice, room_id, root, to=token)) == [second]
        start = ok(alice.get(f"{room_path(room_id)}/messages", dir="b", limit=1))["end"]
        assert chunk(relations(alice, room_id, root, **{"from": start})) == [first]

    def test_recursion(self, people: People) -> None:
        alice, bob, room_id = people
        root = alice.send(room_id, "root")
        reply = alice.send(room_id, relating("m.thread", root))
        edited = edit(alice, room_id, reply, "better")
        reaction = ok(react(bob, room_id, reply, "+1"))["event_id"]
        page = ok(relations(alice, room_id, root, recurse="true"))
        assert [event["event_id"] for event in page["chunk"]] == [reaction, edited, reply]
        assert page["recursion_depth"] >= 3
        assert chunk(relations(alice, room_id, root)) == [reply]
        assert "recursion_depth" not in ok(relations(alice, room_id, root))
        assert chunk(relations(alice, room_id, root, "m.thread", recurse="true")) == [reply]
        # What is asked for is said of the events that are found, not of those in between.
        assert chunk(relations(alice, room_id, root, "m.annotation", recurse="true")) == [reaction]
        assert chunk(relations(alice, room_id, root, "m.annotation")) == []
        assert chunk(relations(alice, room_id, root, recurse="true", limit=1, dir="f")) == [reply]

    def test_a_circle_ends(self, people: People) -> None:
        alice, _, room_id = people
        first = alice.send(room_id, "a")
        chain = [first]
        for _ in range(6):
            chain.append(alice.send(room_id, relating("m.reference", chain[-1])))
        assert chunk(relations(alice, room_id, first, recurse="true", dir="f")) == chain[1:5]

    def test_what_was_redacted_or_is_ignored_is_gone(self, server: HearthServer, people: People) -> None:
        alice, bob, room_id = people
        root = alice.send(room_id, "root")
        gone = bob.send(room_id, relating("m.thread", root))
        kept = bob.send(room_id, relating("m.thread", root))
        redact(bob, room_id, gone)
        assert chunk(relations(alice, room_id, root)) == [kept]
        ignore(alice, bob)
        assert chunk(relations(alice, room_id, root)) == []
        assert bundle(alice, room_id, root) == {}
        assert chunk(relations(bob, room_id, root)) == [kept]

    def test_history_one_may_not_see(self, server: HearthServer) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        room_id = alice.create_room(
            preset="public_chat",
            initial_state=[
                {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}
            ],
        )
        early_root = alice.send(room_id, "before Bob")
        bob.join(room_id)
        late_root = alice.send(room_id, "Bob sees this")
        bob.leave(room_id)
        hidden = alice.send(room_id, relating("m.thread", late_root, "while Bob is away"))
        bob.join(room_id)
        shown = alice.send(room_id, relating("m.thread", late_root, "Bob is back"))
        alice.send(room_id, relating("m.thread", early_root, "on what Bob cannot see"))
        refused(relations(bob, room_id, early_root), 404, "M_NOT_FOUND")
        assert chunk(relations(bob, room_id, late_root)) == [shown]
        assert chunk(relations(alice, room_id, late_root)) == [shown, hidden]
        assert bundle(bob, room_id, late_root)["m.thread"]["count"] == 1
        assert bundle(alice, room_id, late_root)["m.thread"]["count"] == 2
        assert chunk(threads(bob, room_id)) == [late_root]
        bob.leave(room_id)
        alice.send(room_id, relating("m.thread", late_root, "Bob is away again"))
        assert chunk(relations(bob, room_id, late_root)) == [shown]
        assert bundle(bob, room_id, late_root)["m.thread"]["count"] == 1
        assert chunk(threads(bob, room_id)) == [late_root]

    def test_refusals(self, server: HearthServer, people: People) -> None:
        alice, _, room_id = people
        root = alice.send(room_id, "root")
        refused(relations(alice, room_id, "$nothing"), 404, "M_NOT_FOUND")
        refused(relations(server.register("carol"), "!nowhere:here", root), 404, "M_NOT_FOUND")
        outsider = server.register("outsider")
        refused(relations(outsider, room_id, root), 404, "M_NOT_FOUND")
        refused(relations(alice, room_id, root, limit=0), 400, "M_INVALID_PARAM")
        refused(relations(alice, room_id, root, dir="x"), 400, "M_INVALID_PARAM")
        refused(relations(alice, room_id, root, **{"from": "x"}), 400, "M_INVALID_PARAM")
        refused(relations(alice, room_id, root, "a\0b"), 400, "M_INVALID_PARAM")


class TestEdits:
    def test_the_last_edit_is_bundled(self, people: People) -> None:
        alice, bob, room_id = people
        event_id = alice.send(room_id, "teh")
        edit(alice, room_id, event_id, "then")
        last = edit(alice, room_id, event_id, "the")
        event = one(bob, room_id, event_id)
        assert event["content"]["body"] == "teh"
        found = bundled(event)["m.replace"]
        assert found["event_id"] == last
        assert found["content"]["m.new_content"]["body"] == "the"
        assert (found["room_id"], found["sender"]) == (room_id, alice.user_id)
        redact(alice, room_id, last)
        assert bundle(bob, room_id, event_id)["m.replace"]["content"]["m.new_content"]["body"] == "then"

    def test_what_is_no_edit(self, people: People) -> None:
        alice, bob, room_id = people
        event_id = alice.send(room_id, "mine")
        edit(bob, room_id, event_id, "not yours")
        alice.send(room_id, relating("m.replace", event_id))  # puts nothing in its place
        alice.send(room_id, {**relating("m.replace", event_id), "m.new_content": {}}, "org.example.other")
        assert bundle(bob, room_id, event_id) == {}
        valid = edit(alice, room_id, event_id, "valid")
        edit(alice, room_id, valid, "an edit of an edit")
        assert bundle(bob, room_id, event_id)["m.replace"]["event_id"] == valid
        assert bundle(bob, room_id, valid) == {}
        other = alice.create_room()
        edit(alice, other, event_id, "from another room")
        assert bundle(bob, room_id, event_id)["m.replace"]["event_id"] == valid
        state = alice.send_state(room_id, "m.room.topic", {"topic": "state"})
        alice.send(room_id, {**relating("m.replace", state), "m.new_content": {}}, "m.room.topic")
        assert bundle(bob, room_id, state) == {}

    def test_encrypted_edits_say_it_inside(self, people: People) -> None:
        alice, bob, room_id = people
        secret = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x", "session_id": "s"}
        event_id = alice.send(room_id, secret, "m.room.encrypted")
        last = alice.send(
            room_id,
            {**secret, "m.relates_to": {"rel_type": "m.replace", "event_id": event_id}},
            "m.room.encrypted",
        )
        edit(alice, room_id, event_id, "in the clear")
        assert bundle(bob, room_id, event_id)["m.replace"]["event_id"] == last

    def test_a_redacted_event_has_no_edit(self, people: People) -> None:
        alice, bob, room_id = people
        event_id = alice.send(room_id, "a")
        edit(alice, room_id, event_id, "b")
        reply = bob.send(room_id, relating("m.thread", event_id))
        redact(alice, room_id, event_id)
        found = bundle(bob, room_id, event_id)
        assert "m.replace" not in found
        assert found["m.thread"]["latest_event"]["event_id"] == reply


class TestBundles:
    def test_threads_and_references(self, people: People) -> None:
        alice, bob, room_id = people
        root = alice.send(room_id, "root")
        assert bundle(alice, room_id, root) == {}
        alice.send(room_id, relating("m.thread", root))
        last = alice.send(room_id, relating("m.thread", root, "last"))
        edited = edit(alice, room_id, last, "better last")
        references = [bob.send(room_id, relating("m.reference", root)) for _ in range(2)]
        found = bundle(bob, room_id, root)
        assert found["m.reference"] == {"chunk": [{"event_id": each} for each in references]}
        thread = found["m.thread"]
        assert (thread["count"], thread["current_user_participated"]) == (2, False)
        assert thread["latest_event"]["event_id"] == last
        assert bundled(thread["latest_event"])["m.replace"]["event_id"] == edited
        assert bundle(alice, room_id, root)["m.thread"]["current_user_participated"] is True
        bob.send(room_id, relating("m.thread", root))
        assert bundle(bob, room_id, root)["m.thread"]["current_user_participated"] is True

    def test_reactions_are_not_bundled(self, people: People) -> None:
        alice, bob, room_id = people
        root = alice.send(room_id, "root")
        ok(react(bob, room_id, root, "+1"))
        assert bundle(alice, room_id, root) == {}

    def test_wherever_events_are_served(self, people: People) -> None:
        alice, bob, room_id = people
        bob.sync()
        root = alice.send(room_id, "root")
        last = alice.send(room_id, relating("m.thread", root))
        alice.send(room_id, "after")
        page = ok(bob.get(f"{room_path(room_id)}/messages", dir="b"))["chunk"]
        context = ok(bob.get(f"{room_path(room_id)}/context/{quote(root, safe='')}"))
        around = ok(bob.get(f"{room_path(room_id)}/context/{quote(last, safe='')}"))["events_before"]
        limited = '{"room":{"timeline":{"limit":3}}}'
        fresh = joined(bob.sync(since=None, filter=limited), room_id)["timeline"]
        assert fresh["limited"]
        for events in (page, [context["event"]], around, fresh["events"]):
            [served] = [event for event in events if event["event_id"] == root]
            assert bundled(served)["m.thread"]["latest_event"]["event_id"] == last
        [inner] = [event for event in fresh["events"] if event["event_id"] == root]
        assert "room_id" not in inner

    def test_an_unbroken_timeline_brings_none(self, people: People) -> None:
        alice, bob, room_id = people
        bob.sync()
        root = alice.send(room_id, "root")
        alice.send(room_id, relating("m.thread", root))
        timeline = joined(bob.sync(), room_id)["timeline"]
        assert not timeline["limited"]
        assert all("m.relations" not in event["unsigned"] for event in timeline["events"])

    def test_when_the_root_is_no_longer_in_memory(self, people: People) -> None:
        alice, bob, room_id = people
        root = alice.send(room_id, "root")
        assert bundle(bob, room_id, root) == {}
        for number in range(70):  # further than what the room keeps in memory
            alice.send(room_id, str(number))
        bob.send(room_id, relating("m.thread", root))
        assert bundle(bob, room_id, root)["m.thread"]["count"] == 1


class TestThreads:
    def test_those_with_the_latest_message_first(self, people: People) -> None:
        alice, bob, room_id = people
        roots = [alice.send(room_id, f"root {number}") for number in range(4)]
        for root in roots[:3]:
            alice.send(room_id, relating("m.thread", root))
        bob.send(room_id, relating("m.thread", roots[0]))
        page = ok(threads(bob, room_id))
        assert [event["event_id"] for event in page["chunk"]] == [roots[0], roots[2], roots[1]]
        assert "next_batch" not in page
        assert [bundled(event)["m.thread"]["count"] for event in page["chunk"]] == [2, 1, 1]
        assert chunk(threads(bob, room_id, include="participated")) == [roots[0]]
        assert chunk(threads(alice, room_id, include="participated")) == [roots[0], roots[2], roots[1]]

    def test_pages(self, people: People) -> None:
        alice, bob, room_id = people
        roots = [alice.send(room_id, f"root {number}") for number in range(5)]
        for root in [*roots, *roots]:
            bob.send(room_id, relating("m.thread", root))
        seen: list[str] = []
        query: Json = {"limit": 2}
        while True:
            page = ok(threads(alice, room_id, **query))
            seen += [event["event_id"] for event in page["chunk"]]
            assert len(page["chunk"]) <= 2
            if "next_batch" not in page:
                break
            query["from"] = page["next_batch"]
        assert seen == roots[::-1]

    def test_an_ignored_root_is_emptied(self, people: People) -> None:
        alice, bob, room_id = people
        root = bob.send(room_id, "what Bob says")
        alice.send(room_id, relating("m.thread", root))
        other = alice.send(room_id, "root")
        bob.send(room_id, relating("m.thread", other))
        ignore(alice, bob)
        [event] = ok(threads(alice, room_id))["chunk"]
        assert (event["event_id"], event["content"]) == (root, {})
        assert bundled(event)["m.thread"]["count"] == 1

    def test_a_redacted_message_brings_no_thread(self, people: People) -> None:
        alice, _, room_id = people
        root = alice.send(room_id, "root")
        reply = alice.send(room_id, relating("m.thread", root))
        redact(alice, room_id, reply)
        assert chunk(threads(alice, room_id)) == []

    def test_no_thread_in_a_thread(self, people: People) -> None:
        alice, _, room_id = people
        root = alice.send(room_id, "root")
        reply = alice.send(room_id, relating("m.thread", root))
        path = f"{room_path(room_id)}/send/m.room.message/nested"
        refused(alice.put(path, relating("m.thread", reply)), 400, "M_UNKNOWN")
        rich = {"body": "reply", "msgtype": "m.text", "m.relates_to": {"m.in_reply_to": {"event_id": root}}}
        alice.send(room_id, relating("m.thread", alice.send(room_id, rich)))

    def test_refusals(self, server: HearthServer, people: People) -> None:
        alice, _, room_id = people
        refused(threads(server.register("carol"), room_id), 403, "M_FORBIDDEN")
        refused(threads(alice, "!nowhere:here"), 403, "M_FORBIDDEN")
        refused(threads(alice, room_id, limit=0), 400, "M_INVALID_PARAM")
        refused(threads(alice, room_id, include="some"), 400, "M_INVALID_PARAM")
        refused(threads(alice, room_id, **{"from": "s1_1"}), 400, "M_INVALID_PARAM")


class TestReactions:
    def test_once_for_each_key(self, people: People) -> None:
        alice, bob, room_id = people
        root = alice.send(room_id, "root")
        first = ok(react(bob, room_id, root, "+1"))["event_id"]
        refused(react(bob, room_id, root, "+1"), 400, "M_DUPLICATE_ANNOTATION")
        ok(react(bob, room_id, root, "-1"))
        ok(react(alice, room_id, root, "+1"))
        redact(bob, room_id, first)
        ok(react(bob, room_id, root, "+1"))

    def test_sent_again_under_the_same_transaction(self, server: HearthServer, people: People) -> None:
        _, bob, room_id = people
        root = bob.send(room_id, "root")
        content = {"m.relates_to": {"rel_type": "m.annotation", "event_id": root, "key": "+1"}}
        first = bob.send(room_id, content, "m.reaction", "once")
        assert bob.send(room_id, content, "m.reaction", "once") == first

    def test_many_taps_at_once_count_once(self, people: People) -> None:
        alice, bob, room_id = people
        root = alice.send(room_id, "root")
        answers: list[int] = []
        taps = [
            threading.Thread(target=lambda: answers.append(react(bob, room_id, root, "+1").status_code))
            for _ in range(6)
        ]
        for tap in taps:
            tap.start()
        for tap in taps:
            tap.join()
        assert sorted(answers) == [200, 400, 400, 400, 400, 400]
        assert len(chunk(relations(alice, room_id, root, "m.annotation"))) == 1


class TestFilters:
    def test_by_what_relates_to_it(self, people: People) -> None:
        alice, bob, room_id = people
        first, second = alice.send(room_id, "first"), alice.send(room_id, "second")
        alice.send(room_id, relating("m.thread", first))
        bob.send(room_id, relating("m.reference", second))

        def matching(**wanted: Any) -> list[str]:
            page = ok(alice.get(f"{room_path(room_id)}/messages", dir="f", filter=json.dumps(wanted)))
            return [event["event_id"] for event in page["chunk"]]

        assert matching(related_by_rel_types=["m.thread"]) == [first]
        assert matching(related_by_rel_types=["m.thread", "m.reference"]) == [first, second]
        assert matching(related_by_senders=[bob.user_id]) == [second]
        assert matching(related_by_senders=[bob.user_id], related_by_rel_types=["m.thread"]) == []
        wanted = json.dumps({"room": {"timeline": {"related_by_rel_types": ["m.thread"]}}})
        timeline = joined(alice.sync(since=None, filter=wanted), room_id)["timeline"]
        assert [event["event_id"] for event in timeline["events"]] == [first]


class TestDates:
    def near(self, client: Client, room_id: str, ts: int, direction: str) -> httpx.Response:
        return client.get(f"{V1}{room_path(room_id)}/timestamp_to_event", ts=ts, dir=direction)

    def test_the_nearest_event(self, server: HearthServer, people: People) -> None:
        alice, _, room_id = people
        event_id = alice.send(room_id, "a")
        ts = one(alice, room_id, event_id)["origin_server_ts"]
        for direction in ("f", "b"):
            found = ok(self.near(alice, room_id, ts, direction))
            assert found["origin_server_ts"] == ts
        assert ok(self.near(alice, room_id, ts + 10**6, "b"))["event_id"] == event_id
        create = ok(self.near(alice, room_id, 0, "f"))["event_id"]
        assert one(alice, room_id, create)["type"] == "m.room.create"
        refused(self.near(alice, room_id, ts + 10**6, "f"), 404, "M_NOT_FOUND")
        refused(self.near(alice, room_id, 1, "b"), 404, "M_NOT_FOUND")

    def test_only_what_one_may_see(self, server: HearthServer) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        visibility = {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}
        room_id = alice.create_room(preset="public_chat", initial_state=[visibility])
        ts = one(alice, room_id, alice.send(room_id, "hidden"))["origin_server_ts"]
        bob.join(room_id)
        found = one(bob, room_id, ok(self.near(bob, room_id, ts, "f"))["event_id"])
        assert (found["type"], found["state_key"]) == ("m.room.member", bob.user_id)

    def test_refusals(self, server: HearthServer, people: People) -> None:
        alice, _, room_id = people
        refused(self.near(server.register("carol"), room_id, 0, "f"), 403, "M_FORBIDDEN")
        refused(self.near(alice, room_id, 2**70, "f"), 400, "M_INVALID_PARAM")
        refused(self.near(alice, room_id, 0, "x"), 400, "M_INVALID_PARAM")
        path = f"{V1}{room_path(room_id)}/timestamp_to_event"
        refused(alice.get(path, dir="f"), 400, "M_MISSING_PARAM")


class TestReports:
    def test_events_rooms_and_people(self, server: HearthServer, people: People) -> None:
        alice, bob, room_id = people
        admin = server.register_admin()
        alice.send_state(room_id, "m.room.name", {"name": "The room"})
        event_id = alice.send(room_id, "rude")
        path = f"{room_path(room_id)}/report"
        body = {"reason": "it is rude", "score": -50}
        assert ok(bob.post(f"{path}/{quote(event_id, safe='')}", body)) == {}
        assert ok(bob.post(path, {"reason": "a rude room"})) == {}
        assert ok(bob.post(f"/users/{quote(alice.user_id, safe='')}/report", {"reason": ""})) == {}
        assert ok(bob.post("/users/%40far%3Aelsewhere/report", {"reason": "far away"})) == {}

        [report] = ok(admin.get("/_synapse/admin/v1/event_reports", room_id=room_id))["event_reports"]
        assert report["event_id"] == event_id
        assert (report["reason"], report["score"], report["name"]) == ("it is rude", -50, "The room")
        assert (report["user_id"], report["sender"]) == (bob.user_id, alice.user_id)
        one_report = f"/_synapse/admin/v1/event_reports/{report['id']}"
        found = ok(admin.get(one_report))
        assert found["event_json"]["content"]["body"] == "rude"
        assert ok(admin.delete(one_report)) == {}
        refused(admin.get(one_report), 404, "M_NOT_FOUND")
        refused(admin.delete(one_report), 404, "M_NOT_FOUND")

        listed = ok(admin.get("/_synapse/admin/v1/room_reports", user_id=bob.user_id))
        assert [each["reason"] for each in listed["room_reports"]] == ["a rude room"]
        listed = ok(admin.get("/_synapse/admin/v1/user_reports", user_id=bob.user_id, dir="f", limit=1))
        assert [each["target_user_id"] for each in listed["user_reports"]] == [alice.user_id]
        assert (listed["total"], listed["next_token"]) == (2, 1)
        rest = {"user_id": bob.user_id, "dir": "f", "from": 1}
        listed = ok(admin.get("/_synapse/admin/v1/user_reports", **rest))
        assert [each["reason"] for each in listed["user_reports"]] == ["far away"]
        assert "next_token" not in listed
        for kind in ("room", "user"):
            listing = f"/_synapse/admin/v1/{kind}_reports"
            [first, *_] = ok(admin.get(listing, user_id=bob.user_id))[f"{kind}_reports"]
            assert ok(admin.get(f"{listing}/{first['id']}"))["id"] == first["id"]
            ok(admin.delete(f"{listing}/{first['id']}"))
            refused(admin.get(f"{listing}/{first['id']}"), 404, "M_NOT_FOUND")

    def test_refusals(self, server: HearthServer, people: People) -> None:
        alice, bob, room_id = people
        event_id = quote(alice.send(room_id, "hello"), safe="")
        path = f"{room_path(room_id)}/report"
        refused(server.register("carol").post(f"{path}/{event_id}", {}), 404, "M_NOT_FOUND")
        refused(bob.post(f"{path}/$nothing", {}), 404, "M_NOT_FOUND")
        refused(bob.post("/rooms/!nowhere:here/report", {"reason": ""}), 404, "M_NOT_FOUND")
        nobody = quote(f"@nobody-at-all:{alice.user_id.partition(':')[2]}", safe="")
        refused(bob.post(f"/users/{nobody}/report", {"reason": ""}), 404, "M_NOT_FOUND")
        refused(bob.post("/users/nobody/report", {"reason": ""}), 400, "M_INVALID_PARAM")
        refused(bob.post(path, {}), 400, "M_BAD_JSON")
        refused(bob.post(path, {"reason": "x" * 20_000}), 400, "M_BAD_JSON")
        bob.leave(room_id)
        refused(bob.post(f"{path}/{event_id}", {"reason": ""}), 404, "M_NOT_FOUND")
        refused(bob.get("/_synapse/admin/v1/event_reports"), 403, "M_FORBIDDEN")


class TestNotifications:
    def listed(self, client: Client, **query: Any) -> list[tuple[str, bool]]:
        page = ok(client.get("/notifications", **query))
        return [(each["event"]["content"].get("body", ""), each["read"]) for each in page["notifications"]]

    def test_what_one_was_notified_of(self, server: HearthServer, people: People) -> None:
        alice, bob, room_id = people
        alice.send(room_id, "one")
        bob.send(room_id, "my own")
        mention = {"msgtype": "m.text", "body": "you", "m.mentions": {"user_ids": [bob.user_id]}}
        alice.send(room_id, mention)
        other = alice.create_room(preset="public_chat", name="other")
        alice.send(other, "before Bob")
        bob.join(other)
        last = alice.send(other, "two")
        assert self.listed(bob) == [("two", False), ("you", False), ("one", True)]
        assert self.listed(bob, only="highlight") == [("you", False)]
        page = ok(bob.get("/notifications", only="highlight"))
        [highlighted] = page["notifications"]
        assert "notify" in highlighted["actions"]
        assert any(
            isinstance(action, dict) and action["set_tweak"] == "highlight"
            for action in highlighted["actions"]
        )
        assert (highlighted["room_id"], "next_token" in page) == (room_id, False)
        ok(bob.post(f"{room_path(other)}/receipt/m.read/{quote(last, safe='')}"))
        assert self.listed(bob)[0] == ("two", True)
        redact(alice, other, last)
        assert self.listed(bob) == [("you", False), ("one", True)]
        ignore(bob, alice)
        assert self.listed(bob) == []
        assert self.listed(alice) == [("my own", True)]

    def test_pages(self, people: People) -> None:
        alice, bob, room_id = people
        rooms = [room_id, *(alice.create_room(preset="public_chat") for _ in range(3))]
        for each in rooms[1:]:
            bob.join(each)
        sent = [alice.send(rooms[number % 4], str(number)) for number in range(9)]
        seen: list[str] = []
        query: Json = {"limit": 4}
        while True:
            page = ok(bob.get("/notifications", **query))
            seen += [each["event"]["event_id"] for each in page["notifications"]]
            if "next_token" not in page:
                break
            query["from"] = page["next_token"]
        assert seen == sent[::-1]

    def test_own_rules_and_invites(self, server: HearthServer, people: People) -> None:
        alice, bob, room_id = people
        invited = alice.create_room()
        alice.invite(invited, bob.user_id)
        alice.send(room_id, "quiet")
        rule = f"/pushrules/global/room/{quote(room_id, safe='')}"
        ok(bob.put(rule, {"actions": []}))
        assert [room for _, room in self.rooms(bob)] == [invited]
        ok(bob.delete(rule))
        assert [room for _, room in self.rooms(bob)] == [room_id, invited]
        bob.leave(room_id)
        assert [room for _, room in self.rooms(bob)] == [invited]

    def rooms(self, client: Client) -> list[tuple[str, str]]:
        page = ok(client.get("/notifications"))
        return [(each["event"]["type"], each["room_id"]) for each in page["notifications"]]

    def test_a_message_to_all_lights_up(self, people: People) -> None:
        alice, bob, room_id = people
        to_all = {"msgtype": "m.text", "body": "all", "m.mentions": {"room": True}}
        alice.send(room_id, to_all)
        alice.send(room_id, "plain")
        assert self.listed(bob, only="highlight") == [("all", False)]

    def test_threads_are_read_apart(self, people: People) -> None:
        alice, bob, room_id = people
        root = alice.send(room_id, "root")
        reply = alice.send(room_id, relating("m.thread", root, "reply"))
        ok(bob.post(f"{room_path(room_id)}/receipt/m.read/{quote(root, safe='')}", {"thread_id": "main"}))
        assert self.listed(bob) == [("reply", False), ("root", True)]
        ok(bob.post(f"{room_path(room_id)}/receipt/m.read/{quote(reply, safe='')}", {"thread_id": root}))
        assert self.listed(bob) == [("reply", True), ("root", True)]

    def test_refusals(self, server: HearthServer) -> None:
        alice = server.register("alice")
        refused(alice.get("/notifications", **{"from": "x"}), 400, "M_INVALID_PARAM")
        refused(alice.get("/notifications", limit=0), 400, "M_INVALID_PARAM")
        assert ok(alice.get("/notifications")) == {"notifications": []}
