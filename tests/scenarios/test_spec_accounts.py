"""Registering, logging in and out, refreshing, proving who one is, devices, tokens for newcomers, guests.

https://spec.matrix.org/v1.19/client-server-api/#client-authentication
"""

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.harness import PASSWORD, Client, HearthServer, Json, ok, refused, room_path

pytestmark = pytest.mark.parametrize("running_server", ["sqlite"], indirect=True)

DUMMY = {"type": "m.login.dummy"}


def password_of(client: Client, password: str = PASSWORD, **more: Any) -> Json:
    identifier = {"type": "m.id.user", "user": client.user_id}
    return {"type": "m.login.password", "identifier": identifier, "password": password, **more}


def challenged(response: httpx.Response) -> Json:
    """The body of a 401 that asks for authentication."""
    assert response.status_code == 401, response.text
    body: Json = response.json()
    assert body["flows"] and isinstance(body["session"], str), body
    return body


def fresh(server: HearthServer, name: str) -> str:
    """A username nobody has."""
    return f"{name}{next(server._names)}"


def unknown(client: Client, soft: bool = False) -> None:
    body = refused(client.get("/account/whoami"), 401, "M_UNKNOWN_TOKEN")
    assert body.get("soft_logout", False) is soft


class TestRegistering:
    def test_stage_by_stage(self, server: HearthServer) -> None:
        nobody, name = server.client(), fresh(server, "stages")
        wanted = {"username": name, "password": PASSWORD, "initial_device_display_name": "Phone"}
        first = challenged(nobody.post("/register", wanted))
        assert "errcode" not in first and first["params"] == {}
        answer = ok(nobody.post("/register", wanted | {"auth": DUMMY | {"session": first["session"]}}))
        assert answer["user_id"] == f"@{name}:localhost"
        assert answer["home_server"] == "localhost" or "home_server" not in answer
        nobody.adopt(answer)
        [device] = ok(nobody.get("/devices"))["devices"]
        assert (device["device_id"], device["display_name"]) == (answer["device_id"], "Phone")

    def test_names_are_refused_before_authentication(self, server: HearthServer) -> None:
        alice, nobody = server.register("alice"), server.client()
        taken = alice.user_id[1:].partition(":")[0]
        refused(nobody.post("/register", {"username": taken}), 400, "M_USER_IN_USE")
        for name in ("with space", "ünïcode", "", "a:b", "@a", "_" * 300):
            refused(nobody.post("/register", {"username": name}), 400, "M_INVALID_USERNAME")
        refused(nobody.get("/register/available", username=taken), 400, "M_USER_IN_USE")
        refused(nobody.get("/register/available", username="no no"), 400, "M_INVALID_USERNAME")
        refused(nobody.get("/register/available"), 400, "M_MISSING_PARAM")
        assert ok(nobody.get("/register/available", username=fresh(server, "free"))) == {"available": True}

    def test_without_a_login(self, server: HearthServer) -> None:
        body = {"username": fresh(server, "quiet"), "password": PASSWORD, "inhibit_login": True}
        answer = ok(server.client().post("/register", body | {"auth": DUMMY}))
        assert "access_token" not in answer and "device_id" not in answer

    def test_an_unfinished_session_is_worth_nothing(self, server: HearthServer) -> None:
        nobody, name = server.client(), fresh(server, "odd")
        body = {"username": name, "password": PASSWORD}
        for auth in (
            {"type": "m.login.magic"},
            {"session": "nonsense"},
            {"type": "m.login.password", "password": "x"},
        ):
            response = nobody.post("/register", body | {"auth": auth})
            assert response.status_code in (400, 401, 403), (auth, response.text)
        ok(nobody.get("/register/available", username=name))
        assert nobody.post("/register", body | {"auth": "dummy"}).status_code == 400
        assert nobody.post("/register", body | {"auth": {}}).status_code in (400, 401)


