"""Alice leaves a dehydrated device behind: it gets messages while she is signed in nowhere. MSC3814."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.harness import Client, HearthServer, Json, ok, refused
from tests.homeserver.devices.people import Device
from tests.scenarios.test_encryption import (
    CURVE,
    changed,
    events,
    in_a_room,
    one_time,
    query,
    send_to_device,
    with_keys,
)

PATH = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"
# The device ID is a public key in base64, which may hold these two.
ID = "a+b/3BFWi2Y8MaVvjM8M22DBmh24PmgR0nPvJOIArzg"
DATA = {"algorithm": "org.matrix.msc3814.v2", "device_pickle": "secret", "nonce": "n"}


def body(client: Client, device_id: str = ID, **changes: Any) -> Json:
    keys = {**Device(client.user_id, device_id).keys(), "dehydrated": True}
    return {
        "device_id": device_id,
        "device_data": DATA,
        "initial_device_display_name": "Dehydrated device",
        "device_keys": keys,
        "one_time_keys": one_time("A"),
        "fallback_keys": one_time("F", fallback=True),
        **changes,
    }


def read(client: Client, since: str | None = None, device_id: str = ID) -> Any:
    return client.post(f"{PATH}/{quote(device_id, safe='')}/events", {"next_batch": since} if since else {})


def claim(client: Client, user_id: str, device_id: str = ID) -> Json:
    wanted = {"one_time_keys": {user_id: {device_id: CURVE}}}
    users: Json = ok(client.post("/keys/claim", wanted))["one_time_keys"]
    claimed: Json = users.get(user_id, {}).get(device_id, {})
    return claimed


@pytest.fixture
def alice(server: HearthServer) -> Client:
    return server.register("alice")


@pytest.fixture
def bob(server: HearthServer) -> Client:
    return server.register("bob")


def test_it_is_announced(alice: Client) -> None:
    assert ok(alice.get("/_matrix/client/versions"))["unstable_features"]["org.matrix.msc3814"] is True


def test_from_dehydrating_to_rehydrating(server: HearthServer, alice: Client, bob: Client) -> None:
    in_a_room(alice, bob)
    refused(alice.get(PATH), 404, "M_NOT_FOUND")
    uploaded = body(alice)
    assert ok(alice.put(PATH, uploaded)) == {"device_id": ID}
    assert changed(bob.sync(timeout=2000)) == [alice.user_id]
    found = query(bob, alice.user_id)["device_keys"][alice.user_id][ID]
    assert found == {**uploaded["device_keys"], "unsigned": {"device_display_name": "Dehydrated device"}}
    assert claim(bob, alice.user_id) == one_time("A")
    assert claim(bob, alice.user_id) == one_time("F", fallback=True)

    ok(alice.post("/logout"))
    for number in range(130):
        send_to_device(bob, {alice.user_id: {ID: {"n": number}}}, f"t{number}")
    server.restart()
    tablet = server.login(alice.user_id)
    assert ok(tablet.get(PATH)) == {"device_id": ID, "device_data": DATA}
    first = ok(read(tablet))
    assert [event["content"]["n"] for event in first["events"]] == list(range(100))
    second = ok(read(tablet, first["next_batch"]))
    assert events({"to_device": second}) == [{"n": n} for n in range(100, 130)]
    last = ok(read(tablet, second["next_batch"]))
    assert last["events"] == [] and last["next_batch"] == second["next_batch"]
    # Nothing is deleted by reading. GET reads the same, but its last batch says that it is the last.
    path = f"{PATH}/{quote(ID, safe='')}/events"
    assert ok(tablet.get(path)) == first
    assert ok(tablet.get(path, **{"from": first["next_batch"]})) == {"events": second["events"]}
    assert events(tablet.sync()) == []

    bob.sync()
    assert ok(tablet.delete(PATH)) == {"device_id": ID}
    assert changed(bob.sync(timeout=2000)) == [alice.user_id]
    assert ID not in query(bob, alice.user_id)["device_keys"][alice.user_id]
    assert claim(bob, alice.user_id) == {}
    refused(tablet.delete(PATH), 404, "M_NOT_FOUND")
    refused(read(tablet), 403, "M_FORBIDDEN")


def test_a_new_one_takes_the_place_of_the_old_one(alice: Client, bob: Client) -> None:
    with_keys(alice)
    ok(alice.put(PATH, body(alice)))
    send_to_device(bob, {alice.user_id: {"*": {"n": 1}}})
    ok(alice.put(PATH, body(alice, "OTHER")))
    assert ok(alice.get(PATH))["device_id"] == "OTHER"
    assert set(query(bob, alice.user_id)["device_keys"][alice.user_id]) == {alice.device_id, "OTHER"}
    assert ok(read(alice, device_id="OTHER"))["events"] == []
    refused(read(alice), 403, "M_FORBIDDEN")
    assert events(alice.sync()) == [{"n": 1}]
    ids = {device["device_id"] for device in ok(alice.get("/devices"))["devices"]}
    assert ids == {alice.device_id, "OTHER"}


def test_the_same_request_again_loses_nothing(alice: Client, bob: Client) -> None:
    uploaded = body(alice)
    ok(alice.put(PATH, uploaded))
    send_to_device(bob, {alice.user_id: {ID: {"n": 1}}})
    assert claim(bob, alice.user_id) == one_time("A")
    ok(alice.put(PATH, uploaded))
    assert events({"to_device": ok(read(alice))}) == [{"n": 1}]
    assert claim(bob, alice.user_id) == one_time("F", fallback=True)


def test_it_goes_with_its_device(server: HearthServer, alice: Client) -> None:
    ok(alice.put(PATH, body(alice)))
    ok(alice.post("/logout/all"))
    refused(server.login(alice.user_id).get(PATH), 404, "M_NOT_FOUND")


def test_refusals(alice: Client, bob: Client) -> None:
    with_keys(alice)
    ok(alice.put(PATH, body(alice)))
    refused(alice.put(PATH, body(alice, alice.device_id)), 400, "M_INVALID_PARAM")
    refused(alice.put(PATH, body(bob)), 400, "M_INVALID_PARAM")
    refused(alice.put(PATH, body(alice, device_data={})), 400, "M_INVALID_PARAM")
    refused(alice.put(PATH, body(alice, device_data={"algorithm": "x", "y": "z" * 70_000})), 400,
            "M_INVALID_PARAM")
    refused(alice.put(PATH, body(alice, "")), 400, "M_INVALID_PARAM")
    refused(alice.put(PATH, body(alice, device_keys={})), 400, "M_MISSING_PARAM")
    refused(alice.put(PATH, {"device_id": "X", "device_data": DATA}), 400, "M_BAD_JSON")
    refused(alice.put(PATH, body(alice, "NEW", one_time_keys={"x": "y"})), 400, "M_INVALID_PARAM")
    refused(read(alice, "-1"), 400, "M_INVALID_PARAM")
    refused(read(bob), 403, "M_FORBIDDEN")
    assert ok(alice.get(PATH))["device_id"] == ID
