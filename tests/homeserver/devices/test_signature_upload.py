"""Signatures: only good ones by the right key are kept, and only those allowed to see one do."""

from typing import Any

import pytest

from homeserver.errors import InvalidParam
from homeserver.protocol.signing import sign_json
from storage import device_keys
from tests.homeserver.devices.people import ROOM, Device, Identity, Scene, user
from tests.homeserver.sync.fakes import run

ALICE, BOB, CAROL = user("alice"), user("bob"), "@carol:remote.test"


def upload(scene: Scene, signed: Any, signer: str = ALICE) -> dict[str, Any]:
    return run(scene.signatures.upload(signer, signed))


@pytest.fixture
def phone(scene: Scene) -> Device:
    scene.join(ALICE)
    return scene.device(ALICE, "PHONE")


@pytest.fixture
def alice(scene: Scene) -> Identity:
    return _identity(scene, ALICE)


@pytest.fixture
def bob(scene: Scene) -> Identity:
    return _identity(scene, BOB)


def _identity(scene: Scene, user_id: str) -> Identity:
    identity = Identity(user_id)
    assert run(scene.cross_signing.upload(user_id, identity.keys(), authorised=False))
    return identity


def _signatures(scene: Scene, viewer: str, target: str) -> dict[str, Any]:
    """Who signed the target's master key, as the viewer sees it."""
    answer = scene.query(viewer, target)["master_keys"][target]
    return {user_id: set(by_key) for user_id, by_key in answer.get("signatures", {}).items()}


def test_own_device_signed_by_the_self_signing_key(scene: Scene, phone: Device, alice: Identity) -> None:
    scene.announced()
    signed = alice.sign(phone.keys(), "self_signing")
    assert upload(scene, {ALICE: {"PHONE": signed}}) == {}
    [change] = scene.announced()
    assert (change.users, change.rooms) == ((ALICE,), (ROOM,))
    seen = scene.query(BOB, ALICE)["device_keys"][ALICE]["PHONE"]
    assert seen["signatures"][ALICE].keys() == {"ed25519:PHONE", f"ed25519:{alice.public('self_signing')}"}
    assert upload(scene, {ALICE: {"PHONE": signed}}) == {}
    assert scene.announced() == []


def test_uploading_the_keys_again_keeps_the_signature(scene: Scene, phone: Device, alice: Identity) -> None:
    upload(scene, {ALICE: {"PHONE": alice.sign(phone.keys(), "self_signing")}})
    scene.upload(phone, keys=phone.keys())
    assert len(scene.query(BOB, ALICE)["device_keys"][ALICE]["PHONE"]["signatures"][ALICE]) == 2
    scene.upload(phone, keys={**phone.keys(), "algorithms": []})
    assert len(scene.query(BOB, ALICE)["device_keys"][ALICE]["PHONE"]["signatures"][ALICE]) == 1


def test_own_master_key_signed_by_a_device(scene: Scene, phone: Device, alice: Identity) -> None:
    signed = sign_json(alice.key("master"), ALICE, phone.signing_key)
    assert upload(scene, {ALICE: {alice.public("master"): signed}}) == {}
    assert _signatures(scene, BOB, ALICE) == {ALICE: {"ed25519:PHONE"}}
    assert run(scene.cross_signing.upload(ALICE, alice.keys("master"), authorised=False))
    assert _signatures(scene, BOB, ALICE) == {ALICE: {"ed25519:PHONE"}}


def test_what_alice_says_about_bob_only_alice_sees(scene: Scene, alice: Identity, bob: Identity) -> None:
    scene.announced()
    signed = alice.sign(bob.key("master"), "user_signing")
    assert upload(scene, {BOB: {bob.public("master"): signed}}) == {}
    mine = {ALICE: {f"ed25519:{alice.public('user_signing')}"}}
    assert _signatures(scene, ALICE, BOB) == mine
    assert _signatures(scene, BOB, BOB) == {}
    [change] = scene.announced()
    assert (change.users, change.rooms) == ((ALICE,), ())
    assert run(scene.lists.changes(ALICE, change.position - 1, change.position)) == ([BOB], [])
    assert run(scene.lists.changes(BOB, change.position - 1, change.position)) == ([], [])


