"""A database under test, on both engines, without a reactor.

The fixture `db` runs store functions synchronously: `db.read(fn, …)`, `db.write(fn, …)`; what was announced
stands in `db.changes`.
"""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.database import Database
from storage.engines import Engine, PostgresEngine, SQLiteEngine
from storage.transaction import Change


class InlineReactor:
    """Runs what database threads hand over at once, on their thread, one at a time."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def callFromThread(self, call: Callable[..., Any], *args: Any) -> None:  # noqa: N802
        with self._lock:
            call(*args)


class SynchronousDatabase:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.changes: list[Change] = []
        self.database = Database(engine, InlineReactor())
        self.database.follow(self.changes.extend)
        self.database.start()

    def read(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self._wait(self.database.read(fn, *args))

    def write(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self._wait(self.database.write(fn, *args))

    def close(self) -> None:
        self.database.stop()

    @staticmethod
    def _wait(deferred: Any) -> Any:
        done = threading.Event()
        outcome: list[Any] = []

        def finish(result: Any) -> None:
            outcome.append(result)
            done.set()

        deferred.addBoth(finish)
        if not done.wait(30):
            raise TimeoutError("the database did not answer")
        result = outcome[0]
        if hasattr(result, "raiseException"):
            result.raiseException()
        return result


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "sqlite":
        yield SQLiteEngine(str(tmp_path / "hearth.db"))
        return
    server = request.getfixturevalue("postgres_server")
    arguments = server.create_database()
    yield PostgresEngine(arguments)
    server.drop_database(arguments["dbname"])


@pytest.fixture
def db(migrated_engine: Engine) -> Iterator[SynchronousDatabase]:
    database = SynchronousDatabase(migrated_engine)
    yield database
    database.close()
