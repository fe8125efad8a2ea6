from typing import Any

import pytest

from homeserver.accounts.settings import AccountSettings, PasswordPolicy
from homeserver.http.rate_limit import Rate, RateLimits
from tests.homeserver.accounts.house import ALICE, OPEN_SETTINGS, PASSWORD, House
from tests.homeserver.sync.fakes import run
from tests.storage.conftest import SynchronousDatabase

DUMMY = {"type": "m.login.dummy"}


def test_register_in_two_requests(db: SynchronousDatabase) -> None:
    house = House(db)
    body: dict[str, Any] = {"username": "alice", "password": PASSWORD, "device_id": "PHONE"}
    status, answer = house.request("POST", "/register", body)
    assert (status, answer["flows"]) == (401, [{"stages": ["m.login.dummy"]}])
    body["auth"] = DUMMY | {"session": answer["session"]}
    status, answer = house.request("POST", "/register", body)
    assert status == 200
    assert (answer["user_id"], answer["device_id"]) == (ALICE, "PHONE")
    token = answer["access_token"]
    assert house.request("GET", "/account/whoami", token=token) == (
        200, {"user_id": ALICE, "device_id": "PHONE", "is_guest": False}
    )


def test_register_in_one_request_and_without_a_name(db: SynchronousDatabase) -> None:
    house = House(db)
    status, answer = house.request("POST", "/register", {"password": PASSWORD, "auth": DUMMY})
    assert status == 200
    assert answer["user_id"].endswith(":example.org")
    assert answer["device_id"]


def test_inhibit_login(db: SynchronousDatabase) -> None:
    house = House(db)
    body = {"username": "alice", "password": PASSWORD, "inhibit_login": True, "auth": DUMMY}
    assert house.request("POST", "/register", body) == (200, {"user_id": ALICE, "home_server": "example.org"})
    assert db.read(lambda tx: tx.value("SELECT count(*) FROM access_token")) == 0


def test_refresh_tokens_on_request(db: SynchronousDatabase) -> None:
    body = {"username": "alice", "password": PASSWORD, "refresh_token": True, "auth": DUMMY}
    status, answer = House(db).request("POST", "/register", body)
    assert status == 200
    assert answer["refresh_token"] != answer["access_token"]
    assert answer["expires_in_ms"] == 300_000


@pytest.mark.parametrize("name", ["", "al ice", "al:ice", "älice", "@alice", "x" * 250, "al\nice"])
def test_impossible_names_are_refused_before_the_authentication(db: SynchronousDatabase, name: str) -> None:
    house = House(db)
    status, answer = house.request("POST", "/register", {"username": name, "password": PASSWORD})
    assert (status, answer["errcode"]) == (400, "M_INVALID_USERNAME")


def test_capitals_become_small_letters(db: SynchronousDatabase) -> None:
    body = {"username": "Alice", "password": PASSWORD, "auth": DUMMY}
    assert House(db).request("POST", "/register", body)[1]["user_id"] == ALICE


def test_taken_names(db: SynchronousDatabase) -> None:
    house = House(db)
    body: dict[str, Any] = {"username": "alice", "password": PASSWORD}
    session = house.request("POST", "/register", body)[1]["session"]
    assert house.request("GET", "/register/available?username=alice") == (200, {"available": True})
    house.register("alice")
    for path, method in (("/register", "POST"), ("/register/available?username=alice", "GET")):
        status, answer = house.request(method, path, body if method == "POST" else None)
        assert (status, answer["errcode"]) == (400, "M_USER_IN_USE")
    # Taken while the client was busy with its authentication.
    body["auth"] = DUMMY | {"session": session}
    assert house.request("POST", "/register", body)[1]["errcode"] == "M_USER_IN_USE"


def test_the_name_of_a_deactivated_user_stays_taken(db: SynchronousDatabase) -> None:
    house = House(db)
    house.register("alice")
    run(house.deactivation.deactivate(ALICE))
    assert house.request("GET", "/register/available?username=alice")[1]["errcode"] == "M_USER_IN_USE"


def test_closed_registration(db: SynchronousDatabase) -> None:
    house = House(db, AccountSettings())
    for method, path, body in (
        ("POST", "/register", {"username": "alice", "password": PASSWORD, "auth": DUMMY}),
        ("POST", "/register?kind=guest", {}),
        ("GET", "/register/available?username=alice", None),
        ("GET", "/_matrix/client/v1/register/m.login.registration_token/validity?token=a", None),
    ):
        status, answer = house.request(method, path, body)
        assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")