class TestLoggingIn:
    def test_ways_to_say_who(self, server: HearthServer) -> None:
        alice, nobody = server.register("alice"), server.client()
        localpart = alice.user_id[1:].partition(":")[0]
        flows = ok(nobody.get("/login"))["flows"]
        assert {"type": "m.login.password"} in [{"type": flow["type"]} for flow in flows]
        login = {"type": "m.login.password", "password": PASSWORD}
        for who in (
            {"identifier": {"type": "m.id.user", "user": localpart}},
            {"identifier": {"type": "m.id.user", "user": alice.user_id}},
            {"user": alice.user_id},
            {"user": localpart},
            {"identifier": {"type": "m.id.user", "user": localpart.upper()}},
        ):
            answer = ok(nobody.post("/login", login | who))
            assert answer["user_id"] == alice.user_id and answer["device_id"]

    def test_refusals(self, server: HearthServer) -> None:
        alice, nobody = server.register("alice"), server.client()
        refused(nobody.post("/login", password_of(alice, "wrong")), 403, "M_FORBIDDEN")
        refused(nobody.post("/login", password_of(alice, "")), 403, "M_FORBIDDEN")
        unknown_user = password_of(alice) | {"identifier": {"type": "m.id.user", "user": "nobody-at-all"}}
        refused(nobody.post("/login", unknown_user), 403, "M_FORBIDDEN")
        assert nobody.post("/login", {}).status_code == 400
        assert nobody.post("/login", {"type": "m.login.sorcery"}).status_code == 400
        assert nobody.post("/login", {"type": 7}).status_code == 400
        assert nobody.post("/login", password_of(alice) | {"password": 7}).status_code == 400
        email = {"type": "m.id.thirdparty", "medium": "email", "address": "a@example.org"}
        response = nobody.post("/login", password_of(alice) | {"identifier": email})
        assert response.status_code in (400, 403)

    def test_a_device_logged_in_again_ends_its_old_tokens(self, server: HearthServer) -> None:
        alice = server.register("alice")
        again = server.login(alice.user_id, device_id=alice.device_id, initial_device_display_name="New")
        assert again.device_id == alice.device_id
        unknown(alice)
        assert len(ok(again.get("/devices"))["devices"]) == 1

    def test_logging_out(self, server: HearthServer) -> None:
        alice = server.register("alice")
        phone, tablet = server.login(alice.user_id), server.login(alice.user_id)
        assert ok(phone.post("/logout")) == {}
        unknown(phone)
        refused(alice.get(f"/devices/{phone.device_id}"), 404, "M_NOT_FOUND")
        ok(alice.get("/account/whoami"))
        ok(alice.post("/logout/all"))
        unknown(alice)
        unknown(tablet)
        refused(alice.post("/logout"), 401, "M_UNKNOWN_TOKEN")
        assert ok(server.login(alice.user_id).get("/account/whoami"))["user_id"] == alice.user_id

    def test_who_am_i(self, server: HearthServer) -> None:
        alice = server.register("alice")
        expected = {"user_id": alice.user_id, "device_id": alice.device_id, "is_guest": False}
        assert ok(alice.get("/account/whoami")) == expected


class TestRefreshing:
    def test_the_old_pair_ends_when_the_new_one_is_used(self, server: HearthServer) -> None:
        alice = server.register("alice")
        answer = ok(server.client().post("/login", password_of(alice, refresh_token=True)))
        assert answer["expires_in_ms"] > 0
        nobody = server.client()
        first = answer["refresh_token"]
        once = ok(nobody.post("/refresh", {"refresh_token": first}))
        twice = ok(nobody.post("/refresh", {"refresh_token": first}))
        phone = server.client()
        phone.adopt(twice | {"user_id": alice.user_id, "device_id": answer["device_id"]})
        assert ok(phone.get("/account/whoami"))["device_id"] == answer["device_id"]
        refused(nobody.post("/refresh", {"refresh_token": first}), 401, "M_UNKNOWN_TOKEN")
        for lost in (once.get("refresh_token"), answer["access_token"], "nonsense", ""):
            refused(nobody.post("/refresh", {"refresh_token": lost}), 401, "M_UNKNOWN_TOKEN")
        assert nobody.post("/refresh", {}).status_code == 400
        ok(phone.post("/logout"))
        refused(nobody.post("/refresh", {"refresh_token": twice["refresh_token"]}), 401, "M_UNKNOWN_TOKEN")

    def test_none_without_asking(self, server: HearthServer) -> None:
        alice = server.register("alice")
        answer = ok(server.client().post("/login", password_of(alice)))
        assert "refresh_token" not in answer


