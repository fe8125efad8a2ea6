"""Fixtures that every test may use: the throw-away PostgreSQL, and a running Hearth on either engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from storage.engines import Engine, PostgresEngine, SQLiteEngine
from tests.harness import ENGINES, HearthServer
from tests.postgres import PostgresServer, postgres
from tests.recycling import RecycledPostgres, SQLiteTemplate

# The machine is shared with servers under test: how long an example takes says nothing.
settings.register_profile("hearth", deadline=None)
settings.load_profile("hearth")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL for the whole run; make a database from it for each test or module."""
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def recycled_postgres(postgres_server: PostgresServer) -> RecycledPostgres:
    return RecycledPostgres(postgres_server)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> SQLiteTemplate:
    return SQLiteTemplate(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(params=ENGINES)
def migrated_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database with the schema and nothing else, as new to each test."""
    if request.param == "sqlite":
        template: SQLiteTemplate = request.getfixturevalue("sqlite_template")
        yield SQLiteEngine(template.copy(tmp_path / "hearth.db"))
        return
    recycled: RecycledPostgres = request.getfixturevalue("recycled_postgres")
    yield PostgresEngine(recycled.arguments)
    recycled.clean()


@pytest.fixture(scope="session", params=ENGINES)
def running_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HearthServer]:
    """One Hearth per engine for the whole run; `server` is what tests ask for."""
    database = request.getfixturevalue("postgres_server") if request.param == "postgres" else None
    with HearthServer(request.param, tmp_path_factory.mktemp("hearth"), database) as server:
        yield server


@pytest.fixture
def server(running_server: HearthServer) -> Iterator[HearthServer]:
    """A running Hearth, shared with other tests: make your own users and rooms. Leave it running.

    The test fails if the server logged an internal error meanwhile.
    """
    running_server.internal_errors()
    yield running_server
    errors = running_server.internal_errors()
    assert not errors, f"The server logged an internal error:\n{errors}"
