"""A transaction ID belongs to a user, a device and an endpoint."""

from typing import Any

from storage import transactions

ALICE = "@alice:hearth.test"


def test_the_first_answer_is_remembered(db: Any) -> None:
    request = (ALICE, "PHONE", "sendToDevice", "1")
    assert db.read(transactions.seen, *request) is None
    db.write(transactions.remember, *request, b"{}", 5)
    db.write(transactions.remember, *request, b'{"other":1}', 6)
    assert db.read(transactions.seen, *request) == b"{}"
    for other in (
        ("@bob:hearth.test", *request[1:]),
        (ALICE, "TABLET", *request[2:]),
        (ALICE, None, *request[2:]),
        (ALICE, "PHONE", "another", "1"),
        (ALICE, "PHONE", "sendToDevice", "2"),
    ):
        assert db.read(transactions.seen, *other) is None


def test_forgetting(db: Any) -> None:
    db.write(transactions.remember, ALICE, None, "e", "1", b"1", 5)
    db.write(transactions.remember, ALICE, "PHONE", "e", "1", b"2", 7)
    assert db.write(transactions.forget_before, 6) == 1
    assert db.read(transactions.seen, ALICE, None, "e", "1") is None
    db.write(transactions.forget_device, ALICE, "PHONE")
    assert db.read(transactions.seen, ALICE, "PHONE", "e", "1") is None
