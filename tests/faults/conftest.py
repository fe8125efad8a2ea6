"""A server of the test's own, which it kills and restarts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.hostile import Scene
from tests.harness import ENGINES
from tests.processes import ServerProcess, server_of_its_own


@pytest.fixture(params=ENGINES)
def homeserver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    postgres = request.getfixturevalue("postgres_server") if request.param == "postgres" else None
    with server_of_its_own(request.param, tmp_path / "server", postgres) as process:
        yield process


@pytest.fixture
def undisturbed(here: Scene) -> Iterator[None]:
    """Time and memory are bounded, and a bystander notices nothing, while the test lasts."""
    with here.undisturbed():
        yield
