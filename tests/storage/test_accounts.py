"""Guests among accounts, and guests who become users."""

from storage import accounts
from storage.accounts import Account
from tests.storage.conftest import SynchronousDatabase

ALICE, GUEST, GONE = "@alice:here", "@guest-1:here", "@guest-2:here"


def people(db: SynchronousDatabase) -> None:
    for account in (
        Account(ALICE, "hash", 1),
        Account(GUEST, None, 1, is_guest=True),
        Account(GONE, None, 1, is_guest=True),
    ):
        assert db.write(accounts.add, account)
    db.write(accounts.deactivate, GONE, False)


def test_guests_among(db: SynchronousDatabase) -> None:
    people(db)
    assert db.read(accounts.guests_among, [ALICE, GUEST, "@nobody:here"]) == [GUEST]
    assert db.read(accounts.guests_among, []) == []


def test_only_guests_become_users(db: SynchronousDatabase) -> None:
    people(db)
    assert db.write(accounts.become_user, GUEST, "new")
    user = db.read(accounts.get, GUEST)
    assert user is not None and (user.is_guest, user.password) == (False, "new")
    for nobody in (GUEST, ALICE, GONE, "@nobody:here"):
        assert not db.write(accounts.become_user, nobody, "other")
    alice = db.read(accounts.get, ALICE)
    assert alice is not None and alice.password == "hash"
