"""A transaction ID belongs to a user, a device and an endpoint, and is new once."""

from typing import Any

import pytest

from storage import transactions

ALICE = "@alice:hearth.test"


def test_a_request_is_new_once(db: Any) -> None:
    request = (ALICE, "PHONE", "sendToDevice", "1")
    others = [
        ("@bob:hearth.test", *request[1:]),
        (ALICE, "TABLET", *request[2:]),
        (ALICE, "", *request[2:]),
        (ALICE, "PHONE", "another", "1"),
        (ALICE, "PHONE", "sendToDevice", "2"),
    ]
    db.write(transactions.remember, [request], 5)
    db.write(transactions.remember, others, 6)
    assert all(db.read(transactions.is_known, each) for each in (request, *others))
    assert not db.read(transactions.is_known, (ALICE, "PHONE", "sendToDevice", "3"))
    with pytest.raises(Exception) as failure:
        db.write(transactions.remember, [(ALICE, "PHONE", "sendToDevice", "3"), request], 7)
    assert db.database.is_duplicate(failure.value)
    assert not db.read(transactions.is_known, (ALICE, "PHONE", "sendToDevice", "3"))


def test_forgetting(db: Any) -> None:
    first, second = (ALICE, "", "e", "1"), (ALICE, "PHONE", "e", "1")

    def known() -> list[bool]:
        return [db.read(transactions.is_known, each) for each in (first, second)]

    db.write(transactions.remember, [first], 5)
    db.write(transactions.remember, [second], 7)
    assert db.write(transactions.forget_before, 6) == 1
    assert known() == [False, True]
    db.write(transactions.remember, [first], 8)
    db.write(transactions.forget_device, ALICE, "PHONE")
    assert known() == [True, False]
