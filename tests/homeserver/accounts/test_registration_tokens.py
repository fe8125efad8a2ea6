"""Giving out registration tokens: what they may be limited to."""

import pytest

from homeserver.accounts.registration_tokens import MOST
from homeserver.errors import InvalidParam
from tests.homeserver.accounts.house import House
from tests.homeserver.sync.fakes import run
from tests.storage.conftest import SynchronousDatabase


@pytest.fixture
def house(db: SynchronousDatabase) -> House:
    return House(db)


@pytest.mark.parametrize(
    "limits", [(-1, None), (MOST + 1, None), (2**63, None), (1, 0), (1, MOST + 1), (1, 2**64)]
)
def test_limits_that_are_none(house: House, limits: tuple[int, int | None]) -> None:
    with pytest.raises(InvalidParam):
        run(house.registration_tokens.create("token", *limits))
    run(house.registration_tokens.create("token", MOST, MOST))
    with pytest.raises(InvalidParam):
        run(house.registration_tokens.update("token", *limits))
