from typing import Any

import pytest

from homeserver.accounts.settings import AccountSettings
from homeserver.http.rate_limit import Rate, RateLimits
from storage import cross_signing
from storage.cross_signing import CrossSigningKey
from tests.homeserver.accounts.house import ALICE, PASSWORD, House, password_stage
from tests.homeserver.sync.fakes import run
from tests.storage.conftest import SynchronousDatabase

LOGIN: dict[str, Any] = password_stage("alice")


@pytest.fixture
def house(db: SynchronousDatabase) -> House:
    house = House(db)
    house.register("alice", device_id="FIRST")
    return house


def errcode(house: House, body: Any) -> tuple[int, str]:
    status, answer = house.request("POST", "/login", body)
    return status, answer["errcode"]


@pytest.mark.parametrize("user", ["alice", ALICE, "Alice", "@ALICE:example.org"])
def test_login(house: House, user: str) -> None:
    status, answer = house.request("POST", "/login", password_stage(user) | {"device_id": "PHONE"})
    assert status == 200
    assert (answer["user_id"], answer["device_id"]) == (ALICE, "PHONE")
    assert "refresh_token" not in answer
    assert house.request("GET", "/account/whoami", token=answer["access_token"])[0] == 200


def test_the_user_field_of_old_clients(house: House) -> None:
    body = {"type": "m.login.password", "user": "alice", "password": PASSWORD}
    assert house.request("POST", "/login", body)[0] == 200


def test_flows(house: House) -> None:
    flows = [{"type": "m.login.password"}, {"type": "m.login.token", "get_login_token": True}]
    assert house.request("GET", "/login") == (200, {"flows": flows})


def test_a_new_device_is_named_a_known_one_keeps_its_name(house: House) -> None:
    body = LOGIN | {"device_id": "PHONE", "initial_device_display_name": "My phone"}
    house.request("POST", "/login", body)
    house.request("POST", "/login", body | {"initial_device_display_name": "Other"})
    assert run(house.devices.get(ALICE, "PHONE")).display_name == "My phone"


def test_logging_in_again_ends_the_old_session_of_the_device(house: House) -> None:
    tokens = []
    for _ in range(2):
        tokens.append(house.request("POST", "/login", LOGIN | {"device_id": "PHONE"})[1]["access_token"])
        assert house.request("GET", "/account/whoami", token=tokens[-1])[0] == 200
    status, answer = house.request("GET", "/account/whoami", token=tokens[0])
    assert (status, answer["errcode"], answer["soft_logout"]) == (401, "M_UNKNOWN_TOKEN", False)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"password": "wrong"}, (403, "M_FORBIDDEN")),
        ({"identifier": {"type": "m.id.user", "user": "nobody"}}, (403, "M_FORBIDDEN")),
        ({"identifier": {"type": "m.id.user", "user": "@alice:elsewhere.org"}}, (403, "M_FORBIDDEN")),
        ({"identifier": {"type": "m.id.thirdparty", "address": "a@b"}}, (403, "M_FORBIDDEN")),
        ({"identifier": {"type": "m.id.unheard"}}, (400, "M_UNKNOWN")),
        ({"identifier": {"type": "m.id.user"}}, (400, "M_MISSING_PARAM")),
        ({"identifier": {"type": "m.id.user", "user": "a\0b"}}, (400, "M_MISSING_PARAM")),
        ({"identifier": "alice"}, (400, "M_BAD_JSON")),
        ({"identifier": None}, (400, "M_MISSING_PARAM")),
        ({"password": None}, (400, "M_MISSING_PARAM")),
        ({"password": 7}, (400, "M_BAD_JSON")),
        ({"type": "m.login.magic"}, (400, "M_UNKNOWN")),
        ({"type": None}, (400, "M_BAD_JSON")),
        ({"type": "m.login.token"}, (400, "M_MISSING_PARAM")),
        ({"type": "m.login.token", "token": "no"}, (403, "M_FORBIDDEN")),
        ({"device_id": "x" * 300}, (400, "M_INVALID_PARAM")),
        ({"device_id": "a\0b"}, (400, "M_BAD_JSON")),
    ],
)
def test_what_is_refused(house: House, change: dict[str, Any], expected: tuple[int, str]) -> None:
    assert errcode(house, LOGIN | change) == expected


def test_not_json(house: House) -> None:
    assert errcode(house, b"{") == (400, "M_NOT_JSON")
    assert errcode(house, b"[]") == (400, "M_BAD_JSON")
    assert errcode(house, b"") == (400, "M_NOT_JSON")
    assert errcode(house, b'{"type": "\\ud800"}') == (400, "M_NOT_JSON")


