"""Administrators suspend and lock accounts, and see where one is used from."""

from urllib.parse import quote

import pytest

from tests.harness import Client, HearthServer, ok, refused, room_path

ADMIN = "/_matrix/client/v1/admin"


def path(kind: str, user_id: str) -> str:
    return f"{ADMIN}/{kind}/{quote(user_id, safe='')}"


def set_flag(admin: Client, kind: str, user: Client, value: bool) -> None:
    flag = {"suspend": "suspended", "lock": "locked"}[kind]
    assert ok(admin.put(path(kind, user.user_id), {flag: value})) == {flag: value}
    assert ok(admin.get(path(kind, user.user_id))) == {flag: value}


def test_suspended_people_read_leave_and_take_back(server: HearthServer) -> None:
    admin, alice, bob = server.register_admin(), server.register("alice"), server.register("bob")
    room_id, other = alice.create_room(preset="public_chat"), alice.create_room(preset="public_chat")
    bob.join(room_id)
    mine, hers = bob.send(room_id, "oh"), alice.send(room_id, "hm")
    set_flag(admin, "suspend", bob, True)
    room = room_path(room_id)
    message = {"msgtype": "m.text", "body": "x"}
    for response in (
        bob.put(f"{room}/send/m.room.message/t", message),
        bob.put(f"{room}/send/m.room.message/u", message, **{"org.matrix.msc4140.delay": 100}),
        bob.put(f"{room}/state/m.x/", {}),
        bob.post(f"/join/{quote(other, safe='')}"),
        bob.post(f"{room}/invite", {"user_id": admin.user_id}),
        bob.post("/createRoom", {}),
        bob.put(f"/profile/{quote(bob.user_id, safe='')}/displayname", {"displayname": "x"}),
        bob.put(f"{room}/redact/{quote(hers, safe='')}/t1", {}),
        bob.put(f"{room}/send/m.room.redaction/t3", {"redacts": hers}),
        bob.put(f"{room}/send/m.room.redaction/t4", {"redacts": 7}),
    ):
        refused(response, 403, "M_USER_SUSPENDED")
    assert "hm" in [event["content"].get("body") for event in bob.timeline(room_id)]
    server.login(bob.user_id)
    ok(bob.put(f"{room}/redact/{quote(mine, safe='')}/t2", {}))
    ok(bob.put(f"{room}/send/m.room.redaction/t5", {"redacts": mine}))
    bob.leave(room_id)
    set_flag(admin, "suspend", bob, False)
    bob.join(other)


def test_what_was_scheduled_is_not_sent_for_the_suspended(server: HearthServer) -> None:
    admin, bob = server.register_admin(), server.register("bob")
    room_id = bob.create_room()
    body = {"msgtype": "m.text", "body": "x"}
    answer = bob.put(
        f"{room_path(room_id)}/send/m.room.message/t", body, **{"org.matrix.msc4140.delay": 60_000}
    )
    set_flag(admin, "suspend", bob, True)
    msc = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events"
    refused(server.client().post(f"{msc}/{ok(answer)['delay_id']}/send"), 403, "M_USER_SUSPENDED")


def test_locked_people_only_log_out(server: HearthServer) -> None:
    admin, bob = server.register_admin(), server.register("bob")
    set_flag(admin, "lock", bob, True)
    assert refused(bob.get("/sync"), 401, "M_USER_LOCKED")["soft_logout"] is True
    login = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": bob.user_id},
        "password": "correct horse battery staple",
    }
    refused(server.client().post("/login", login), 401, "M_USER_LOCKED")
    set_flag(admin, "lock", bob, False)
    ok(bob.get("/account/whoami"))
    set_flag(admin, "lock", bob, True)
    ok(bob.post("/logout"))


@pytest.mark.parametrize(("kind", "flag"), [("suspend", "suspended"), ("lock", "locked")])
def test_who_may_and_whom(server: HearthServer, kind: str, flag: str) -> None:
    admin, other, alice = server.register_admin(), server.register_admin(), server.register("alice")
    for target in (admin, other):
        refused(admin.put(path(kind, target.user_id), {flag: True}), 403, "M_FORBIDDEN")
    refused(admin.put(path(kind, "@nobody:localhost"), {flag: True}), 404, "M_NOT_FOUND")
    refused(admin.get(path(kind, "@nobody:localhost")), 404, "M_NOT_FOUND")
    refused(admin.put(path(kind, "@nobody:elsewhere.example"), {flag: True}), 400, "M_INVALID_PARAM")
    for target_id in ("@nobody:localhost", alice.user_id):
        refused(alice.get(path(kind, target_id)), 403, "M_FORBIDDEN")
        refused(alice.put(path(kind, target_id), {flag: True}), 403, "M_FORBIDDEN")


def test_the_capability_is_for_administrators(server: HearthServer) -> None:
    admin, alice = server.register_admin(), server.register("alice")
    shown = ok(admin.get("/capabilities"))["capabilities"]["m.account_moderation"]
    assert shown == {"suspend": True, "lock": True}
    assert "m.account_moderation" not in ok(alice.get("/capabilities"))["capabilities"]


def test_whois(server: HearthServer) -> None:
    admin, alice, bob = server.register_admin(), server.register("alice"), server.register("bob")
    alice.sync()
    whois = f"/admin/whois/{quote(alice.user_id, safe='')}"
    for asker in (alice, admin):
        answer = ok(asker.get(whois))
        assert answer["user_id"] == alice.user_id
        [session] = answer["devices"][alice.device_id]["sessions"]
        [connection] = session["connections"]
        assert connection["ip"] == "127.0.0.1"
        assert connection["user_agent"].startswith("python-httpx")
        assert connection["last_seen"] > 0
    refused(bob.get(whois), 403, "M_FORBIDDEN")
    refused(admin.get("/admin/whois/@nobody:elsewhere.example"), 400, "M_INVALID_PARAM")
