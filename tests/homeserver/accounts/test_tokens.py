import pytest

from homeserver.accounts.settings import AccountSettings
from homeserver.errors import Forbidden, UnknownToken
from tests.homeserver.accounts.house import ALICE, House
from tests.homeserver.sync.fakes import run
from tests.storage.conftest import SynchronousDatabase

REFRESHED = AccountSettings(refreshable_access_token_lifetime=60_000, refresh_token_lifetime=3_600_000)


def test_a_token_is_recognised_also_after_a_restart(db: SynchronousDatabase) -> None:
    session = House(db).register(device_id="PHONE")
    house = House(db)
    assert house.tokens.cached(session.access_token) is None
    me = run(house.tokens.find(session.access_token)).requester("192.0.2.1", "test")
    assert (me.user_id, me.device_id, me.is_admin, me.is_guest) == (ALICE, "PHONE", False, False)
    assert house.tokens.cached(session.access_token) is not None


def test_no_token_is_stored_as_it_is(db: SynchronousDatabase) -> None:
    house = House(db)
    house.register()
    session = run(house.accounts.log_in(ALICE, "PHONE", None, refreshable=True))
    stored = db.read(lambda tx: tx.all("SELECT hash, refresh_hash FROM access_token"))
    for secret in (session.access_token, session.refresh_token or ""):
        assert secret.encode() not in [bytes(value) for row in stored for value in row if value is not None]


def test_the_old_pair_is_good_until_the_new_one_is_used(db: SynchronousDatabase) -> None:
    house = House(db, REFRESHED)
    house.register()
    first = run(house.accounts.log_in(ALICE, "PHONE", None, refreshable=True))
    assert first.refresh_token is not None
    run(house.tokens.find(first.access_token))
    lost = run(house.tokens.refresh(first.refresh_token))
    house = House(db, REFRESHED, clock=house.clock)  # nothing of this depends on memory
    second = run(house.tokens.refresh(first.refresh_token))
    run(house.tokens.find(first.access_token))
    with pytest.raises(UnknownToken):
        run(house.tokens.find(lost.access_token))
    assert run(house.tokens.find(second.access_token)).requester("", "").device_id == "PHONE"
    assert house.tokens.cached(first.access_token) is None
    for gone in (first.access_token, lost.access_token):
        with pytest.raises(UnknownToken):
            run(house.tokens.find(gone))
    with pytest.raises(UnknownToken):
        run(house.tokens.refresh(first.refresh_token))


def test_using_the_new_refresh_token_also_ends_the_old_pair(db: SynchronousDatabase) -> None:
    house = House(db, REFRESHED)
    house.register()
    first = run(house.accounts.log_in(ALICE, "PHONE", None, refreshable=True))
    assert first.refresh_token is not None
    second = run(house.tokens.refresh(first.refresh_token))
    assert second.refresh_token is not None
    third = run(house.tokens.refresh(second.refresh_token))
    with pytest.raises(UnknownToken):
        run(house.tokens.refresh(first.refresh_token))
    run(house.tokens.find(second.access_token))
    run(house.tokens.find(third.access_token))
    with pytest.raises(UnknownToken):
        run(house.tokens.find(second.access_token))


def test_expired_tokens_are_soft_logouts_and_can_be_refreshed(db: SynchronousDatabase) -> None:
    house = House(db, REFRESHED)
    house.register()
    session = run(house.accounts.log_in(ALICE, "PHONE", None, refreshable=True))
    assert session.refresh_token is not None
    assert session.expires_in_ms == 60_000
    run(house.tokens.find(session.access_token))
    house.clock.advance(61)
    with pytest.raises(UnknownToken) as raised:
        run(house.tokens.find(session.access_token))
    assert raised.value.extra == {"soft_logout": True}
    run(house.tokens.refresh(session.refresh_token))
    house.clock.advance(3600)
    with pytest.raises(UnknownToken) as raised:
        run(house.tokens.refresh(session.refresh_token))
    assert raised.value.extra == {"soft_logout": True}


def test_a_session_ends_however_often_it_is_refreshed(db: SynchronousDatabase) -> None:
    house = House(db, AccountSettings(session_lifetime=100_000, refreshable_access_token_lifetime=60_000))
    house.register()
    session = run(house.accounts.log_in(ALICE, "PHONE", None, refreshable=True))
    house.clock.advance(70)
    assert session.refresh_token is not None
    session = run(house.tokens.refresh(session.refresh_token))
    assert session.expires_in_ms == 30_000
    house.clock.advance(31)
    assert session.refresh_token is not None
    with pytest.raises(UnknownToken):
        run(house.tokens.refresh(session.refresh_token))


def test_a_login_token_is_good_once_and_not_for_long(db: SynchronousDatabase) -> None:
    house = House(db)
    token, lifetime = run(house.tokens.create_login_token(ALICE))
    assert run(house.tokens.use_login_token(token)) == ALICE
    with pytest.raises(Forbidden):
        run(house.tokens.use_login_token(token))
    token, lifetime = run(house.tokens.create_login_token(ALICE))
    house.clock.advance(lifetime / 1000)
    with pytest.raises(Forbidden):
        run(house.tokens.use_login_token(token))
