"""Alice and Bob keep account data, tag rooms, show profiles, read, type and come online, over HTTP."""

import time
from typing import Any
from urllib.parse import quote

import pytest

from tests.harness import Client, HearthServer, Json, joined, ok, refused, room_path

MXC = "mxc://example.org/picture"


def user_path(client: Client) -> str:
    return f"/user/{quote(client.user_id, safe='')}"


def profile_path(client: Client, key: str = "") -> str:
    return f"/profile/{quote(client.user_id, safe='')}" + (f"/{key}" if key else "")


def together(server: HearthServer) -> tuple[Client, Client, str]:
    alice, bob = server.register("alice"), server.register("bob")
    room_id = alice.create_room(invite=[bob.user_id])
    bob.join(room_id)
    alice.sync()
    bob.sync()
    return alice, bob, room_id


def of_type(events: list[Json], event_type: str) -> list[Json]:
    return [event["content"] for event in events if event["type"] == event_type]


def account_data(sync: Json) -> list[Json]:
    events: list[Json] = sync.get("account_data", {}).get("events", [])
    return events


def room_account_data(sync: Json, room_id: str) -> list[Json]:
    events: list[Json] = joined(sync, room_id).get("account_data", {}).get("events", [])
    return events


def ephemeral(sync: Json, room_id: str, event_type: str) -> list[Json]:
    return of_type(joined(sync, room_id).get("ephemeral", {}).get("events", []), event_type)


class TestAccountData:
    def test_what_is_deleted_is_gone_and_other_devices_hear_of_it(self, server: HearthServer) -> None:
        alice, _, room_id = together(server)
        tablet = server.login(alice.user_id)
        unstable = f"/_matrix/client/unstable/org.matrix.msc3391{user_path(alice)}"
        for place in ("", room_path(room_id)):
            path = f"{place}/account_data/org.example.colour"
            ok(alice.put(user_path(alice) + path, {"colour": "red"}))
            tablet.sync()
            ok(alice.delete(unstable + path))
            refused(alice.get(user_path(alice) + path), 404, "M_NOT_FOUND")
            news = tablet.sync()
            heard = room_account_data(news, room_id) if place else account_data(news)
            assert of_type(heard, "org.example.colour") == [{}]
        afresh = server.login(alice.user_id).sync()
        both = [*account_data(afresh), *room_account_data(afresh, room_id)]
        assert of_type(both, "org.example.colour") == []

    def test_reaches_the_other_device_only(self, server: HearthServer) -> None:
        alice, bob, room_id = together(server)
        tablet = server.login(alice.user_id)
        tablet.sync()
        room = f"{user_path(alice)}{room_path(room_id)}"
        ok(alice.put(f"{user_path(alice)}/account_data/org.example.colour", {"colour": "red"}))
        ok(alice.put(f"{room}/account_data/org.example.colour", {"colour": "blue"}))
        news = tablet.sync()
        assert of_type(account_data(news), "org.example.colour") == [{"colour": "red"}]
        assert of_type(room_account_data(news, room_id), "org.example.colour") == [{"colour": "blue"}]
        seen_by_bob = bob.sync()
        assert account_data(seen_by_bob) == [] and room_account_data(seen_by_bob, room_id) == []
        assert ok(tablet.get(f"{user_path(alice)}/account_data/org.example.colour")) == {"colour": "red"}
        everything = tablet.sync(since=None)
        assert of_type(room_account_data(everything, room_id), "org.example.colour") == [{"colour": "blue"}]

    def test_wakes_a_waiting_sync(self, server: HearthServer) -> None:
        alice = server.register("alice")
        alice.sync()
        ok(alice.put(f"{user_path(alice)}/account_data/org.example.x", {"n": 1}))
        assert alice.sync_until(lambda answer: of_type(account_data(answer), "org.example.x")) == [{"n": 1}]

    def test_refusals(self, server: HearthServer) -> None:
        alice, bob, room_id = together(server)
        own, others = f"{user_path(alice)}/account_data", f"{user_path(bob)}/account_data"
        room = f"{user_path(alice)}{room_path(room_id)}/account_data"
        refused(alice.get(f"{own}/org.example.none"), 404, "M_NOT_FOUND")
        refused(alice.get(f"{room}/org.example.none"), 404, "M_NOT_FOUND")
        refused(alice.get(f"{others}/org.example.x"), 403, "M_FORBIDDEN")
        refused(alice.put(f"{others}/org.example.x", {}), 403, "M_FORBIDDEN")
        for path in (own, room):
            for managed in ("m.fully_read", "m.push_rules"):
                refused(alice.put(f"{path}/{managed}", {}), 405, "M_BAD_JSON")
        refused(alice.put(f"{own}/org.example.x", [1]), 400, "M_BAD_JSON")
        bad_room = f"{user_path(alice)}/rooms/{quote('@not:a.room', safe='')}/account_data/x"
        refused(alice.put(bad_room, {}), 400, "M_INVALID_PARAM")
        refused(alice.get(bad_room), 400, "M_INVALID_PARAM")

    def test_push_rules_can_be_read_as_account_data(self, server: HearthServer) -> None:
        alice = server.register("alice")
        assert "global" in ok(alice.get(f"{user_path(alice)}/account_data/m.push_rules"))


