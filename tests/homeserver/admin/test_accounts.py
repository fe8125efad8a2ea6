"""Registration with the shared secret, and registration tokens."""

from typing import Any

import pytest

from homeserver.accounts.settings import AccountSettings
from homeserver.accounts.shared_secret import compute_mac
from tests.homeserver.accounts.house import PASSWORD, House
from tests.storage.conftest import SynchronousDatabase

REGISTER = "/_synapse/admin/v1/register"
TOKENS = "/_synapse/admin/v1/registration_tokens"


def request_body(house: House, *, admin: bool = False, secret: str = "shared") -> dict[str, Any]:
    nonce = house.request("GET", REGISTER)[1]["nonce"]
    mac = compute_mac(secret, nonce, "root", PASSWORD, admin)
    return {"nonce": nonce, "username": "root", "password": PASSWORD, "admin": admin, "mac": mac}


@pytest.mark.parametrize("admin", [True, False])
def test_register(db: SynchronousDatabase, admin: bool) -> None:
    house = House(db, AccountSettings(registration_shared_secret="shared"))
    status, answer = house.request("POST", REGISTER, request_body(house, admin=admin))
    assert status == 200
    assert answer["user_id"] == "@root:example.org"
    status, _ = house.request("GET", TOKENS, token=answer["access_token"])
    assert status == (200 if admin else 403)


def test_wrong_secrets_used_nonces_and_no_secret(db: SynchronousDatabase) -> None:
    house = House(db)
    assert house.request("POST", REGISTER, request_body(house, secret="other"))[0] == 403
    body = request_body(house)
    assert house.request("POST", REGISTER, body | {"admin": True})[0] == 403
    assert house.request("POST", REGISTER, body)[0] == 400
    body = request_body(house)
    house.clock.advance(61)
    assert house.request("POST", REGISTER, body)[0] == 400
    assert House(db, AccountSettings()).request("GET", REGISTER)[0] == 400


def test_registration_tokens(db: SynchronousDatabase) -> None:
    house = House(db)
    admin = house.register("root", is_admin=True).access_token
    new = {"token": "abc", "uses_allowed": 2, "expiry_time": house.clock.now_ms() + 1000}
    shown = new | {"completed": 0, "pending": 0}
    assert house.request("POST", TOKENS + "/new", new, token=admin) == (200, shown)
    assert house.request("POST", TOKENS + "/new", new, token=admin)[0] == 400
    assert house.request("GET", TOKENS + "/abc", token=admin) == (200, shown)
    status, changed = house.request("PUT", TOKENS + "/abc", {"uses_allowed": None}, token=admin)
    assert (changed["uses_allowed"], changed["expiry_time"]) == (None, new["expiry_time"])
    random = house.request("POST", TOKENS + "/new", {"length": 24}, token=admin)[1]
    assert len(random["token"]) == 24
    house.clock.advance(1)
    for query, expected in (("", 2), ("?valid=true", 1), ("?valid=false", 1)):
        listed = house.request("GET", TOKENS + query, token=admin)[1]["registration_tokens"]
        assert len(listed) == expected
    assert house.request("DELETE", TOKENS + "/abc", token=admin) == (200, {})
    assert house.request("DELETE", TOKENS + "/abc", token=admin)[0] == 404
    for bad in ({"token": "a b"}, {"length": 65}, {"uses_allowed": -1}, {"expiry_time": 1}):
        assert house.request("POST", TOKENS + "/new", bad, token=admin)[1]["errcode"] == "M_INVALID_PARAM"
    user = house.register("alice").access_token
    assert house.request("GET", TOKENS, token=user)[1]["errcode"] == "M_FORBIDDEN"
