"""Cross-signing keys: the first upload is free, replacing needs authorisation, signatures must be good."""

from typing import Any

import pytest

from homeserver.devices.cross_signing import InvalidSignature, Usage
from homeserver.errors import BadJson, Forbidden, InvalidParam, MissingParam
from tests.homeserver.devices.people import ROOM, Identity, Scene, user
from tests.homeserver.sync.fakes import run

ALICE, BOB = user("alice"), user("bob")


def upload(scene: Scene, keys: Any, *, authorised: bool = False, user_id: str = ALICE) -> bool:
    return run(scene.cross_signing.upload(user_id, keys, authorised=authorised))


def test_all_see_master_and_self_signing_only_the_owner_the_user_signing_key(scene: Scene) -> None:
    identity = Identity(ALICE)
    assert upload(scene, identity.keys())
    answer = scene.query(BOB, ALICE)
    assert answer["master_keys"] == {ALICE: identity.key("master")}
    assert answer["self_signing_keys"] == {ALICE: identity.key("self_signing")}
    assert answer["user_signing_keys"] == {}
    assert scene.query(ALICE, ALICE)["user_signing_keys"] == {ALICE: identity.key("user_signing")}


def test_the_same_keys_again_need_nothing_and_are_no_news(scene: Scene) -> None:
    identity = Identity(ALICE)
    scene.join(ALICE)
    scene.announced()
    assert upload(scene, identity.keys())
    [change] = scene.announced()
    assert (change.users, change.rooms) == ((ALICE,), (ROOM,))
    assert upload(scene, identity.keys()) and upload(scene, identity.keys("master"))
    assert scene.announced() == []


def test_replacing_any_key_needs_authorisation(scene: Scene) -> None:
    old, new = Identity(ALICE), Identity(ALICE)
    assert upload(scene, old.keys())
    assert not upload(scene, new.keys())
    assert not upload(scene, {**old.keys("master"), "self_signing": _key(old, new, "self_signing")})
    assert scene.query(ALICE, ALICE)["master_keys"] == {ALICE: old.key("master")}
    assert upload(scene, new.keys(), authorised=True)
    assert scene.query(ALICE, ALICE)["master_keys"] == {ALICE: new.key("master")}


def test_adding_a_key_to_a_master_key_needs_authorisation(scene: Scene) -> None:
    identity = Identity(ALICE)
    assert upload(scene, identity.keys("master"))
    assert not upload(scene, identity.keys("self_signing"))
    assert upload(scene, identity.keys("self_signing"), authorised=True)


def _key(master: Identity, other: Identity, usage: Usage) -> dict[str, Any]:
    """The key of `other`, signed by the master key of `master`."""
    key = {name: value for name, value in other.key(usage).items() if name != "signatures"}
    return master.sign(key, "master")


def test_other_keys_must_be_signed_by_the_master_key(scene: Scene) -> None:
    identity, stranger = Identity(ALICE), Identity(ALICE)
    with pytest.raises(InvalidSignature):
        upload(scene, {**identity.keys("master"), **stranger.keys("self_signing")})
    with pytest.raises(InvalidSignature):
        unsigned = {**identity.key("user_signing"), "signatures": {}}
        upload(scene, {**identity.keys("master"), "user_signing": unsigned})
    with pytest.raises(MissingParam):
        upload(scene, identity.keys("self_signing"))
    with pytest.raises(MissingParam):
        upload(scene, {"master": None})
    assert scene.query(ALICE, ALICE)["master_keys"] == {}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"user_id": BOB}, InvalidParam),
        ({"usage": ["self_signing"]}, InvalidParam),
        ({"usage": "master"}, InvalidParam),
        ({"keys": {}}, InvalidParam),
        ({"keys": {"ed25519:a": "b"}}, InvalidParam),
        ({"keys": {"ed25519:a": "a"}}, InvalidParam),
        ({"keys": {"ed25519:x": 1}}, InvalidParam),
        ({"keys": {"a": "a", "b": "b"}}, InvalidParam),
        ({"signatures": []}, BadJson),
        ({"signatures": {ALICE: {"x": []}}}, BadJson),
        ({"more": "x" * 20_000}, InvalidParam),
    ],
)
def test_malformed_keys_are_refused(scene: Scene, change: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        upload(scene, {"master": {**Identity(ALICE).key("master"), **change}})


def test_a_key_may_not_be_the_id_of_a_device(scene: Scene) -> None:
    identity = Identity(ALICE)
    scene.sign_in(ALICE, identity.public("self_signing"))
    with pytest.raises(Forbidden):
        upload(scene, identity.keys())
