from collections.abc import Iterator

import pytest

from tests.federation.authority import Authority
from tests.federation.company import Company, company
from tests.federation.processes import federate
from tests.federation.server.world import World
from tests.federation.synthetic import Synthetic
from tests.harness import ENGINES, HearthServer


@pytest.fixture(scope="package")
def between(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    with company(tmp_path_factory.mktemp("transactions")) as both:
        yield both


@pytest.fixture(scope="package", params=ENGINES)
def running_world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    database = request.getfixturevalue("postgres_server") if request.param == "postgres" else None
    directory = tmp_path_factory.mktemp("served")
    authority = Authority(directory)
    here = HearthServer(request.param, directory / "here", database)
    name = federate(here.process, authority)
    with Synthetic(authority) as there, Synthetic(authority, "127.0.0.1", seed=1) as elsewhere, here:
        yield World(here, name, there, elsewhere)


@pytest.fixture
def world(running_world: World) -> Iterator[World]:
    running_world.there.behave()
    running_world.here.internal_errors()
    yield running_world
    errors = running_world.here.internal_errors()
    assert not errors, f"The server logged an internal error:\n{errors}"