class TestTags:
    def test_tags_are_synced(self, server: HearthServer) -> None:
        alice, _, room_id = together(server)
        tags = f"{user_path(alice)}{room_path(room_id)}/tags"
        assert ok(alice.get(tags)) == {"tags": {}}
        ok(alice.put(f"{tags}/m.favourite", {"order": 0.25}))
        ok(alice.put(f"{tags}/{quote('u.Work & play/é', safe='')}", {}))
        both = {"m.favourite": {"order": 0.25}, "u.Work & play/é": {}}
        assert ok(alice.get(tags)) == {"tags": both}
        assert of_type(room_account_data(alice.sync(), room_id), "m.tag") == [{"tags": both}]
        ok(alice.delete(f"{tags}/m.favourite"))
        left: Json = {"u.Work & play/é": {}}
        assert of_type(room_account_data(alice.sync(), room_id), "m.tag") == [{"tags": left}]

    def test_refusals(self, server: HearthServer) -> None:
        alice, bob, room_id = together(server)
        others = f"{user_path(bob)}{room_path(room_id)}/tags"
        refused(alice.get(others), 403, "M_FORBIDDEN")
        refused(alice.put(f"{others}/u.x", {}), 403, "M_FORBIDDEN")
        refused(alice.delete(f"{others}/u.x"), 403, "M_FORBIDDEN")
        own = f"{user_path(alice)}{room_path(room_id)}/tags"
        refused(alice.put(f"{own}/u.x", {"order": "first"}), 400, "M_BAD_JSON")
        refused(alice.put(f"{own}/{'x' * 256}", {}), 400, "M_INVALID_PARAM")


