"""Alice and Bob encrypt, over HTTP: keys, one-time keys, to-device messages, cross-signing, key backup."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.harness import PASSWORD, Client, HearthServer, Json, ok, refused
from tests.homeserver.devices.people import Device, Identity

CURVE = "signed_curve25519"
BACKUP = {"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": {"public_key": "abc"}}
SESSION = {
    "first_message_index": 1,
    "forwarded_count": 0,
    "is_verified": False,
    "session_data": {"ciphertext": "x"},
}


def one_time(*names: str, **more: Any) -> Json:
    return {f"{CURVE}:{name}": {"key": f"key-{name}", "signatures": {}, **more} for name in names}


def upload(client: Client, **keys: Any) -> Json:
    counts: Json = ok(client.post("/keys/upload", keys))["one_time_key_counts"]
    return counts


def with_keys(client: Client) -> Device:
    """Publishes identity keys for the client's device."""
    device = Device(client.user_id, client.device_id)
    upload(client, device_keys=device.keys())
    return device


def query(client: Client, *user_ids: str) -> Json:
    return ok(client.post("/keys/query", {"device_keys": {user_id: [] for user_id in user_ids}}))


def claim(client: Client, other: Client) -> Json:
    body = {"one_time_keys": {other.user_id: {other.device_id: CURVE}}}
    users: Json = ok(client.post("/keys/claim", body))["one_time_keys"]
    claimed: Json = users.get(other.user_id, {}).get(other.device_id, {})
    return claimed


def send_to_device(client: Client, messages: Json, txn_id: str = "1", event_type: str = "m.test") -> None:
    ok(client.put(f"/sendToDevice/{event_type}/{txn_id}", {"messages": messages}))


def events(sync: Json) -> list[Json]:
    return [event["content"] for event in sync.get("to_device", {}).get("events", [])]


def changed(sync: Json) -> list[str]:
    users: list[str] = sync.get("device_lists", {}).get("changed", [])
    return users


def signing_keys(identity: Identity) -> Json:
    """The body for uploading cross-signing keys."""
    return {f"{usage}_key": key for usage, key in identity.keys().items()}


@pytest.fixture
def alice(server: HearthServer) -> Client:
    return server.register("alice")


@pytest.fixture
def bob(server: HearthServer) -> Client:
    return server.register("bob")


def in_a_room(alice: Client, bob: Client) -> str:
    room_id = alice.create_room(invite=[bob.user_id])
    bob.join(room_id)
    alice.sync()
    bob.sync()
    return room_id


class TestDeviceKeys:
    def test_uploaded_keys_are_found_by_others(self, alice: Client, bob: Client) -> None:
        device = with_keys(alice)
        found = query(bob, alice.user_id)["device_keys"][alice.user_id][alice.device_id]
        assert {**found, "unsigned": {}} == {**device.keys(), "unsigned": {}}

    def test_room_mates_hear_of_a_new_device_and_of_its_end(
        self, server: HearthServer, alice: Client, bob: Client
    ) -> None:
        in_a_room(alice, bob)
        tablet = server.login(alice.user_id)
        with_keys(tablet)
        assert changed(bob.sync(timeout=2000)) == [alice.user_id]
        since = bob.since
        ok(tablet.post("/logout"))
        assert changed(bob.sync(timeout=2000)) == [alice.user_id]
        changes = ok(bob.get("/keys/changes", **{"from": since, "to": bob.since}))
        assert changes == {"changed": [alice.user_id], "left": []}
        assert query(bob, alice.user_id)["device_keys"][alice.user_id] == {}

    def test_strangers_hear_nothing(self, alice: Client, bob: Client) -> None:
        bob.sync()
        with_keys(alice)
        assert changed(bob.sync()) == []

    def test_those_who_meet_and_part_hear_of_each_other(self, alice: Client, bob: Client) -> None:
        alice.sync()
        bob.sync()
        room_id = alice.create_room(invite=[bob.user_id])
        bob.join(room_id)
        assert bob.user_id in changed(alice.sync()) and alice.user_id in changed(bob.sync())
        bob.leave(room_id)
        assert alice.sync()["device_lists"]["left"] == [bob.user_id]

    def test_refusals(self, alice: Client, bob: Client) -> None:
        device = Device(alice.user_id, alice.device_id)
        refused(bob.post("/keys/upload", {"device_keys": device.keys()}), 400, "M_INVALID_PARAM")
        refused(alice.post("/keys/upload", {"one_time_keys": {"x": "y"}}), 400, "M_INVALID_PARAM")
        refused(alice.post("/keys/upload", {"device_keys": []}), 400, "M_BAD_JSON")
        refused(alice.post("/keys/query", {"device_keys": {"alice": []}}), 400, "M_INVALID_PARAM")
        refused(alice.post("/keys/query", {}), 400, "M_BAD_JSON")
        refused(alice.get("/keys/changes", **{"from": "x", "to": "y"}), 400, "M_INVALID_PARAM")
        refused(alice.get("/keys/changes"), 400, "M_MISSING_PARAM")