class TestProvingWhoOneIs:
    def test_deleting_a_device(self, server: HearthServer) -> None:
        alice = server.register("alice")
        phone = server.login(alice.user_id)
        path = f"/devices/{phone.device_id}"
        first = challenged(alice.delete(path, {}))
        assert {"stages": ["m.login.password"]} in first["flows"]
        challenged(alice.http.delete(f"/_matrix/client/v3{path}"))
        wrong = challenged(alice.delete(path, {"auth": password_of(alice, "no", session=first["session"])}))
        assert wrong["errcode"] == "M_FORBIDDEN" and wrong["session"] == first["session"]
        mallory = server.register("mallory")
        as_mallory = password_of(mallory, session=first["session"])
        refused(alice.delete(path, {"auth": as_mallory}), 403, "M_FORBIDDEN")
        ok(phone.get("/account/whoami"))
        assert ok(alice.delete(path, {"auth": password_of(alice, session=first["session"])})) == {}
        unknown(phone)

    def test_a_session_is_for_one_deed_only(self, server: HearthServer) -> None:
        alice = server.register("alice")
        phone, tablet = server.login(alice.user_id), server.login(alice.user_id)
        session = challenged(alice.delete(f"/devices/{phone.device_id}", {}))["session"]
        auth = {"auth": password_of(alice, session=session)}
        response = alice.delete(f"/devices/{tablet.device_id}", auth)
        assert response.status_code in (400, 401, 403), response.text
        ok(tablet.get("/account/whoami"))
        ok(alice.delete(f"/devices/{phone.device_id}", auth))
        response = alice.post(
            "/delete_devices", {"devices": [tablet.device_id], "auth": {"session": session}}
        )
        assert response.status_code in (400, 401, 403), response.text
        ok(tablet.get("/account/whoami"))

    def test_other_peoples_sessions(self, server: HearthServer) -> None:
        alice, mallory = server.register("alice"), server.register("mallory")
        phone = server.login(alice.user_id)
        session = challenged(alice.post("/delete_devices", {"devices": [phone.device_id]}))["session"]
        body = {"devices": [phone.device_id], "auth": password_of(mallory, session=session)}
        assert mallory.post("/delete_devices", body).status_code in (400, 401, 403)
        body = {"devices": [phone.device_id], "auth": password_of(mallory)}
        assert mallory.post("/delete_devices", body).status_code in (200, 401)
        ok(phone.get("/account/whoami"))

    def test_several_devices(self, server: HearthServer) -> None:
        alice = server.register("alice")
        phone, tablet = server.login(alice.user_id), server.login(alice.user_id)
        body = {"devices": [phone.device_id, tablet.device_id, "NOSUCH"]}
        challenged(alice.post("/delete_devices", body))
        assert ok(alice.post("/delete_devices", body | {"auth": password_of(alice)})) == {}
        unknown(phone)
        unknown(tablet)
        assert alice.post("/delete_devices", {}).status_code == 400
        ok(alice.delete("/devices/NOSUCH", {"auth": password_of(alice)}))

    def test_a_new_password(self, server: HearthServer) -> None:
        alice = server.register("alice")
        phone = server.login(alice.user_id)
        keep = {"new_password": "n3w secret!", "logout_devices": False}
        challenged(alice.post("/account/password", keep))
        ok(alice.post("/account/password", keep | {"auth": password_of(alice)}))
        ok(phone.get("/account/whoami"))
        refused(server.client().post("/login", password_of(alice)), 403, "M_FORBIDDEN")
        ok(
            alice.post(
                "/account/password", {"new_password": PASSWORD, "auth": password_of(alice, "n3w secret!")}
            )
        )
        unknown(phone)
        ok(alice.get("/account/whoami"))
        assert len(ok(alice.get("/devices"))["devices"]) == 1

    def test_deactivating(self, server: HearthServer) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        room_id = bob.create_room(preset="public_chat")
        alice.join(room_id)
        challenged(alice.post("/account/deactivate"))
        gone = ok(alice.post("/account/deactivate", {"auth": password_of(alice)}))
        assert gone["id_server_unbind_result"] in ("success", "no-support")
        unknown(alice)
        response = server.client().post("/login", password_of(alice))
        assert response.status_code == 403
        assert response.json()["errcode"] in ("M_USER_DEACTIVATED", "M_FORBIDDEN")
        name = alice.user_id[1:].partition(":")[0]
        refused(server.client().post("/register", {"username": name}), 400, "M_USER_IN_USE")
        deadline = time.monotonic() + 5
        while alice.user_id in ok(bob.get(f"{room_path(room_id)}/joined_members"))["joined"]:
            assert time.monotonic() < deadline, "still there"
            time.sleep(0.05)