class TestProfiles:
    def test_name_and_avatar_reach_the_rooms(self, server: HearthServer) -> None:
        alice, bob, room_id = together(server)
        ok(alice.put(profile_path(alice, "displayname"), {"displayname": "Alice Liddell"}))
        ok(alice.put(profile_path(alice, "avatar_url"), {"avatar_url": MXC}))
        member = ok(bob.state(room_id, "m.room.member", alice.user_id))
        assert (member["displayname"], member["avatar_url"]) == ("Alice Liddell", MXC)
        assert member["membership"] == "join"
        assert [event["type"] for event in bob.timeline(room_id)] == ["m.room.member"] * 2
        new_room = bob.create_room(preset="public_chat")
        alice.join(new_room)
        assert ok(bob.state(new_room, "m.room.member", alice.user_id))["displayname"] == "Alice Liddell"

    def test_rooms_may_go_on_showing_another_name(self, server: HearthServer) -> None:
        """https://github.com/matrix-org/matrix-spec-proposals/pull/4466"""
        alice = server.register("alice")
        name = f"/profile/{quote(alice.user_id)}/displayname"
        ok(alice.put(name, {"displayname": "Alice"}))
        plain, special = alice.create_room(), alice.create_room()
        nickname = {"membership": "join", "displayname": "Queen", "avatar_url": "mxc://localhost/crown"}
        alice.send_state(special, "m.room.member", nickname, alice.user_id)

        def shown() -> list[Any]:
            states = [ok(alice.state(room, "m.room.member", alice.user_id)) for room in (plain, special)]
            return [state.get("displayname") for state in states]

        def change(value: str, to: str) -> None:
            ok(alice.put(name, {"displayname": value}, **{"computer.gingershaped.msc4466.propagate_to": to}))

        change("Alice L.", "unchanged")
        assert shown() == ["Alice L.", "Queen"]
        assert ok(alice.state(special, "m.room.member", alice.user_id)) == nickname
        change("A.", "none")
        assert shown() == ["Alice L.", "Queen"] and ok(alice.get(name)) == {"displayname": "A."}
        ok(alice.delete(name, **{"computer.gingershaped.msc4466.propagate_to": "unchanged"}))
        assert shown() == ["Alice L.", "Queen"], "neither shows what it was"
        change("Al", "all")
        assert shown() == ["Al", "Al"]
        ok(alice.delete(name, **{"computer.gingershaped.msc4466.propagate_to": "unchanged"}))
        assert shown() == [None, None]
        wrong = {"computer.gingershaped.msc4466.propagate_to": "some"}
        refused(alice.put(name, {"displayname": "x"}, **wrong), 400, "M_INVALID_PARAM")

    def test_custom_fields(self, server: HearthServer) -> None:
        alice, bob, room_id = together(server)
        ok(alice.put(profile_path(alice, "m.tz"), {"m.tz": "Europe/London"}))
        likes = {"org.example.likes": ["tea", {"with": "milk"}]}
        ok(alice.put(profile_path(alice, "org.example.likes"), likes))
        nobody = server.client()
        profile = ok(nobody.get(profile_path(alice)))
        assert profile["m.tz"] == "Europe/London"
        assert profile["org.example.likes"] == ["tea", {"with": "milk"}]
        assert ok(nobody.get(profile_path(alice, "m.tz"))) == {"m.tz": "Europe/London"}
        ok(alice.delete(profile_path(alice, "m.tz")))
        ok(alice.delete(profile_path(alice, "m.tz")))
        refused(nobody.get(profile_path(alice, "m.tz")), 404, "M_NOT_FOUND")
        assert bob.timeline(room_id) == []

    def test_refusals(self, server: HearthServer) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        refused(alice.put(profile_path(bob, "displayname"), {"displayname": "x"}), 403, "M_FORBIDDEN")
        refused(alice.delete(profile_path(bob, "displayname")), 403, "M_FORBIDDEN")
        refused(alice.put(profile_path(alice, "displayname"), {"name": "x"}), 400, "M_MISSING_PARAM")
        refused(alice.put(profile_path(alice, "displayname"), {"displayname": 5}), 400, "M_BAD_JSON")
        endless = {"avatar_url": "mxc://example.org/" + "a" * 1000}
        refused(alice.put(profile_path(alice, "avatar_url"), endless), 400, "M_INVALID_PARAM")
        refused(alice.put(profile_path(alice, "Not-Valid"), {"Not-Valid": 1}), 400, "M_INVALID_PARAM")
        long = "x" * 256
        refused(alice.put(profile_path(alice, long), {long: 1}), 400, "M_KEY_TOO_LARGE")
        big: Json = {"org.example.big": "x" * 65_536}
        refused(alice.put(profile_path(alice, "org.example.big"), big), 400, "M_PROFILE_TOO_LARGE")
        nobody = alice.user_id.replace(":", "-nobody:", 1)
        refused(alice.get(f"/profile/{nobody}"), 404, "M_NOT_FOUND")
        assert alice.get(profile_path(bob)).status_code == 200
        refused(alice.get("/profile/@someone:unreachable.invalid"), 403, "M_FORBIDDEN")
        refused(alice.get("/profile/nonsense"), 400, "M_INVALID_PARAM")


class TestFilters:
    def test_a_filter_is_kept_and_used(self, server: HearthServer) -> None:
        alice, _, room_id = together(server)
        timeline_filter = {"types": ["org.example.*"], "limit": 5}
        definition = {"room": {"timeline": timeline_filter}, "event_fields": ["type"]}
        filter_id = ok(alice.post(f"{user_path(alice)}/filter", definition))["filter_id"]
        assert ok(alice.get(f"{user_path(alice)}/filter/{filter_id}")) == definition
        alice.send(room_id, "not this")
        alice.send(room_id, {"x": 1}, "org.example.this")
        timeline = joined(alice.sync(filter=filter_id), room_id)["timeline"]["events"]
        assert timeline == [{"type": "org.example.this"}]
        alice.send(room_id, "in the form of federation")
        federation = '{"event_format": "federation", "event_fields": ["hashes", "content.body"]}'
        [event] = joined(alice.sync(filter=federation), room_id)["timeline"]["events"]
        assert event["content"] == {"body": "in the form of federation"}
        assert set(event) == {"content", "hashes"}

    def test_refusals(self, server: HearthServer) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        refused(alice.post(f"{user_path(bob)}/filter", {}), 403, "M_FORBIDDEN")
        filter_id = ok(bob.post(f"{user_path(bob)}/filter", {}))["filter_id"]
        refused(alice.get(f"{user_path(bob)}/filter/{filter_id}"), 403, "M_FORBIDDEN")
        refused(alice.get(f"{user_path(alice)}/filter/{filter_id}"), 404, "M_NOT_FOUND")
        refused(alice.post(f"{user_path(alice)}/filter", {"room": {"timeline": 1}}), 400, "M_BAD_JSON")
        refused(alice.get("/sync", filter="unknown"), 400, "M_INVALID_PARAM")
        refused(alice.get("/sync", filter="{"), 400, "M_INVALID_PARAM")
        refused(alice.get("/sync", filter='{"room": 1}'), 400, "M_INVALID_PARAM")