class TestOneTimeKeys:
    def test_counts_and_claims(self, alice: Client, bob: Client) -> None:
        fallback = one_time("F", fallback=True)
        assert upload(alice, one_time_keys=one_time("A", "B"), fallback_keys=fallback) == {CURVE: 2}
        sync = alice.sync()
        assert sync["device_one_time_keys_count"][CURVE] == 2
        assert sync["device_unused_fallback_key_types"] == [CURVE]
        assert claim(bob, alice) == one_time("A") and claim(bob, alice) == one_time("B")
        assert claim(bob, alice) == claim(bob, alice) == fallback
        sync = alice.sync()
        assert sync["device_one_time_keys_count"] == {CURVE: 0}
        assert upload(alice) == {CURVE: 0}
        assert sync["device_unused_fallback_key_types"] == []
        refused(alice.post("/keys/upload", {"one_time_keys": {f"{CURVE}:C": 1}}), 400, "M_BAD_JSON")

    def test_a_different_key_of_the_same_name_is_refused(self, alice: Client) -> None:
        upload(alice, one_time_keys=one_time("A"))
        assert upload(alice, one_time_keys=one_time("A")) == {CURVE: 1}
        body = {"one_time_keys": one_time("A", more=1)}
        refused(alice.post("/keys/upload", body), 400, "M_INVALID_PARAM")


class TestToDevice:
    def test_messages_wait_until_acknowledged(self, server: HearthServer, alice: Client, bob: Client) -> None:
        tablet = server.login(bob.user_id)
        send_to_device(alice, {bob.user_id: {"*": {"n": 1}}})
        send_to_device(alice, {bob.user_id: {"*": {"n": 1}}})
        send_to_device(alice, {bob.user_id: {bob.device_id: {"n": 2}, "NONE": {}}}, "2")
        assert events(bob.sync(since=None)) == events(bob.sync(since=None)) == [{"n": 1}, {"n": 2}]
        assert events(bob.sync()) == []
        assert events(tablet.sync()) == [{"n": 1}]

    def test_a_message_wakes_a_waiting_sync(self, alice: Client, bob: Client) -> None:
        bob.sync()
        send_to_device(alice, {bob.user_id: {bob.device_id: {"n": 1}}})
        assert bob.sync_until(events) == [{"n": 1}]

    def test_many_messages_come_in_order_without_loss(self, alice: Client, bob: Client) -> None:
        bob.sync()
        for number in range(130):
            send_to_device(alice, {bob.user_id: {bob.device_id: {"n": number}}}, f"t{number}")
        got: list[Json] = []
        while batch := events(bob.sync()):
            assert len(batch) <= 100
            got += batch
        assert got == [{"n": number} for number in range(130)]

    def test_survive_a_restart(self, server: HearthServer, alice: Client, bob: Client) -> None:
        bob.sync()
        send_to_device(alice, {bob.user_id: {bob.device_id: {"n": 1}}}, "before")
        server.restart()
        send_to_device(alice, {bob.user_id: {bob.device_id: {"n": 1}}}, "before")
        assert events(bob.sync()) == [{"n": 1}]

    def test_refusals(self, alice: Client, bob: Client) -> None:
        path = "/sendToDevice/m.test/1"
        refused(alice.put(path, {}), 400, "M_BAD_JSON")
        refused(alice.put(path, {"messages": {bob.user_id: {"X": 1}}}), 400, "M_BAD_JSON")
        refused(alice.put(path, {"messages": {"bob": {}}}), 400, "M_INVALID_PARAM")
        large = {"messages": {bob.user_id: {bob.device_id: {"x": "x" * 70_000}}}}
        refused(alice.put(path, large), 413, "M_TOO_LARGE")


