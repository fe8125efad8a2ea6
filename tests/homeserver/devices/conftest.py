import pytest

from tests.homeserver.devices.people import Scene
from tests.storage.conftest import SynchronousDatabase


@pytest.fixture
def scene(db: SynchronousDatabase) -> Scene:
    return Scene(db)
