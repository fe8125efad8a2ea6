"""A transaction ID belongs to a user, a device and an endpoint, and is new once."""

from typing import Any

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
    assert db.write(transactions.remember, [request, request], 5) == {request}
    assert db.write(transactions.remember, [request, *others], 6) == set(others)
    assert db.write(transactions.remember, [request, *others], 7) == set()


def test_forgetting(db: Any) -> None:
    first, second = (ALICE, "", "e", "1"), (ALICE, "PHONE", "e", "1")
    db.write(transactions.remember, [first], 5)
    db.write(transactions.remember, [second], 7)
    assert db.write(transactions.forget_before, 6) == 1
    assert db.write(transactions.remember, [first, second], 8) == {first}
    db.write(transactions.forget_device, ALICE, "PHONE")
    assert db.write(transactions.remember, [first, second], 9) == {second}