class TestCrossSigning:
    def test_bob_signs_alice_and_only_bob_sees_it(self, alice: Client, bob: Client) -> None:
        in_a_room(alice, bob)
        phone = with_keys(alice)
        hers, his = Identity(alice.user_id), Identity(bob.user_id)
        for client, identity in ((alice, hers), (bob, his)):
            ok(client.post("/keys/device_signing/upload", signing_keys(identity)))
        assert alice.user_id in changed(bob.sync(timeout=2000))
        own = {alice.user_id: {alice.device_id: hers.sign(phone.keys(), "self_signing")}}
        assert ok(alice.post("/keys/signatures/upload", own)) == {"failures": {}}
        signed = {alice.user_id: {hers.public("master"): his.sign(hers.key("master"), "user_signing")}}
        assert ok(bob.post("/keys/signatures/upload", signed)) == {"failures": {}}

        seen_by_bob, seen_by_alice = query(bob, alice.user_id), query(alice, alice.user_id)
        assert set(seen_by_bob["master_keys"][alice.user_id]["signatures"]) == {bob.user_id}
        assert bob.user_id not in seen_by_alice["master_keys"][alice.user_id].get("signatures", {})
        device = seen_by_bob["device_keys"][alice.user_id][alice.device_id]
        assert f"ed25519:{hers.public('self_signing')}" in device["signatures"][alice.user_id]
        assert seen_by_bob["user_signing_keys"] == {}
        assert set(seen_by_alice["user_signing_keys"]) == {alice.user_id}

    def test_replacing_keys_asks_for_the_password(self, alice: Client) -> None:
        first, second = (signing_keys(Identity(alice.user_id)) for _ in range(2))
        ok(alice.post("/keys/device_signing/upload", first))
        ok(alice.post("/keys/device_signing/upload", first))
        asked = alice.post("/keys/device_signing/upload", second)
        assert asked.status_code == 401 and {"stages": ["m.login.password"]} in asked.json()["flows"]
        assert query(alice, alice.user_id)["master_keys"][alice.user_id] == first["master_key"]
        auth = {
            "type": "m.login.password",
            "session": asked.json()["session"],
            "identifier": {"type": "m.id.user", "user": alice.user_id},
            "password": PASSWORD,
        }
        ok(alice.post("/keys/device_signing/upload", {**second, "auth": auth}))
        assert query(alice, alice.user_id)["master_keys"][alice.user_id] == second["master_key"]

    def test_refusals(self, alice: Client) -> None:
        identity, stranger = Identity(alice.user_id), Identity(alice.user_id)
        path = "/keys/device_signing/upload"
        refused(alice.post(path, {}), 400, "M_MISSING_PARAM")
        refused(alice.post(path, {"self_signing_key": identity.key("self_signing")}), 400, "M_MISSING_PARAM")
        mixed = {"master_key": identity.key("master"), "self_signing_key": stranger.key("self_signing")}
        refused(alice.post(path, mixed), 400, "M_INVALID_SIGNATURE")
        failures = ok(alice.post("/keys/signatures/upload", {alice.user_id: {"NONE": {}}}))["failures"]
        assert failures[alice.user_id]["NONE"]["errcode"] == "M_NOT_FOUND"