def test_deactivated_and_locked_users(house: House) -> None:
    token = house.request("POST", "/login", LOGIN)[1]["access_token"]
    run(house.accounts.set_flag(ALICE, "locked", True))
    status, answer = house.request("POST", "/login", LOGIN)
    assert (status, answer["errcode"], answer["soft_logout"]) == (401, "M_USER_LOCKED", True)
    assert house.request("GET", "/account/whoami", token=token) == (status, answer)
    run(house.accounts.set_flag(ALICE, "locked", False))
    assert house.request("GET", "/account/whoami", token=token)[0] == 200
    run(house.deactivation.deactivate(ALICE))
    assert errcode(house, LOGIN) == (403, "M_FORBIDDEN")
    assert house.request("GET", "/account/whoami", token=token)[0] == 401


def test_a_locked_user_can_log_out(house: House) -> None:
    token = house.request("POST", "/login", LOGIN)[1]["access_token"]
    run(house.accounts.set_flag(ALICE, "locked", True))
    assert house.request("POST", "/logout", token=token) == (200, {})
    assert house.request("POST", "/logout", token=token)[1]["errcode"] == "M_UNKNOWN_TOKEN"


def test_passwords_may_be_switched_off(db: SynchronousDatabase) -> None:
    house = House(db, AccountSettings(password_login=False))
    house.register("alice")
    assert errcode(house, LOGIN) == (400, "M_UNKNOWN")


def test_failures_are_limited_by_account_wherever_they_come_from(db: SynchronousDatabase) -> None:
    limits = RateLimits(named={"login_failed": Rate(per_second=0.1, burst=2)})
    house = House(db, limits=limits)
    house.register("alice")
    wrong = LOGIN | {"password": "wrong"}
    for address in ("192.0.2.1", "192.0.2.2"):
        assert house.request("POST", "/login", wrong, address=address)[0] == 403
    assert house.request("POST", "/login", LOGIN, address="192.0.2.3")[0] == 429
    house.clock.advance(10)
    for _ in range(3):
        assert house.request("POST", "/login", LOGIN)[0] == 200


def test_a_device_may_not_be_called_like_a_cross_signing_key(house: House) -> None:
    key = CrossSigningKey(ALICE, "master", "Pub/lic+Key", b"{}")
    house.db.write(cross_signing.put_keys, [key])
    assert errcode(house, LOGIN | {"device_id": "Pub/lic+Key"}) == (403, "M_FORBIDDEN")


def test_get_token_and_log_in_with_it(house: House) -> None:
    token = house.request("POST", "/login", LOGIN)[1]["access_token"]
    path = "/_matrix/client/v1/login/get_token"
    assert house.request("POST", path, {}, token=token)[0] == 401
    status, answer = house.request("POST", path, {"auth": password_stage()}, token=token)
    assert (status, answer["expires_in_ms"]) == (200, 120_000)
    body = {"type": "m.login.token", "token": answer["login_token"]}
    assert house.request("POST", "/login", body)[1]["user_id"] == ALICE
    assert errcode(house, body) == (403, "M_FORBIDDEN")


def test_refresh(house: House) -> None:
    answer = house.request("POST", "/login", LOGIN | {"refresh_token": True})[1]
    status, fresh = house.request("POST", "/refresh", {"refresh_token": answer["refresh_token"]})
    assert status == 200
    assert set(fresh) == {"access_token", "refresh_token", "expires_in_ms"}
    assert house.request("GET", "/account/whoami", token=answer["access_token"])[0] == 200
    device = house.request("GET", "/account/whoami", token=fresh["access_token"])[1]["device_id"]
    assert device == answer["device_id"]
    assert house.request("GET", "/account/whoami", token=answer["access_token"])[0] == 401
    status, again = house.request("POST", "/refresh", {"refresh_token": answer["refresh_token"]})
    assert (status, again["errcode"]) == (401, "M_UNKNOWN_TOKEN")


def test_logout_all(house: House) -> None:
    tokens = [house.request("POST", "/login", LOGIN)[1]["access_token"] for _ in range(2)]
    assert house.request("POST", "/logout/all", token=tokens[0]) == (200, {})
    for token in tokens:
        assert house.request("GET", "/account/whoami", token=token)[0] == 401
    assert run(house.devices.of_user(ALICE)) == []
