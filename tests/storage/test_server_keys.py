"""Keys of other servers, on both engines."""

from storage import server_keys
from storage.server_keys import MOST_KEYS, StoredDocument, StoredKey
from tests.storage.conftest import SynchronousDatabase


def store(
    db: SynchronousDatabase, keys: list[StoredKey], valid_until: int = 100, *, from_origin: bool = True
) -> list[StoredKey]:
    def write(tx: object) -> list[StoredKey]:
        document = StoredDocument(b"{\0}", valid_until, 7)
        return server_keys.store(tx, "a.test", keys, document, from_origin=from_origin)  # type: ignore[arg-type]

    stored: list[StoredKey] = db.write(write)
    return sorted(stored)


def test_keys_and_their_document_come_back(db: SynchronousDatabase) -> None:
    assert db.read(server_keys.document_of, "a.test") is None
    keys = [StoredKey("ed25519:a", "AAAA", False, 100), StoredKey("ed25519:b", "BBBB", True, 5)]
    assert store(db, keys) == keys
    found = db.read(server_keys.keys_of, ["a.test", "b.test"])
    assert sorted(found["a.test"]) == keys and list(found) == ["a.test"]
    assert db.read(server_keys.document_of, "a.test") == StoredDocument(b"{\0}", 100, 7)


def test_the_origin_has_the_last_word_and_no_key_is_forgotten(db: SynchronousDatabase) -> None:
    store(db, [StoredKey("ed25519:a", "AAAA", False, 100)])
    ended = StoredKey("ed25519:a", "AAAA", True, 50)
    new = StoredKey("ed25519:b", "BBBB", False, 90)
    assert store(db, [new, ended], 90) == [ended, new]
    again = StoredKey("ed25519:b", "BBBB", False, 95)
    assert store(db, [again], 95) == [ended, again]


def test_what_is_older_and_second_hand_only_adds(db: SynchronousDatabase) -> None:
    now = StoredKey("ed25519:a", "AAAA", True, 50)
    store(db, [now])
    stale = StoredKey("ed25519:a", "XXXX", False, 99)
    other = StoredKey("ed25519:b", "BBBB", False, 99)
    assert store(db, [stale, other], 99, from_origin=False) == [now, other]
    assert db.read(server_keys.document_of, "a.test").valid_until == 100
    newer = StoredKey("ed25519:b", "BBBB", False, 101)
    assert store(db, [newer], 101, from_origin=False) == [now, newer]


def test_a_server_has_a_bounded_number_of_keys(db: SynchronousDatabase) -> None:
    for batch in range(3):
        keys = [StoredKey(f"ed25519:{batch}_{number}", "AAAA", False, batch) for number in range(100)]
        stored = store(db, keys, 200 + batch)
    assert len(stored) == MOST_KEYS
    assert {key.valid_until for key in stored} == {1, 2}
