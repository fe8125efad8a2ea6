"""Identity keys: what may be uploaded, who hears of it, and what a query shows to whom."""

from typing import Any

import pytest

from homeserver.devices.local_keys import LocalKeys
from homeserver.errors import BadJson, Forbidden, InvalidParam
from tests.homeserver.devices.people import CURVE, ROOM, Device, Identity, Scene, user
from tests.homeserver.sync.fakes import run

ALICE, BOB = user("alice"), user("bob")
CAROL, EVE, DOWN = "@carol:remote.test", "@eve:liar.test", "@dan:down.test"


def test_query_returns_what_was_uploaded_with_the_display_name(scene: Scene) -> None:
    phone = scene.device(ALICE, "PHONE", "Alice's phone")
    tablet = scene.device(ALICE, "TABLET")
    scene.sign_in(ALICE, "KEYLESS")
    answer = scene.query(BOB, ALICE, BOB)
    assert answer["device_keys"] == {
        ALICE: {
            "PHONE": {**phone.keys(), "unsigned": {"device_display_name": "Alice's phone"}},
            "TABLET": {**tablet.keys(), "unsigned": {}},
        },
        BOB: {},
    }
    assert answer["failures"] == {}
    assert set(scene.query(BOB, alice=["TABLET", "NONE"])["device_keys"][ALICE]) == {"TABLET"}


def test_uploading_tells_everyone_in_a_room_with_the_user_once(scene: Scene) -> None:
    scene.join(ALICE)
    scene.sign_in(ALICE, "PHONE")
    phone = Device(ALICE, "PHONE")
    scene.announced()
    scene.upload(phone, keys=phone.keys())
    [change] = scene.announced()
    assert (change.users, change.rooms) == ((ALICE,), (ROOM,))
    scene.upload(phone, keys=phone.keys())
    assert scene.announced() == []
    scene.upload(phone, keys={**phone.keys(), "algorithms": ["m.olm.v1.curve25519-aes-sha2"]})
    assert len(scene.announced()) == 1


def test_what_the_client_calls_unsigned_is_not_kept(scene: Scene) -> None:
    scene.sign_in(ALICE, "PHONE")
    phone = Device(ALICE, "PHONE")
    scene.upload(phone, keys={**phone.keys(), "unsigned": {"device_display_name": "Bob's phone"}})
    assert scene.query(BOB, ALICE)["device_keys"][ALICE]["PHONE"]["unsigned"] == {}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"user_id": BOB}, InvalidParam),
        ({"device_id": "TABLET"}, InvalidParam),
        ({"user_id": None}, InvalidParam),
        ({"algorithms": "m.olm"}, BadJson),
        ({"algorithms": [1]}, BadJson),
        ({"keys": []}, BadJson),
        ({"keys": {"a": 1}}, BadJson),
        ({"signatures": None}, BadJson),
        ({"signatures": {ALICE: "x"}}, BadJson),
        ({"signatures": {ALICE: {"x": 1}}}, BadJson),
        ({"more": "x" * 70_000}, InvalidParam),
        ({"more": 2**70}, BadJson),
    ],
)
def test_malformed_keys_are_refused(scene: Scene, change: dict[str, Any], error: type[Exception]) -> None:
    phone = Device(ALICE, "PHONE")
    scene.sign_in(ALICE, "PHONE")
    with pytest.raises(error):
        scene.upload(phone, keys={**phone.keys(), **change}, one_time={f"{CURVE}:A": "x"})
    assert scene.upload(phone) == {CURVE: 0}
    assert scene.query(BOB, ALICE)["device_keys"] == {ALICE: {}}


def test_a_conflicting_one_time_key_refuses_the_whole_upload(scene: Scene) -> None:
    phone = Device(ALICE, "PHONE")
    scene.sign_in(ALICE, "PHONE")
    assert scene.upload(phone, one_time={f"{CURVE}:A": {"key": "1", "signatures": {}}}) == {CURVE: 1}
    assert scene.upload(phone, one_time={f"{CURVE}:A": {"signatures": {}, "key": "1"}}) == {CURVE: 1}
    with pytest.raises(InvalidParam):
        scene.upload(phone, keys=phone.keys(), one_time={f"{CURVE}:A": {"key": "2"}, f"{CURVE}:B": "x"})
    assert scene.upload(phone) == {CURVE: 1}
    assert scene.query(BOB, ALICE)["device_keys"] == {ALICE: {}}