class TestKeyBackup:
    def test_a_backup_from_beginning_to_end(self, alice: Client) -> None:
        refused(alice.get("/room_keys/version"), 404, "M_NOT_FOUND")
        version = ok(alice.post("/room_keys/version", BACKUP))["version"]
        room, other = "!room:localhost", "!other:localhost"
        session = f"/room_keys/keys/{quote(room)}/{quote('a/b', safe='')}"
        assert ok(alice.put(session, SESSION, version=version))["count"] == 1
        body: Json = {"sessions": {"c": SESSION}}
        assert ok(alice.put(f"/room_keys/keys/{quote(room)}", body, version=version))["count"] == 2
        body = {"rooms": {room: {"sessions": {"c": SESSION}}, other: {"sessions": {"d": SESSION}}}}
        answer = ok(alice.put("/room_keys/keys", body, version=version))
        assert answer["count"] == 3
        described = ok(alice.get("/room_keys/version"))
        assert described == {**BACKUP, "version": version, **answer}
        assert described == ok(alice.get(f"/room_keys/version/{version}"))

        everything = ok(alice.get("/room_keys/keys", version=version))["rooms"]
        assert set(everything[room]["sessions"]) == {"a/b", "c"}
        assert everything[other] == {"sessions": {"d": SESSION}}
        assert ok(alice.get(f"/room_keys/keys/{quote(other)}", version=version)) == everything[other]
        assert ok(alice.get(session, version=version)) == SESSION
        path = f"/room_keys/keys/{quote(room)}/none"
        refused(alice.get(path, version=version), 404, "M_NOT_FOUND")

        assert ok(alice.delete(f"/room_keys/keys/{quote(room)}/c", version=version))["count"] == 2
        assert ok(alice.delete(f"/room_keys/keys/{quote(other)}", version=version))["count"] == 1
        assert ok(alice.delete("/room_keys/keys", version=version))["count"] == 0
        ok(alice.delete(f"/room_keys/version/{version}"))
        ok(alice.delete(f"/room_keys/version/{version}"))
        refused(alice.get("/room_keys/keys", version=version), 404, "M_NOT_FOUND")

    def test_a_late_device_learns_the_current_version(self, alice: Client) -> None:
        old = ok(alice.post("/room_keys/version", BACKUP))["version"]
        new = ok(alice.post("/room_keys/version", BACKUP))["version"]
        path = "/room_keys/keys/!r:localhost/s"
        error = refused(alice.put(path, SESSION, version=old), 403, "M_WRONG_ROOM_KEYS_VERSION")
        assert error["current_version"] == new

    def test_refusals(self, alice: Client, bob: Client) -> None:
        refused(alice.post("/room_keys/version", {"algorithm": "x"}), 400, "M_BAD_JSON")
        version = ok(alice.post("/room_keys/version", BACKUP))["version"]
        path = "/room_keys/keys/!r:localhost/s"
        refused(alice.put(path, SESSION), 400, "M_MISSING_PARAM")
        for wrong in ({"first_message_index": -1}, {"forwarded_count": 2**70}, {"is_verified": "yes"}):
            refused(alice.put(path, {**SESSION, **wrong}, version=version), 400, "M_BAD_JSON")
        refused(bob.get("/room_keys/keys", version=version), 404, "M_NOT_FOUND")
        for change in ({"algorithm": "other"}, {"version": "77"}):
            answer = alice.put(f"/room_keys/version/{version}", {**BACKUP, **change})
            refused(answer, 400, "M_INVALID_PARAM")
