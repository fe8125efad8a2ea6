"""Key backups: writing to the current version only, reading and deleting any that exists."""

from typing import Any

import orjson
import pytest

from homeserver.devices import key_backup
from homeserver.devices.key_backup import KeyBackup, WrongVersion
from homeserver.errors import BadJson, InvalidParam, NotFound
from storage.key_backup import Session
from tests.homeserver.devices.people import Scene, user
from tests.homeserver.sync.fakes import run

ALICE, BOB = user("alice"), user("bob")
ALGORITHM = "m.megolm_backup.v1.curve25519-aes-sha2"


@pytest.fixture
def backup(scene: Scene) -> KeyBackup:
    return KeyBackup(scene.db.database)


def create(backup: KeyBackup, user_id: str = ALICE) -> str:
    return run(backup.create(user_id, ALGORITHM, {"public_key": "abc"}))


def info(backup: KeyBackup, version: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(run(backup.info(ALICE, version)))
    return found


def session(session_id: str = "s", **changes: Any) -> Session:
    values: dict[str, Any] = {"is_verified": False, "first_message_index": 0, "forwarded_count": 0}
    values |= {"session_data": {"a": 1}, **changes}
    return key_backup.session("!r:hearth.test", session_id, **values)


def test_a_version_is_described(backup: KeyBackup) -> None:
    with pytest.raises(NotFound):
        info(backup)
    assert create(backup) == "1" == create(backup, BOB)
    described = {
        "algorithm": ALGORITHM, "auth_data": {"public_key": "abc"}, "count": 0, "etag": "0", "version": "1"
    }
    assert info(backup) == info(backup, "1") == described
    assert create(backup) == "2"
    assert info(backup)["version"] == "2" and info(backup, "1") == described
    for unknown in ("3", "x", "-1", "9" * 40, "１"):
        with pytest.raises(NotFound):
            info(backup, unknown)


def test_only_auth_data_can_be_changed(backup: KeyBackup) -> None:
    create(backup)
    run(backup.update(ALICE, "1", ALGORITHM, {"public_key": "new"}, "1"))
    assert info(backup)["auth_data"] == {"public_key": "new"}
    with pytest.raises(InvalidParam):
        run(backup.update(ALICE, "1", "other", {}))
    with pytest.raises(InvalidParam):
        run(backup.update(ALICE, "1", ALGORITHM, {}, "2"))
    with pytest.raises(NotFound):
        run(backup.update(ALICE, "2", ALGORITHM, {}))
    assert info(backup)["auth_data"] == {"public_key": "new"}


def test_deleting_twice_is_fine_and_brings_back_the_one_before(backup: KeyBackup) -> None:
    create(backup)
    create(backup)
    for _ in range(2):
        run(backup.delete(ALICE, "2"))
    assert info(backup)["version"] == "1"
    with pytest.raises(NotFound):
        run(backup.delete(ALICE, "3"))
    for operation in (backup.info, backup.sessions, backup.delete_sessions):
        with pytest.raises(NotFound):
            run(operation(ALICE, "2"))


def test_keys_go_into_the_current_version_only(backup: KeyBackup) -> None:
    with pytest.raises(NotFound):
        run(backup.put(ALICE, "1", [session()]))
    create(backup)
    assert run(backup.put(ALICE, "1", [session()])) == {"etag": "1", "count": 1}
    create(backup)
    with pytest.raises(WrongVersion) as wrong:
        run(backup.put(ALICE, "1", [session()]))
    assert (wrong.value.status, wrong.value.body()["current_version"]) == (403, "2")
    with pytest.raises(NotFound):
        run(backup.put(ALICE, "3", [session()]))
    assert run(backup.sessions(ALICE, "1")) == [session()]
    assert run(backup.delete_sessions(ALICE, "1")) == {"etag": "2", "count": 0}


def test_sessions_come_back_as_they_were(backup: KeyBackup) -> None:
    create(backup)
    sent: dict[str, Any] = {
        "is_verified": True,
        "first_message_index": 2**53 - 1,
        "forwarded_count": 3,
        "session_data": {"ciphertext": "x", "ephemeral": {"z": None}},
    }
    run(backup.put(ALICE, "1", [session(**sent)]))
    [found] = run(backup.sessions(ALICE, "1", "!r:hearth.test", "s"))
    assert orjson.loads(orjson.dumps(key_backup.render(found))) == sent
    assert run(backup.sessions(ALICE, "1", "!other:hearth.test")) == []
    with pytest.raises(NotFound):
        run(backup.sessions(BOB, "1"))


def test_a_deactivated_account_keeps_nothing(backup: KeyBackup) -> None:
    create(backup)
    create(backup, BOB)
    run(backup.put(ALICE, "1", [session()]))
    run(backup.forget(ALICE, False))
    with pytest.raises(NotFound):
        info(backup)
    assert run(backup.put(BOB, "1", [session()]))["count"] == 1


def test_malformed_input_is_refused(backup: KeyBackup) -> None:
    with pytest.raises(InvalidParam):
        run(backup.create(ALICE, "", {}))
    with pytest.raises(InvalidParam):
        run(backup.create(ALICE, ALGORITHM, {"x": "x" * 70_000}))
    with pytest.raises(BadJson):
        run(backup.create(ALICE, ALGORITHM, {"x": 2**70}))
    for session_id in ("", "\0", "x" * 300):
        with pytest.raises(InvalidParam):
            session(session_id)
    with pytest.raises(InvalidParam):
        session(session_data={"x": "x" * 70_000})
