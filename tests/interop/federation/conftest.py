"""One pair of servers for all tests here; each test runs for rooms made on either side and five versions."""

from collections.abc import Iterator

import pytest

from tests.interop.federation.sides import Direction, Sides, both_sides
from tests.processes import synapse_python

VERSIONS = ["6", "9", "10", "11", "12"]


@pytest.fixture(scope="session")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    if not synapse_python().exists():
        pytest.skip("Synapse is not installed: make peers")
    with both_sides(tmp_path_factory.mktemp("federation")) as made:
        yield made


@pytest.fixture(params=["made by Hearth", "made by Synapse"])
def made_by(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=VERSIONS)
def direction(request: pytest.FixtureRequest, sides: Sides, made_by: str) -> Iterator[Direction]:
    sides.server.internal_errors()
    pair = (sides.hearth, sides.synapse)
    home, away = pair if made_by == "made by Hearth" else pair[::-1]
    yield Direction(sides, home, away, request.param)
    sides.mend()
    errors = sides.server.internal_errors()
    assert not errors, f"Hearth logged an internal error:\n{errors}"
