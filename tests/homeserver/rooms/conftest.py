import pytest

from tests.homeserver.rooms.house import House
from tests.storage.conftest import SynchronousDatabase


@pytest.fixture
def house(db: SynchronousDatabase) -> House:
    return House(db)