class TestDevices:
    def test_reading_and_naming(self, server: HearthServer) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        path = f"/devices/{alice.device_id}"
        assert ok(alice.put(path, {"display_name": "Desk"})) == {}
        assert ok(alice.get(path))["display_name"] == "Desk"
        assert ok(alice.put(path, {})) == {}
        assert ok(alice.get(path))["display_name"] == "Desk"
        seen = ok(alice.get(path))
        assert seen["last_seen_ip"] == "127.0.0.1" and abs(seen["last_seen_ts"] / 1000 - time.time()) < 120
        refused(bob.get(path), 404, "M_NOT_FOUND")
        refused(bob.put(path, {"display_name": "x"}), 404, "M_NOT_FOUND")
        assert alice.put(path, {"display_name": 7}).status_code == 400
        refused(alice.put(path, {"display_name": "x" * 10_000}), 400, "M_TOO_LARGE")

    def test_odd_device_ids(self, server: HearthServer) -> None:
        alice = server.register("alice")
        phone = server.login(alice.user_id, device_id="a/b c%ü")
        assert phone.device_id == "a/b c%ü"
        assert ok(alice.get(f"/devices/{quote('a/b c%ü', safe='')}"))["device_id"] == "a/b c%ü"
        response = server.client().post("/login", password_of(alice, device_id="x" * 2000))
        assert response.status_code == 400