def test_registration_tokens(db: SynchronousDatabase) -> None:
    house = House(db, AccountSettings(enable_registration=True, registration_requires_token=True))
    run(house.registration_tokens.create("once", 1, None))
    validity = "/_matrix/client/v1/register/m.login.registration_token/validity?token="
    assert house.request("GET", validity + "once") == (200, {"valid": True})
    assert house.request("GET", validity + "other") == (200, {"valid": False})
    stage = {"type": "m.login.registration_token", "token": "once"}
    body = {"username": "alice", "password": PASSWORD, "auth": DUMMY}
    assert house.request("POST", "/register", body)[0] == 401
    body["auth"] = stage | {"token": "other"}
    status, answer = house.request("POST", "/register", body)
    assert (status, answer["errcode"]) == (401, "M_UNAUTHORIZED")
    body["auth"] = stage
    assert house.request("POST", "/register", body)[0] == 200
    assert house.request("GET", validity + "once") == (200, {"valid": False})
    body["username"] = "bob"
    assert house.request("POST", "/register", body)[0] == 401


def test_two_people_cannot_use_the_last_use(db: SynchronousDatabase) -> None:
    house = House(db, AccountSettings(enable_registration=True, registration_requires_token=True))
    run(house.registration_tokens.create("once", 1, None))
    run(house.accounts.register("alice", PASSWORD, registration_token="once"))
    with pytest.raises(Exception, match="not valid"):
        run(house.accounts.register("bob", PASSWORD, registration_token="once"))
    assert run(house.accounts.get("@bob:example.org")) is None


def test_guests(db: SynchronousDatabase) -> None:
    house = House(db)
    status, answer = house.request("POST", "/register?kind=guest", {"username": "alice", "device_id": "MINE"})
    assert status == 200
    assert answer["user_id"] != ALICE
    assert answer["device_id"] != "MINE"
    token = answer["access_token"]
    assert house.request("GET", "/account/whoami", token=token)[1]["is_guest"] is True
    status, answer = house.request("GET", "/account/3pid", token=token)
    assert (status, answer["errcode"]) == (403, "M_GUEST_ACCESS_FORBIDDEN")


def test_weak_passwords(db: SynchronousDatabase) -> None:
    policy = PasswordPolicy(enabled=True, minimum_length=20)
    house = House(db, AccountSettings(enable_registration=True, password_policy=policy))
    status, answer = house.request("POST", "/register", {"username": "a", "password": "short", "auth": DUMMY})
    assert (status, answer["errcode"]) == (400, "M_WEAK_PASSWORD")


def test_only_accounts_that_are_made_count_against_the_limit(db: SynchronousDatabase) -> None:
    limits = RateLimits(named={"registration": Rate(per_second=0.1, burst=1)})
    house = House(db, OPEN_SETTINGS, limits=limits)
    for _ in range(3):
        assert house.request("POST", "/register", {"username": "alice", "password": PASSWORD})[0] == 401
    body = {"username": "alice", "password": PASSWORD, "auth": DUMMY}
    assert house.request("POST", "/register", body)[0] == 200
    status, answer = house.request("POST", "/register", body | {"username": "bob"})
    assert (status, answer["errcode"], answer["retry_after_ms"]) == (429, "M_LIMIT_EXCEEDED", 10_000)
    body["username"] = "carol"
    assert house.request("POST", "/register", body, address="192.0.2.2")[0] == 200


def test_the_fallback_page_does_the_stage(db: SynchronousDatabase) -> None:
    house = House(db, AccountSettings(enable_registration=True, registration_requires_token=True))
    run(house.registration_tokens.create("once", 1, None))
    body: dict[str, Any] = {"username": "alice", "password": PASSWORD}
    session = house.request("POST", "/register", body)[1]["session"]
    path = f"/auth/m.login.registration_token/fallback/web?session={session}"
    status, page = house.request("GET", path)
    assert status == 200
    assert b"<form" in page
    assert b"not valid" in house.request("POST", path, b"session=%b&token=no" % session.encode())[1]
    assert b"onAuthDone" in house.request("POST", path, b"session=%b&token=once" % session.encode())[1]
    body["auth"] = {"session": session}
    assert house.request("POST", "/register", body)[0] == 200
