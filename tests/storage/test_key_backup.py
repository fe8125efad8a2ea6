"""Key backups: versions are never used again, and the better of two keys stays."""

from typing import Any

import pytest

from storage import key_backup
from storage.key_backup import Session, Version

ALICE = "@alice:hearth.test"


def session(
    session_id: str = "s", verified: int = 0, index: int = 5, forwarded: int = 2, data: bytes = b"{}"
) -> Session:
    return Session("!r:hearth.test", session_id, verified, index, forwarded, data)


@pytest.fixture
def version(db: Any) -> int:
    created: int = db.write(key_backup.create_version, ALICE, "algorithm", b"{}")
    return created


def test_versions_count_up_and_are_never_used_again(db: Any, version: int) -> None:
    second = db.write(key_backup.create_version, ALICE, "algorithm", b"[]")
    assert (version, second) == (1, 2)
    assert db.read(key_backup.current_version, ALICE) == Version(2, "algorithm", b"[]", 0, 0, 0)
    db.write(key_backup.delete_version, ALICE, second)
    assert db.read(key_backup.current_version, ALICE).version == 1
    assert db.read(key_backup.get_version, ALICE, 2).deleted == 1
    assert db.write(key_backup.create_version, ALICE, "algorithm", b"{}") == 3
    assert db.read(key_backup.current_version, "@bob:hearth.test") is None


def test_etag_moves_only_with_changes(db: Any, version: int) -> None:
    put = (key_backup.put_sessions, ALICE, version)
    assert db.write(*put, [session("a"), session("b")]) == (1, 2)
    assert db.write(*put, [session("a"), session("b")]) == (1, 2)
    assert db.write(*put, [session("a", index=1), session("c")]) == (2, 3)
    assert db.write(*put, []) == (2, 3)
    info = db.read(key_backup.get_version, ALICE, version)
    assert (info.etag, info.key_count) == (2, 3)


def test_many_sessions_at_once(db: Any, version: int) -> None:
    many = [session(f"s{number}") for number in range(1200)]
    assert db.write(key_backup.put_sessions, ALICE, version, many) == (1, 1200)
    assert len(db.read(key_backup.sessions, ALICE, version)) == 1200


@pytest.mark.parametrize(
    ("other", "better"),
    [
        (session(verified=1, index=9, forwarded=9, data=b"[]"), True),
        (session(index=4, forwarded=9, data=b"[]"), True),
        (session(index=5, forwarded=1, data=b"[]"), True),
        (session(data=b"[]"), False),
        (session(index=6, forwarded=0, data=b"[]"), False),
        (session(index=5, forwarded=3, data=b"[]"), False),
    ],
)
def test_the_better_key_stays(db: Any, version: int, other: Session, better: bool) -> None:
    db.write(key_backup.put_sessions, ALICE, version, [session()])
    db.write(key_backup.put_sessions, ALICE, version, [other])
    assert db.read(key_backup.sessions, ALICE, version) == [other if better else session()]


def test_an_unverified_key_never_replaces_a_verified_one(db: Any, version: int) -> None:
    verified = session(verified=1)
    db.write(key_backup.put_sessions, ALICE, version, [verified])
    db.write(key_backup.put_sessions, ALICE, version, [session(index=0, forwarded=0)])
    assert db.read(key_backup.sessions, ALICE, version) == [verified]


def test_reading_and_deleting_by_room_and_session(db: Any, version: int) -> None:
    elsewhere = session("a")._replace(room_id="!other:hearth.test")
    db.write(key_backup.put_sessions, ALICE, version, [session("a"), session("b"), elsewhere])
    read = (key_backup.sessions, ALICE, version)
    assert len(db.read(*read)) == 3
    assert db.read(*read, "!other:hearth.test") == [elsewhere]
    assert db.read(*read, "!r:hearth.test", "b") == [session("b")]
    delete = (key_backup.delete_sessions, ALICE, version)
    assert db.write(*delete, "!r:hearth.test", "b") == (2, 2)
    assert db.write(*delete, "!r:hearth.test", "b") == (2, 2)
    assert db.write(*delete, "!r:hearth.test") == (3, 1)
    assert db.write(*delete) == (4, 0)


def test_deleting_a_version_deletes_its_keys(db: Any, version: int) -> None:
    db.write(key_backup.put_sessions, ALICE, version, [session("a")])
    db.write(key_backup.delete_version, ALICE, version)
    assert db.read(key_backup.sessions, ALICE, version) == []
