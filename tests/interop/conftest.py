"""A Hearth in a process of its own, on each engine.

HEARTH_TEST_SERVER=synapse runs these tests against Synapse instead: a test that fails there too is wrong.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import PostgresServer
from tests.processes import SERVER_KINDS, ServerProcess


@pytest.fixture(params=["sqlite", "postgres"])
def homeserver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    database = None
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        database = {"name": "psycopg2", "args": server.create_database()}
    kind = SERVER_KINDS[os.environ.get("HEARTH_TEST_SERVER", "hearth")]
    with kind(tmp_path / "server", database) as process:
        yield process
