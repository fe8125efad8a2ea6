"""A server of the test's own, which clients may ask to have killed and restarted."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import ENGINES
from tests.processes import ServerProcess, server_of_its_own


@pytest.fixture(params=ENGINES)
def homeserver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    postgres = request.getfixturevalue("postgres_server") if request.param == "postgres" else None
    with server_of_its_own(request.param, tmp_path / "server", postgres) as process:
        yield process