def test_a_device_named_like_a_cross_signing_key_gets_no_keys(scene: Scene) -> None:
    identity = Identity(ALICE)
    run(scene.cross_signing.upload(ALICE, identity.keys(), authorised=False))
    twin = Device(ALICE, identity.public("master"))
    scene.sign_in(ALICE, twin.device_id)
    with pytest.raises(Forbidden):
        scene.upload(twin, keys=twin.keys())


def test_deleting_and_renaming_a_device_with_keys_is_news(scene: Scene) -> None:
    scene.join(ALICE)
    scene.device(ALICE, "PHONE")
    scene.sign_in(ALICE, "KEYLESS")
    scene.announced()
    scene.db.write(scene.keys.renamed, ALICE, "KEYLESS")
    scene.db.write(scene.keys.forget_devices, ALICE, ["KEYLESS"])
    assert scene.announced() == []
    scene.db.write(scene.keys.renamed, ALICE, "PHONE")
    scene.db.write(scene.keys.forget_devices, ALICE, ["PHONE"])
    assert [change.rooms for change in scene.announced()] == [(ROOM,), (ROOM,)]
    assert scene.query(BOB, ALICE)["device_keys"] == {ALICE: {}}


def test_remote_users_are_asked_for_and_failures_named(scene: Scene) -> None:
    scene.device(ALICE, "PHONE")
    answer = scene.query(BOB, ALICE, CAROL, DOWN)
    assert set(answer["device_keys"]) == {ALICE, CAROL}
    assert set(answer["device_keys"][CAROL]) == {"CAROLS"}
    assert answer["master_keys"] == {CAROL: scene.remote.carol.key("master")}
    assert set(answer["failures"]) == {"down.test"}
    assert {server for server, _, _ in scene.remote.asked} == {"remote.test", "down.test"}


def test_a_remote_may_speak_of_nobody_elses_keys(scene: Scene) -> None:
    phone = scene.device(ALICE, "PHONE")
    answer = scene.query(BOB, ALICE, EVE)
    assert answer["device_keys"] == {ALICE: {"PHONE": {**phone.keys(), "unsigned": {}}}, EVE: {}}
    assert answer["master_keys"] == {}


def test_query_refuses_what_is_no_user_id(scene: Scene) -> None:
    with pytest.raises(InvalidParam):
        scene.query(ALICE, "alice")


def test_query_of_many_users(scene: Scene) -> None:
    names = [user(f"u{number}") for number in range(200)]
    scene.device(names[7], "D")
    answer = scene.query(ALICE, *names)
    assert set(answer["device_keys"]) == set(names) and set(answer["device_keys"][names[7]]) == {"D"}


def test_other_servers_see_no_user_signing_key(scene: Scene) -> None:
    identity = Identity(ALICE)
    run(scene.cross_signing.upload(ALICE, identity.keys(), authorised=False))
    answer = run(scene.keys.query_local({ALICE: []}))
    assert set(answer["master_keys"]) == set(answer["self_signing_keys"]) == {ALICE}
    assert answer["user_signing_keys"] == {}


def test_what_is_kept_in_memory_follows_every_change(scene: Scene) -> None:
    scene.device(ALICE, "PHONE", "Phone")
    assert scene.query(BOB, ALICE) == scene.query(BOB, ALICE)
    tablet = scene.device(ALICE, "TABLET")
    assert set(scene.query(BOB, ALICE)["device_keys"][ALICE]) == {"PHONE", "TABLET"}
    changed = {**tablet.keys(), "algorithms": ["m.olm.v1.curve25519-aes-sha2"]}
    scene.upload(tablet, keys=changed)
    assert scene.query(BOB, alice=["TABLET"])["device_keys"][ALICE]["TABLET"] == {**changed, "unsigned": {}}
    scene.db.write(scene.keys.forget_devices, ALICE, ["PHONE", "TABLET"])
    assert scene.query(BOB, ALICE)["device_keys"][ALICE] == {}


def test_least_used_keys_are_read_again(scene: Scene) -> None:
    keys = LocalKeys(scene.db.database, most=3000)
    names = [user(f"user{number}") for number in range(5)]
    for name in names:
        scene.device(name, "PHONE")
    for name in [*names, *names]:
        assert set(run(keys.of([name]))[name].devices) == {"PHONE"}
