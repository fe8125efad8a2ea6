"""Fixtures that every test may use: the throw-away PostgreSQL."""

from collections.abc import Iterator

import pytest

from tests.postgres import PostgresServer, postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL for the whole run; make a database from it for each test or module."""
    with postgres() as server:
        yield server