def test_a_replaced_user_signing_key_counts_no_longer(scene: Scene, alice: Identity, bob: Identity) -> None:
    upload(scene, {BOB: {bob.public("master"): alice.sign(bob.key("master"), "user_signing")}})
    assert run(scene.cross_signing.upload(ALICE, Identity(ALICE).keys(), authorised=True))
    assert _signatures(scene, ALICE, BOB) == {}


def test_a_remote_master_key(scene: Scene, alice: Identity) -> None:
    carol = scene.remote.carol
    signed = alice.sign(carol.key("master"), "user_signing")
    assert upload(scene, {CAROL: {carol.public("master"): signed}}) == {}
    assert _signatures(scene, ALICE, CAROL) == {ALICE: {f"ed25519:{alice.public('user_signing')}"}}
    assert _signatures(scene, BOB, CAROL) == {}


def test_failures_name_the_key_and_the_rest_is_kept(
    scene: Scene, phone: Device, alice: Identity, bob: Identity
) -> None:
    master = alice.public("master")
    good = alice.sign(phone.keys(), "self_signing")
    wrong_key = {**bob.key("master"), "signatures": {ALICE: {"ed25519:PHONE": "AAAA"}}}
    failures = upload(
        scene,
        {
            ALICE: {"PHONE": good, "NONE": good, master: {"signatures": {ALICE: {"x": "y"}}}},
            BOB: {bob.public("master"): wrong_key, "PHONE": good},
            "@x:down.test": {"KEY": good},
        },
    )
    assert {
        (user_id, key_id): error["errcode"]
        for user_id, keys in failures.items()
        for key_id, error in keys.items()
    } == {
        (ALICE, "NONE"): "M_NOT_FOUND",
        (ALICE, master): "M_INVALID_SIGNATURE",
        (BOB, bob.public("master")): "M_INVALID_SIGNATURE",
        (BOB, "PHONE"): "M_NOT_FOUND",
        ("@x:down.test", "KEY"): "M_NOT_FOUND",
    }
    assert len(scene.query(BOB, ALICE)["device_keys"][ALICE]["PHONE"]["signatures"][ALICE]) == 2


@pytest.mark.parametrize(
    "tampered",
    [
        lambda keys: {**keys, "algorithms": []},
        lambda keys: {**keys, "signatures": {}},
        lambda keys: {**keys, "signatures": {ALICE: "x"}},
        lambda keys: {**keys, "signatures": {ALICE: {**keys["signatures"][ALICE], "ed25519:OTHER": "x"}}},
        lambda keys: {**keys, "signatures": {ALICE: {"ed25519:PHONE": "x"}}},
        lambda keys: {**keys, "signatures": {ALICE: {"ed25519:PHONE": 7}}},
        lambda keys: {**keys, "extra": 2**70},
    ],
)
def test_tampered_objects_are_refused(scene: Scene, phone: Device, alice: Identity, tampered: Any) -> None:
    failures = upload(scene, {ALICE: {"PHONE": tampered(alice.sign(phone.keys(), "self_signing"))}})
    assert failures[ALICE]["PHONE"]["errcode"] == "M_INVALID_SIGNATURE"
    assert scene.query(BOB, ALICE)["device_keys"][ALICE]["PHONE"] == {**phone.keys(), "unsigned": {}}


def test_a_key_that_changed_meanwhile_is_left_alone(scene: Scene, phone: Device, alice: Identity) -> None:
    signed = alice.sign(phone.keys(), "self_signing")
    write = scene.db.database.write

    def change_first(fn: Any, *args: Any) -> Any:
        write(device_keys.put_identity_keys, ALICE, "PHONE", b'{"keys":{}}')
        return write(fn, *args)

    scene.db.database.write = change_first  # type: ignore[method-assign, assignment]
    assert upload(scene, {ALICE: {"PHONE": signed}}) == {}
    assert scene.db.read(device_keys.identity_keys, ALICE, "PHONE") == b'{"keys":{}}'


def test_no_end_of_signatures(scene: Scene) -> None:
    with pytest.raises(InvalidParam):
        upload(scene, {ALICE: {f"D{number}": {} for number in range(1001)}})
