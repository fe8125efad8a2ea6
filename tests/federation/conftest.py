import pytest

from tests.homeserver.rooms.house import House
from tests.storage.conftest import SynchronousDatabase
from tests.storage.conftest import db as db


@pytest.fixture
def house(db: SynchronousDatabase) -> House:
    return House(db)