class TestReceipts:
    def read(self, client: Client, room_id: str, event_id: str, kind: str = "m.read", **body: Any) -> None:
        ok(client.post(f"{room_path(room_id)}/receipt/{kind}/{quote(event_id, safe='')}", body))

    def test_public_receipts_are_seen(self, server: HearthServer) -> None:
        alice, bob, room_id = together(server)
        first, second = alice.send(room_id, "one"), alice.send(room_id, "two")
        self.read(bob, room_id, second)
        self.read(bob, room_id, first)
        self.read(bob, room_id, first, thread_id="main")
        [content] = ephemeral(alice.sync(), room_id, "m.receipt")
        assert set(content) == {first, second}
        receipt = content[second]["m.read"][bob.user_id]
        assert receipt["ts"] > 0 and "thread_id" not in receipt
        assert content[first]["m.read"][bob.user_id]["thread_id"] == "main"

    def test_private_receipts_are_not(self, server: HearthServer) -> None:
        alice, bob, room_id = together(server)
        message = alice.send(room_id, "psst")
        bob.sync()
        self.read(bob, room_id, message, "m.read.private")
        assert ephemeral(alice.sync(), room_id, "m.receipt") == []
        [content] = ephemeral(bob.sync(), room_id, "m.receipt")
        assert bob.user_id in content[message]["m.read.private"]
        assert ephemeral(alice.sync(since=None), room_id, "m.receipt") == []

    def test_read_markers(self, server: HearthServer) -> None:
        alice, bob, room_id = together(server)
        first, second = alice.send(room_id, "one"), alice.send(room_id, "two")
        bob.sync()
        markers = {"m.fully_read": first, "m.read": second}
        ok(bob.post(f"{room_path(room_id)}/read_markers", markers))
        news = bob.sync()
        assert of_type(room_account_data(news, room_id), "m.fully_read") == [{"event_id": first}]
        assert second in ephemeral(news, room_id, "m.receipt")[0]
        self.read(bob, room_id, second, "m.fully_read")
        path = f"{user_path(bob)}{room_path(room_id)}/account_data/m.fully_read"
        assert ok(bob.get(path)) == {"event_id": second}
        ok(bob.post(f"{room_path(room_id)}/read_markers", {"m.fully_read": first}))
        assert ok(bob.get(path)) == {"event_id": second}
        ok(bob.post(f"{room_path(room_id)}/read_markers", {}))

    def test_refusals(self, server: HearthServer) -> None:
        alice, bob, room_id = together(server)
        message = alice.send(room_id, "hello")
        stranger = server.register("stranger")
        path = f"{room_path(room_id)}/receipt/m.read/{quote(message, safe='')}"
        refused(stranger.post(path), 403, "M_FORBIDDEN")
        for thread_id in ("", None, 5, "nonsense", "$unknown"):
            refused(bob.post(path, {"thread_id": thread_id}), 400, "M_INVALID_PARAM")
        wrong_type = path.replace("m.read", "org.example.seen")
        refused(bob.post(wrong_type), 400, "M_INVALID_PARAM")
        refused(bob.post(f"{room_path(room_id)}/receipt/m.read/$unknown"), 404, "M_NOT_FOUND")
        refused(bob.post(f"{room_path(room_id)}/read_markers", {"m.fully_read": 5}), 400, "M_BAD_JSON")
        refused(stranger.post(f"{room_path(room_id)}/read_markers", {"m.read": message}), 403, "M_FORBIDDEN")


