"""Claiming: ours from the database, others' from their servers."""

from typing import Any, cast

import orjson
import pytest
from twisted.internet.defer import Deferred

from homeserver.devices.one_time_keys import OneTimeKeys
from homeserver.errors import BadJson, InvalidParam
from storage.database import Database
from tests.homeserver.devices.people import CURVE, SERVER, Device, Scene, user
from tests.homeserver.sync.fakes import run
from tests.storage.conftest import SynchronousDatabase

wait = SynchronousDatabase._wait
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


def test_keys_taken_ahead_are_counted_and_given_out_once(scene: Scene) -> None:
    phone = scene.device(ALICE, "PHONE")
    keys = {f"{CURVE}:{number:02}": {"key": str(number)} for number in range(20)}
    assert scene.upload(phone, one_time=keys) == {CURVE: 20}
    given: dict[str, Any] = {}
    for number in range(1, 21):
        [(name, key)] = claim(scene, {ALICE: {"PHONE": CURVE}})["one_time_keys"][ALICE]["PHONE"].items()
        assert name not in given
        given[name] = key
        assert scene.upload(phone, one_time=keys).get(CURVE, 0) == 20 - number
    assert given == keys and list(given) == sorted(given)
    assert claim(scene, {ALICE: {"PHONE": CURVE}})["one_time_keys"] == {}


class Late:
    """A database that commits claims in their order, but whose answers come when they are let through."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.follow = database.follow
        self._answers: list[tuple[Deferred[Any], Any]] = []

    def write_together(self, fn: Any, item: Any) -> "Deferred[Any]":
        answer: Deferred[Any] = Deferred()
        self._answers.append((answer, wait(self._database.write_together(fn, item))))
        return answer

    def let_through(self) -> None:
        for answer, result in self._answers:
            answer.callback(result)


def test_claims_at_once_leave_no_key_behind(scene: Scene) -> None:
    phone = scene.device(ALICE, "PHONE")
    keys = {f"{CURVE}:{number}": {"key": str(number)} for number in range(4)}
    scene.upload(phone, one_time=keys)
    late = Late(scene.db.database)
    one_time_keys = OneTimeKeys(cast(Database, late), SERVER)
    claims = [Deferred.fromCoroutine(one_time_keys.claim_local({ALICE: {"PHONE": CURVE}})) for _ in keys]
    late.let_through()
    given: list[dict[str, Any]] = [wait(each)[ALICE]["PHONE"] for each in claims]
    assert sorted(name for each in given for name in each) == sorted(keys)


def test_a_crash_gives_no_key_out_twice(scene: Scene) -> None:
    phone = scene.device(ALICE, "PHONE")
    scene.upload(phone, one_time={f"{CURVE}:{number:02}": {"key": str(number)} for number in range(40)})
    names: list[str] = []
    for _ in range(4):
        scene.one_time_keys = OneTimeKeys(scene.db.database, SERVER, scene.remote)
        for _ in range(3):
            names += claim(scene, {ALICE: {"PHONE": CURVE}})["one_time_keys"][ALICE]["PHONE"]
    assert len(set(names)) == len(names) == 12


def test_keys_of_a_deleted_device_are_gone(scene: Scene) -> None:
    phone = scene.device(ALICE, "PHONE")
    scene.upload(phone, one_time={f"{CURVE}:{number:02}": {"key": str(number)} for number in range(20)})
    claim(scene, {ALICE: {"PHONE": CURVE}})
    scene.db.write(scene.keys.forget_devices, ALICE, ["PHONE"])
    assert claim(scene, {ALICE: {"PHONE": CURVE}})["one_time_keys"] == {}


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
    assert scene.upload(device) == {CURVE: 0}


def test_one_fallback_key_an_algorithm(scene: Scene) -> None:
    phone = scene.device(ALICE, "PHONE")
    scene.upload(phone, fallback={f"{CURVE}:A": "a", "other:B": "b", f"{CURVE}:C": "c"})
    assert claim(scene, {ALICE: {"PHONE": CURVE}})["one_time_keys"] == {ALICE: {"PHONE": {f"{CURVE}:C": "c"}}}
