"""The group commit when the database goes away: an acknowledged write is there once, positions never lie."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from storage import migrations, writer
from storage.dialect import Insert
from storage.engines import Engine, PostgresEngine, SecondWriter
from storage.transaction import Transaction
from tests.storage.conftest import SynchronousDatabase
from tests.storage.test_database import follow_row


class Lost(Exception):
    """The wire was cut."""


class CutConnection:
    """A connection that breaks when told to; broken, it stays broken."""

    def __init__(self, connection: Any, engine: "CutEngine") -> None:
        self._connection = connection
        self._engine = engine
        self._broken = False

    def cursor(self) -> Any:
        self._check()
        return self._connection.cursor()

    def rollback(self) -> None:
        self._check()
        self._connection.rollback()

    def close(self) -> None:
        self._connection.close()

    def _check(self) -> None:
        if self._broken:
            raise Lost("closed")

    def _break(self) -> None:
        self._broken = True
        self._connection.close()
        raise Lost("cut")


class CutEngine:
    """A real engine behind a wire that can be cut. `away` times nobody answers a new connection."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.dialect = engine.dialect
        self.readers = 1
        self.cut_before_commit = self.cut_after_commit = self.away = self.away_after_reconnect = 0

    def connect(self, *, writer: bool) -> Any:
        if writer and self.away > 0:
            self.away -= 1
            raise Lost("nobody there")
        connection = self._engine.connect(writer=writer)
        return CutConnection(connection, self) if writer else connection

    def begin(self, connection: Any) -> Any:
        if isinstance(connection, CutConnection):
            connection._check()
            connection = connection._connection
        return self._engine.begin(connection)

    def commit(
        self, connection: CutConnection, cursor: Any, inserts: Sequence[Insert], moved: tuple[int, int] | None
    ) -> None:
        connection._check()
        if self.cut_before_commit > 0:
            self.cut_before_commit -= 1
            connection._break()
        self._engine.commit(connection._connection, cursor, inserts, moved)
        if self.cut_after_commit > 0:
            self.cut_after_commit -= 1
            connection._break()

    def locked_position(self, connection: CutConnection) -> int:
        if self.away_after_reconnect > 0:
            self.away_after_reconnect -= 1
            connection._break()
        return self._engine.locked_position(connection._connection)

    def is_lost(self, error: BaseException) -> bool:
        return isinstance(error, Lost) or self._engine.is_lost(error)

    def is_conflict(self, error: BaseException) -> bool:
        return self._engine.is_conflict(error)

    def is_duplicate(self, error: BaseException) -> bool:
        return self._engine.is_duplicate(error)


@pytest.fixture
def wire(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[CutEngine, SynchronousDatabase]]:
    monkeypatch.setattr(writer, "RECONNECT_SECONDS", (0.01,))
    migrations.upgrade(engine)
    cut = CutEngine(engine)
    database = SynchronousDatabase(cut)
    yield cut, database
    database.close()


def rows(db: SynchronousDatabase) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = db.read(
        lambda tx: tx.all("SELECT name, position FROM follower ORDER BY position")
    )
    return found


def test_a_commit_that_did_not_arrive_is_repeated(wire: tuple[CutEngine, SynchronousDatabase]) -> None:
    cut, db = wire
    cut.cut_before_commit, cut.away = 2, 3
    assert db.write(follow_row, "a") == 1
    assert db.write(follow_row, "b") == 2
    assert rows(db) == [("a", 1), ("b", 2)]
    assert [change.position for change in db.changes] == [1, 2]


def test_a_commit_whose_answer_was_lost_is_not_repeated(wire: tuple[CutEngine, SynchronousDatabase]) -> None:
    cut, db = wire
    cut.cut_after_commit, cut.away = 1, 1
    assert db.write(follow_row, "a") == 1
    assert db.write(follow_row, "b") == 2
    assert rows(db) == [("a", 1), ("b", 2)]
    assert [change.position for change in db.changes] == [1, 2]


def test_the_database_may_go_again_before_it_has_told(wire: tuple[CutEngine, SynchronousDatabase]) -> None:
    cut, db = wire
    cut.cut_after_commit, cut.away_after_reconnect = 1, 2
    assert db.write(follow_row, "a") == 1
    assert db.write(follow_row, "b") == 2
    assert rows(db) == [("a", 1), ("b", 2)]


def test_a_commit_lost_on_the_last_try_is_still_counted(
    wire: tuple[CutEngine, SynchronousDatabase],
) -> None:
    cut, db = wire
    cut.cut_before_commit, cut.cut_after_commit = writer.MOST_RETRIES, 1
    assert db.write(follow_row, "a") == 1
    assert db.write(follow_row, "b") == 2
    assert rows(db) == [("a", 1), ("b", 2)]


def test_a_job_that_always_kills_the_connection_fails_alone(
    wire: tuple[CutEngine, SynchronousDatabase],
) -> None:
    cut, db = wire
    cut.cut_before_commit = writer.MOST_RETRIES + 1
    with pytest.raises(Lost):
        db.write(follow_row, "poison")
    assert db.write(follow_row, "well") == 1


def test_stopping_does_not_wait_for_a_database_that_is_gone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RECONNECT_SECONDS", (0.05,))
    migrations.upgrade(engine)
    cut = CutEngine(engine)
    db = SynchronousDatabase(cut)
    cut.cut_before_commit, cut.away = 1, 1_000_000
    failures: list[Any] = []
    db.database.write(follow_row, "never").addErrback(failures.append)
    stopped = threading.Thread(target=db.close)
    stopped.start()
    stopped.join(10)
    assert not stopped.is_alive()
    assert len(failures) == 1


def test_two_writers_do_not_give_out_the_same_positions(engine: Engine) -> None:
    migrations.upgrade(engine)
    first, second = SynchronousDatabase(engine), SynchronousDatabase(engine)
    try:
        first.write(follow_row, "a")
        with pytest.raises(SecondWriter):
            second.write(follow_row, "b")
        assert rows(first) == [("a", 1)]
    finally:
        first.close()
        second.close()


def test_readers_survive_the_loss_of_their_connection(engine: Engine) -> None:
    if not isinstance(engine, PostgresEngine):
        pytest.skip("SQLite has no connection to lose")
    migrations.upgrade(engine)
    db = SynchronousDatabase(engine)
    try:
        db.write(follow_row, "a")
        db.read(_end_all_others)
        for _ in range(6):
            assert rows(db) == [("a", 1)]
        assert db.write(follow_row, "b") == 2
    finally:
        db.close()


def _end_all_others(tx: Transaction) -> None:
    tx.all(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


def test_a_refusal_is_no_lost_connection(db: SynchronousDatabase) -> None:
    """A value too long for an index of PostgreSQL fails at once, and only the job it belongs to."""

    def add(tx: Transaction, name: str) -> None:
        tx.insert("follower", ("name", "position"), [(name, 1)])

    incompressible = "".join(chr(0x4E00 + (n * 7919) % 20_000) for n in range(20_000))
    lost: list[BaseException] = []
    is_lost: Callable[[BaseException], bool] = db.engine.is_lost
    try:
        db.write(add, incompressible)
    except Exception as error:
        if is_lost(error):
            lost.append(error)
    assert not lost