@pytest.fixture(scope="module")
def private_server(running_server: HearthServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server for those who have a registration token, and for guests; tokens do not live long."""
    settings = {
        "registration_requires_token": True,
        "allow_guest_access": True,
        "refreshable_access_token_lifetime": "1s",
        "nonrefreshable_access_token_lifetime": "30m",
    }
    with HearthServer("sqlite", tmp_path_factory.mktemp("private"), settings=settings) as private:
        yield private
        assert not private.internal_errors()


def make_user(server: HearthServer, admin: Client) -> Client:
    """An account made with a registration token of one use."""
    token = ok(admin.post("/_synapse/admin/v1/registration_tokens/new", {"uses_allowed": 1}))["token"]
    body = {"username": fresh(server, "member"), "password": PASSWORD}
    client = server.client()
    session = challenged(client.post("/register", body))["session"]
    auth = {"type": "m.login.registration_token", "token": token, "session": session}
    answer = client.post("/register", body | {"auth": auth})
    if answer.status_code == 401:
        answer = client.post("/register", body | {"auth": DUMMY | {"session": session}})
    client.adopt(ok(answer))
    return client


class TestRegistrationTokens:
    def test_one_use(self, private_server: HearthServer) -> None:
        admin, nobody = private_server.register_admin(), private_server.client()
        body: Json = {"uses_allowed": 1}
        token = ok(admin.post("/_synapse/admin/v1/registration_tokens/new", body))["token"]
        path = "/_matrix/client/v1/register/m.login.registration_token/validity"
        assert ok(nobody.get(path, token=token)) == {"valid": True}
        assert ok(nobody.get(path, token="nonsense")) == {"valid": False}
        refused(nobody.get(path), 400, "M_MISSING_PARAM")
        wanted = {"username": fresh(private_server, "new"), "password": PASSWORD}
        first = challenged(nobody.post("/register", wanted))
        assert all("m.login.registration_token" in flow["stages"] for flow in first["flows"])
        auth = {"type": "m.login.registration_token", "session": first["session"]}
        wrong = challenged(nobody.post("/register", wanted | {"auth": auth | {"token": "nonsense"}}))
        assert wrong["errcode"] in ("M_UNAUTHORIZED", "M_FORBIDDEN")
        assert "m.login.registration_token" not in wrong.get("completed", [])
        dummy = DUMMY | {"session": first["session"]}
        assert nobody.post("/register", wanted | {"auth": dummy}).status_code in (400, 401)
        response = nobody.post("/register", wanted | {"auth": auth | {"token": token}})
        if response.status_code == 401:
            assert response.json()["completed"] == ["m.login.registration_token"]
            response = nobody.post("/register", wanted | {"auth": dummy})
        assert ok(response)["access_token"]
        assert ok(nobody.get(path, token=token)) == {"valid": False}
        again = {"username": fresh(private_server, "late"), "password": PASSWORD}
        session = challenged(nobody.post("/register", again))["session"]
        late = auth | {"token": token, "session": session}
        assert challenged(nobody.post("/register", again | {"auth": late}))["errcode"]


class TestSoftLogout:
    def test_an_expired_token_is_softly_logged_out(self, private_server: HearthServer) -> None:
        alice = make_user(private_server, private_server.register_admin())
        answer = ok(private_server.client().post("/login", password_of(alice, refresh_token=True)))
        phone = private_server.client()
        phone.adopt(answer)
        assert 0 < answer["expires_in_ms"] <= 1000
        time.sleep(1.1)
        unknown(phone, soft=True)
        renewed = ok(private_server.client().post("/refresh", {"refresh_token": answer["refresh_token"]}))
        phone.adopt(answer | renewed)
        assert ok(phone.get("/account/whoami"))["device_id"] == answer["device_id"]


class TestGuests:
    @pytest.fixture
    def guest(self, private_server: HearthServer) -> Client:
        guest = private_server.client()
        body = {"username": "ignored", "device_id": "IGNORED", "password": "x"}
        answer = ok(guest.http.post("/_matrix/client/v3/register?kind=guest", json=body))
        assert answer["device_id"] != "IGNORED" and not answer["user_id"].startswith("@ignored")
        guest.adopt(answer)
        return guest

    def test_what_they_may(self, private_server: HearthServer, guest: Client) -> None:
        alice = make_user(private_server, private_server.register_admin())
        assert ok(guest.get("/account/whoami"))["is_guest"] is True
        open_room = alice.create_room(
            preset="public_chat",
            initial_state=[{"type": "m.room.guest_access", "content": {"guest_access": "can_join"}}],
        )
        closed = alice.create_room(preset="public_chat")
        response = guest.post(f"{room_path(closed)}/join")
        assert response.status_code == 403
        assert response.json()["errcode"] in ("M_GUEST_ACCESS_FORBIDDEN", "M_FORBIDDEN")
        as_state = f"{room_path(closed)}/state/m.room.member/{quote(guest.user_id)}"
        refused(guest.put(as_state, {"membership": "join"}), 403, "M_GUEST_ACCESS_FORBIDDEN")
        ok(guest.post(f"{room_path(open_room)}/join"))
        guest.send(open_room, "hello")
        guest.send(open_room, {"any": "type"}, "org.example.any")
        me = quote(guest.user_id)
        ok(guest.put(f"/profile/{me}/displayname", {"displayname": "Visitor"}))
        ok(guest.delete(f"/profile/{me}/displayname"))
        for path in ("/sync", "/devices", f"/devices/{guest.device_id}", f"{room_path(open_room)}/state"):
            assert guest.get(path).status_code == 200, path
        ok(guest.get(f"{room_path(open_room)}/messages", dir="b"))
        ok(guest.get(f"{room_path(open_room)}/members"))
        ok(guest.post("/keys/query", {"device_keys": {}}))
        ok(guest.post("/keys/upload", {}))

    def test_what_they_may_not(self, private_server: HearthServer, guest: Client) -> None:
        me = quote(guest.user_id)
        for response in (
            guest.post("/createRoom", {}),
            guest.put(f"/profile/{me}/avatar_url", {"avatar_url": "mxc://a/b"}),
            guest.delete(f"/profile/{me}/avatar_url"),
            guest.put(f"/user/{me}/account_data/m.x", {}),
            guest.get("/pushrules/"),
            guest.post("/publicRooms", {}),
            guest.put(f"/directory/room/{quote('#a:localhost')}", {"room_id": "!a:localhost"}),
        ):
            body = response.json()
            assert response.status_code == 403, (str(response.url), body)
            assert body["errcode"] in ("M_GUEST_ACCESS_FORBIDDEN", "M_FORBIDDEN")

    def test_they_go_when_they_may_not_stay(self, private_server: HearthServer, guest: Client) -> None:
        alice = make_user(private_server, private_server.register_admin())
        room_id = alice.create_room(
            preset="public_chat",
            initial_state=[{"type": "m.room.guest_access", "content": {"guest_access": "can_join"}}],
        )
        ok(guest.post(f"{room_path(room_id)}/join"))
        alice.send_state(room_id, "m.room.guest_access", {"guest_access": "forbidden"})
        deadline = time.monotonic() + 5
        while ok(alice.state(room_id, "m.room.member", guest.user_id))["membership"] != "leave":
            assert time.monotonic() < deadline, "the guest is still there"
            time.sleep(0.05)

    def test_becoming_a_user(self, private_server: HearthServer, guest: Client) -> None:
        admin = private_server.register_admin()
        token = ok(admin.post("/_synapse/admin/v1/registration_tokens/new", {"uses_allowed": 1}))["token"]
        body = {
            "username": guest.user_id[1:].partition(":")[0],
            "password": PASSWORD,
            "guest_access_token": guest.access_token,
        }
        other = body | {"username": fresh(private_server, "other")}
        refused(guest.post("/register", other), 400, "M_INVALID_PARAM")
        refused(guest.post("/register", body | {"guest_access_token": "x"}), 401, "M_UNKNOWN_TOKEN")
        refused(
            guest.post("/register", body | {"guest_access_token": admin.access_token}), 403, "M_FORBIDDEN"
        )
        session = challenged(guest.post("/register", body))["session"]
        auth = {"type": "m.login.registration_token", "token": token, "session": session}
        response = guest.post("/register", body | {"auth": auth})
        if response.status_code == 401:
            response = guest.post("/register", body | {"auth": DUMMY | {"session": session}})
        assert ok(response)["user_id"] == guest.user_id
        upgraded = private_server.client()
        upgraded.adopt(response.json())
        assert ok(upgraded.get("/account/whoami"))["is_guest"] is False
        assert upgraded.create_room()
        assert ok(guest.get("/account/whoami"))["is_guest"] is False
        ok(private_server.client().post("/login", password_of(guest)))
