"""Fixtures that every test may use: the throw-away PostgreSQL, and a running Hearth on either engine."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.harness import ENGINES, HearthServer
from tests.postgres import PostgresServer, postgres

# The machine is shared with servers under test: how long an example takes says nothing.
settings.register_profile("hearth", deadline=None)
settings.load_profile("hearth")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL for the whole run; make a database from it for each test or module."""
    with postgres() as server:
        yield server


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