class TestTyping:
    def test_begins_and_ends(self, server: HearthServer) -> None:
        alice, bob, room_id = together(server)
        path = f"{room_path(room_id)}/typing/{quote(alice.user_id, safe='')}"
        ok(alice.put(path, {"typing": True, "timeout": 30_000}))
        seen = bob.sync_until(lambda answer: ephemeral(answer, room_id, "m.typing"))
        assert seen == [{"user_ids": [alice.user_id]}]
        assert ephemeral(bob.sync(), room_id, "m.typing") == []
        ok(alice.put(path, {"typing": False}))
        assert bob.sync_until(lambda answer: ephemeral(answer, room_id, "m.typing")) == [{"user_ids": []}]

    def test_times_out(self, server: HearthServer) -> None:
        alice, bob, room_id = together(server)
        path = f"{room_path(room_id)}/typing/{quote(alice.user_id, safe='')}"
        ok(alice.put(path, {"typing": True, "timeout": 300}))
        bob.sync_until(lambda answer: {"user_ids": []} in ephemeral(answer, room_id, "m.typing"))

    def test_refusals(self, server: HearthServer) -> None:
        alice, bob, room_id = together(server)
        own = f"{room_path(room_id)}/typing/{quote(alice.user_id, safe='')}"
        refused(bob.put(own, {"typing": True}), 403, "M_FORBIDDEN")
        refused(alice.put(own, {}), 400, "M_BAD_JSON")
        refused(alice.put(own, {"typing": "yes"}), 400, "M_BAD_JSON")
        stranger = server.register("stranger")
        path = f"{room_path(room_id)}/typing/{quote(stranger.user_id, safe='')}"
        refused(stranger.put(path, {"typing": True}), 403, "M_FORBIDDEN")


class TestPresence:
    def path(self, client: Client) -> str:
        return f"/presence/{quote(client.user_id, safe='')}/status"

    def test_a_status_is_seen_by_those_who_share_a_room(self, server: HearthServer) -> None:
        alice, bob, _ = together(server)
        ok(alice.put(self.path(alice), {"presence": "online", "status_msg": "making tea"}))

        def status(answer: Json) -> list[Json]:
            events = answer.get("presence", {}).get("events", [])
            return [
                event["content"] for event in events
                if event["sender"] == alice.user_id and event["content"].get("status_msg") == "making tea"
            ]  # fmt: skip

        [content] = bob.sync_until(status)
        assert content["presence"] == "online" and content["currently_active"] is True
        assert ok(bob.get(self.path(alice)))["status_msg"] == "making tea"

    def test_sync_may_leave_no_trace(self, server: HearthServer) -> None:
        alice, bob, _ = together(server)
        carol = server.register("carol")
        room_id = carol.create_room(invite=[bob.user_id])
        bob.join(room_id)
        carol.sync(set_presence="offline")
        assert ok(bob.get(self.path(carol)))["presence"] == "offline"
        carol.sync()
        assert ok(bob.get(self.path(carol)))["presence"] == "online"

    def test_refusals(self, server: HearthServer) -> None:
        alice, bob, _ = together(server)
        stranger = server.register("stranger")
        refused(stranger.get(self.path(alice)), 403, "M_FORBIDDEN")
        refused(bob.put(self.path(alice), {"presence": "online"}), 403, "M_FORBIDDEN")
        refused(alice.put(self.path(alice), {"presence": "dancing"}), 400, "M_BAD_JSON")
        refused(alice.put(self.path(alice), {}), 400, "M_BAD_JSON")


class TestIgnoring:
    def test_ignored_people_are_not_heard(self, server: HearthServer) -> None:
        alice, bob, room_id = together(server)
        ignored: Json = {"ignored_users": {alice.user_id: {}}}
        ok(bob.put(f"{user_path(bob)}/account_data/m.ignored_user_list", ignored))
        bob.sync()
        alice.send(room_id, "hello?")
        alice.send_state(room_id, "m.room.name", {"name": "still called so"})
        assert [event["type"] for event in bob.timeline(room_id)] == ["m.room.name"]
        alice.create_room(invite=[bob.user_id])
        assert bob.sync().get("rooms", {}).get("invite", {}) == {}
        ok(bob.put(f"{user_path(bob)}/account_data/m.ignored_user_list", {"ignored_users": {}}))
        bob.sync()
        alice.send(room_id, "and now?")
        assert [event["type"] for event in bob.timeline(room_id)] == ["m.room.message"]


@pytest.mark.slow
def test_what_users_keep_survives_a_kill(server: HearthServer) -> None:
    alice, bob, room_id = together(server)
    message = alice.send(room_id, "remember")
    ok(bob.put(f"{user_path(bob)}/account_data/org.example.x", {"kept": True}))
    ok(bob.put(profile_path(bob, "displayname"), {"displayname": "Robert"}))
    ok(bob.post(f"{room_path(room_id)}/receipt/m.read/{quote(message, safe='')}"))
    server.kill()
    server.start()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and bob.get("/versions").status_code != 200:
        time.sleep(0.1)
    everything = bob.sync(since=None)
    assert of_type(account_data(everything), "org.example.x") == [{"kept": True}]
    assert message in ephemeral(everything, room_id, "m.receipt")[0]
    assert ok(alice.get(profile_path(bob, "displayname"))) == {"displayname": "Robert"}
