"""The group commit: what was acknowledged is there, positions have no gap, a bad job harms nobody."""

import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from twisted.python.failure import Failure

from storage import migrations
from storage.transaction import Transaction
from storage.writer import Abandoned
from tests.storage.conftest import SynchronousDatabase


def follow_row(tx: Transaction, name: str) -> int:
    position = tx.announce("test", users=[name])
    tx.buffer("follower", ("name", "position"), (name, position))
    return position


def test_what_is_written_is_read(db: SynchronousDatabase) -> None:
    position = db.write(follow_row, "a")
    assert db.read(lambda tx: tx.value("SELECT position FROM follower WHERE name = ?", ["a"])) == position
    assert [(change.stream, change.users) for change in db.changes] == [("test", ("a",))]


def test_positions_are_gapless_and_survive_failures(db: SynchronousDatabase) -> None:
    def failing(tx: Transaction) -> None:
        follow_row(tx, "lost")
        raise ValueError("no")

    deferreds = []
    errors: list[Failure] = []

    def note(failure: Failure) -> None:
        errors.append(failure)

    for number in range(50):
        deferreds.append(db.database.write(follow_row, f"f{number}"))
        if number % 7 == 0:
            failure = db.database.write(failing)
            failure.addErrback(note)
    for deferred in deferreds:
        db._wait(deferred)
    rows = db.read(lambda tx: tx.all("SELECT position FROM follower ORDER BY position"))
    positions = [row[0] for row in rows]
    assert positions == list(range(1, 51))
    assert db.read(lambda tx: tx.value("SELECT position FROM stream_position")) == 50
    assert [change.position for change in db.changes] == positions


def test_a_duplicate_fails_alone(db: SynchronousDatabase) -> None:
    db.write(follow_row, "twice")
    with pytest.raises(Exception) as caught:
        db.write(follow_row, "twice")
    assert db.database.is_duplicate(caught.value)
    db.write(follow_row, "after")
    assert db.database.position == 2


def test_any_and_insert(db: SynchronousDatabase) -> None:
    db.write(lambda tx: tx.insert("follower", ("name", "position"), [(f"n{n}", n) for n in range(2500)]))
    found = db.read(
        lambda tx: tx.all(
            f"SELECT name FROM follower WHERE {tx.any('name')} AND position < ? ORDER BY name",
            [tx.array(["n1", "n2", "n2400", "x"]), 100],
        )
    )
    assert found == [("n1",), ("n2",)]


def test_bytes_and_percent_signs(db: SynchronousDatabase) -> None:
    def write(tx: Transaction) -> None:
        columns = ("nid", "room_id", "version", "depth", "position", "extremities")
        tx.insert("room", columns, [(1, "!100%s:x", "1", 0, 0, b"\x00\xff[]")])

    db.write(write)
    assert db.read(lambda tx: tx.one("SELECT extremities, room_id FROM room WHERE room_id LIKE '!100%'")) == (
        b"\x00\xff[]",
        "!100%s:x",
    )


def test_many_threads_share_commits(db: SynchronousDatabase) -> None:
    def write_some(name: int) -> None:
        for number in range(20):
            db.write(follow_row, f"{name}-{number}")

    threads = [threading.Thread(target=write_some, args=[name]) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert db.read(lambda tx: tx.one("SELECT count(*), max(position) FROM follower")) == (160, 160)


def test_a_newer_schema_is_refused(db: SynchronousDatabase) -> None:
    db.write(
        lambda tx: tx.insert("schema_version", ("number", "name", "digest"), [(999, "999_future.sql", "")])
    )
    with pytest.raises(migrations.SchemaTooNew):
        migrations.upgrade(db.engine)


def test_work_built_on_a_failure_is_abandoned(db: SynchronousDatabase) -> None:
    def failing(tx: Transaction) -> None:
        raise ValueError("no")

    job, first = db.database.write_after(None, failing)
    job2, second = db.database.write_after(job, follow_row, "built on it")
    _, third = db.database.write_after(job2, follow_row, "built on that")
    first.addErrback(lambda failure: None)
    for deferred in (second, third):
        with pytest.raises(Abandoned):
            db._wait(deferred)
    assert db.read(lambda tx: tx.value("SELECT count(*) FROM follower")) == 0


def test_what_waits_together_is_written_at_once(db: SynchronousDatabase) -> None:
    calls: list[list[int]] = []
    begin, waits = threading.Event(), threading.Event()

    def double(_tx: Transaction, items: Sequence[int]) -> list[int]:
        calls.append(list(items))
        if 13 in items:
            raise ValueError("13")
        return [2 * item for item in items]

    def hold(_tx: Transaction) -> None:
        begin.set()
        waits.wait(10)

    def keep(item: int, outcome: Any) -> None:
        outcomes[item] = outcome  # and not in the Deferred, which would complain of it in another test

    outcomes: dict[int, Any] = {}
    held = db.database.write(hold)
    begin.wait(10)
    for item in (1, 2, 13, 3):
        deferred = db.database.write_together(double, item)
        deferred.addBoth(partial(keep, item))
    waits.set()
    db._wait(held)
    db.write(lambda tx: None)
    assert calls[0] == [1, 2, 13, 3] and calls[1:] == [[1], [2], [13], [3]]
    assert [outcomes[item] for item in (1, 2, 3)] == [2, 4, 6]
    assert outcomes[13].check(ValueError)


def test_many_rows_are_what_they_would_be_one_by_one(db: SynchronousDatabase) -> None:
    def put(tx: Transaction, count: int) -> None:
        tx.insert("to_device_message", ("user_id", "device_id", "position", "message"), messages(count))
        devices = [(f"@{count}", f"D{n}", None if n % 2 else "name", n) for n in range(count)]
        tx.insert("device", ("user_id", "device_id", "display_name", "created_ts"), devices)

    def messages(count: int) -> list[tuple[str, str, int, bytes]]:
        return [(f"@ü{count}\t\\N:x", f"D{n}", n - 2**40, bytes([n, 0, 255]) * n) for n in range(count)]

    db.write(put, 3)
    db.write(put, 200)
    everything = "SELECT user_id, device_id, position, message FROM to_device_message"
    rows = db.read(lambda tx: tx.all(everything))
    assert sorted(rows) == sorted(messages(3) + messages(200))
    unnamed = "SELECT count(*) FROM device WHERE display_name IS NULL"
    assert db.read(lambda tx: tx.value(unnamed)) == 101
    with pytest.raises(Exception) as caught:
        db.write(put, 200)
    assert db.database.is_duplicate(caught.value)
