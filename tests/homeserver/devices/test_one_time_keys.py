"""Claiming: ours from the database, others' from their servers."""

from typing import Any

import orjson
import pytest

from homeserver.errors import BadJson, InvalidParam
from tests.homeserver.devices.people import CURVE, Device, Scene, user
from tests.homeserver.sync.fakes import run

ALICE, CAROL, DAN = user("alice"), "@carol:remote.test", "@dan:down.test"


def claim(scene: Scene, wanted: dict[str, dict[str, str]], timeout: int = 10_000) -> dict[str, Any]:
    answer: dict[str, Any] = orjson.loads(run(scene.one_time_keys.claim(wanted, timeout)))
    return answer


def test_keys_come_as_they_were_uploaded_then_the_fallback(scene: Scene) -> None:
    phone = scene.device(ALICE, "PHONE")
    one, fallback = {"key": "1", "signatures": {}}, {"key": "f", "fallback": True}
    scene.upload(phone, one_time={f"{CURVE}:A": one}, fallback={f"{CURVE}:F": fallback})
    wanted = {ALICE: {"PHONE": CURVE, "NONE": CURVE, "\0": CURVE}}
    assert claim(scene, wanted) == {
        "one_time_keys": {ALICE: {"PHONE": {f"{CURVE}:A": one}}},
        "failures": {},
    }
    for _ in range(2):
        assert claim(scene, wanted)["one_time_keys"] == {ALICE: {"PHONE": {f"{CURVE}:F": fallback}}}
    assert claim(scene, {ALICE: {"PHONE": "other"}})["one_time_keys"] == {}


def test_plain_keys_are_strings(scene: Scene) -> None:
    phone = scene.device(ALICE, "PHONE")
    scene.upload(phone, one_time={"curve25519:A": "base64"})
    assert claim(scene, {ALICE: {"PHONE": "curve25519"}})["one_time_keys"] == {
        ALICE: {"PHONE": {"curve25519:A": "base64"}}
    }


def test_remote_devices(scene: Scene) -> None:
    answer = claim(scene, {CAROL: {"CAROLS": CURVE}, DAN: {"X": CURVE}}, timeout=10**9)
    assert answer["one_time_keys"] == {CAROL: {"CAROLS": {f"{CURVE}:AA": {"key": "x"}}}}
    assert set(answer["failures"]) == {"down.test"}
    assert all(timeout <= 20_000 for _, _, timeout in scene.remote.asked)


@pytest.mark.parametrize(
    ("name", "key", "error"),
    [
        ("curve25519", "x", InvalidParam),
        (":A", "x", InvalidParam),
        ("curve25519:", "x", InvalidParam),
        ("curve25519:\0", "x", InvalidParam),
        ("curve25519:" + "x" * 300, "x", InvalidParam),
        ("curve25519:A", 5, BadJson),
        ("curve25519:A", "x" * 20_000, InvalidParam),
    ],
)
def test_malformed_keys_are_refused(scene: Scene, name: str, key: Any, error: type[Exception]) -> None:
    device = Device(ALICE, "PHONE")
    for field in ("one_time", "fallback"):
        with pytest.raises(error):
            scene.upload(device, **{field: {"curve25519:GOOD": "x", name: key}})
    assert scene.upload(device) == {}


def test_one_fallback_key_an_algorithm(scene: Scene) -> None:
    phone = scene.device(ALICE, "PHONE")
    scene.upload(phone, fallback={f"{CURVE}:A": "a", "other:B": "b", f"{CURVE}:C": "c"})
    assert claim(scene, {ALICE: {"PHONE": CURVE}})["one_time_keys"] == {ALICE: {"PHONE": {f"{CURVE}:C": "c"}}}
