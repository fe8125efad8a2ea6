"""Changing the password, deactivating, devices, and what the server says of itself."""

import pytest

from tests.homeserver.accounts.house import ALICE, PASSWORD, House, password_stage
from tests.homeserver.sync.fakes import run
from tests.storage.conftest import SynchronousDatabase


@pytest.fixture
def house(db: SynchronousDatabase) -> House:
    house = House(db, config={"public_baseurl": "https://matrix.example.org/"})
    house.register("alice", device_id="FIRST")
    return house


def log_in(house: House, device_id: str, password: str = PASSWORD) -> str:
    body = password_stage("alice", password) | {"device_id": device_id}
    status, answer = house.request("POST", "/login", body)
    assert status == 200, answer
    token: str = answer["access_token"]
    return token


def is_in(house: House, token: str) -> bool:
    return house.request("GET", "/account/whoami", token=token)[0] == 200


@pytest.mark.parametrize("logout_devices", [True, False])
def test_change_the_password(house: House, logout_devices: bool) -> None:
    mine, other = log_in(house, "PHONE"), log_in(house, "TABLET")
    body = {"new_password": "looking-glass", "logout_devices": logout_devices}
    assert house.request("POST", "/account/password", body, token=mine)[0] == 401
    body["auth"] = password_stage()
    assert house.request("POST", "/account/password", body, token=mine) == (200, {})
    assert is_in(house, mine)
    assert is_in(house, other) is not logout_devices
    assert house.request("POST", "/login", password_stage())[0] == 403
    log_in(house, "DESK", "looking-glass")


def test_change_the_password_without_a_token(house: House) -> None:
    mine = log_in(house, "PHONE")
    body = {"new_password": "looking-glass", "auth": password_stage()}
    assert house.request("POST", "/account/password", body) == (200, {})
    assert not is_in(house, mine)


def test_deactivate(house: House) -> None:
    parted: list[tuple[str, bool]] = []

    async def part(user_id: str, erase: bool) -> None:
        parted.append((user_id, erase))

    house.accounts.on_deactivate.append(part)
    mine = log_in(house, "PHONE")
    assert house.request("POST", "/account/deactivate", {}, token=mine)[0] == 401
    status, answer = house.request(
        "POST", "/account/deactivate", {"erase": True, "auth": password_stage()}, token=mine
    )
    assert (status, answer) == (200, {"id_server_unbind_result": "success"})
    assert parted == [(ALICE, True)]
    assert not is_in(house, mine)
    assert house.request("POST", "/login", password_stage())[0] == 403
    account = run(house.accounts.require(ALICE))
    assert account.deactivated
    assert account.erased
    assert not account.parting
    assert account.password is None


def test_a_deactivation_that_was_interrupted_goes_on(db: SynchronousDatabase) -> None:
    house = House(db)
    house.register("alice")

    async def fail(user_id: str, erase: bool) -> None:
        raise ConnectionError

    house.accounts.on_deactivate.append(fail)
    with pytest.raises(ConnectionError):
        run(house.deactivation.deactivate(ALICE))
    house = House(db)
    parted: list[str] = []

    async def part(user_id: str, erase: bool) -> None:
        parted.append(user_id)

    house.accounts.on_deactivate.append(part)
    run(house.deactivation.resume())
    run(house.deactivation.resume())
    assert parted == [ALICE]


def test_devices(house: House) -> None:
    token = log_in(house, "PHONE")
    assert house.request("PUT", "/devices/PHONE", {"display_name": "My phone"}, token=token) == (200, {})
    status, answer = house.request("GET", "/devices", token=token)
    assert [device["device_id"] for device in answer["devices"]] == ["FIRST", "PHONE"]
    assert house.request("GET", "/devices/PHONE", token=token)[1] == {
        "device_id": "PHONE",
        "display_name": "My phone",
        "last_seen_ip": "192.0.2.1",
        "last_seen_ts": house.clock.now_ms(),
    }
    for method, body in (("GET", None), ("PUT", {"display_name": "x"}), ("PUT", {})):
        status, answer = house.request(method, "/devices/NONE", body, token=token)
        assert (status, answer["errcode"]) == (404, "M_NOT_FOUND")
    long = {"display_name": "x" * 101}
    assert house.request("PUT", "/devices/PHONE", long, token=token)[1]["errcode"] == "M_TOO_LARGE"


def test_delete_devices(house: House) -> None:
    token, other, third = log_in(house, "PHONE"), log_in(house, "TABLET"), log_in(house, "DESK")
    deleted: list[list[str]] = []
    house.devices.on_delete.append(lambda tx, user_id, device_ids: deleted.append(list(device_ids)))
    session = house.request("DELETE", "/devices/TABLET", token=token)[1]["session"]
    # Authentication for one device does not pay for another.
    auth = {"auth": password_stage(session=session)}
    assert house.request("DELETE", "/devices/DESK", auth, token=token)[0] == 403
    assert house.request("DELETE", "/devices/TABLET", auth, token=token) == (200, {})
    assert not is_in(house, other)
    body = {"devices": ["DESK", "NONE"], "auth": password_stage()}
    assert house.request("POST", "/delete_devices", body, token=token) == (200, {})
    assert not is_in(house, third)
    assert is_in(house, token)
    assert deleted == [["TABLET"], ["DESK"]]


def test_what_was_last_seen_is_written_once_a_minute(house: House) -> None:
    token = log_in(house, "PHONE")
    for _ in range(5):
        house.request("GET", "/account/whoami", token=token)
        house.clock.advance(10)
    last_seen = "SELECT last_seen_ts FROM device WHERE device_id = 'PHONE'"
    assert house.db.read(lambda tx: tx.value(last_seen)) is None
    seen = run(house.devices.get(ALICE, "PHONE")).last_seen_ts
    house.clock.advance(11)
    house.db.write(lambda tx: None)  # the write before has come first
    assert house.db.read(lambda tx: tx.value(last_seen)) == seen


def test_versions_have_no_gap(house: House) -> None:
    versions = house.request("GET", "/_matrix/client/versions")[1]["versions"]
    assert versions == ["r0.6.1", *(f"v1.{minor}" for minor in range(1, 20))]


def test_capabilities(house: House) -> None:
    token = log_in(house, "PHONE")
    capabilities = house.request("GET", "/capabilities", token=token)[1]["capabilities"]
    assert capabilities["m.room_versions"]["default"] == "12"
    assert capabilities["m.room_versions"]["available"] == {str(n): "stable" for n in range(1, 13)}
    assert capabilities["m.change_password"] == {"enabled": True}


def test_well_known(house: House) -> None:
    expected = {"m.homeserver": {"base_url": "https://matrix.example.org/"}}
    assert house.request("GET", "/.well-known/matrix/client") == (200, expected)
    assert house.request("POST", "/login", password_stage())[1]["well_known"] == expected
    assert House(house.db).request("GET", "/.well-known/matrix/client")[0] == 404


def test_no_contacts(house: House) -> None:
    assert house.request("GET", "/account/3pid", token=log_in(house, "PHONE")) == (200, {"threepids": []})
