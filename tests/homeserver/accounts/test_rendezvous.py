"""Sessions: versions, size, number and end."""

import pytest

from homeserver.accounts.rendezvous import LIFETIME_MS, MAX_BYTES, ConcurrentWrite, Rendezvous
from homeserver.errors import NotFound, TooLarge
from tests.homeserver.sync.fakes import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def rendezvous(clock: FakeClock) -> Rendezvous:
    return Rendezvous(clock, enabled=True, most=3)


def test_each_write_makes_a_new_version(rendezvous: Rendezvous) -> None:
    session = rendezvous.create("p", "one")
    first = session.version
    assert rendezvous.replace("p", session.id, "one", first).version != first
    with pytest.raises(ConcurrentWrite) as caught:
        rendezvous.replace("p", session.id, "two", first)
    assert caught.value.session.data == "one"
    assert rendezvous.get("p", session.id).data == "one"


def test_sessions_end_whatever_happens_in_them(clock: FakeClock, rendezvous: Rendezvous) -> None:
    session = rendezvous.create("p", "one")
    clock.advance(LIFETIME_MS / 1000 - 1)
    assert rendezvous.remaining_ms(session) == 1000
    rendezvous.replace("p", session.id, "two", session.version)
    clock.advance(1)
    with pytest.raises(NotFound):
        rendezvous.get("p", session.id)
    with pytest.raises(NotFound):
        rendezvous.delete("p", session.id)


def test_the_oldest_makes_room(rendezvous: Rendezvous) -> None:
    ids = [rendezvous.create("p", "x").id for _ in range(4)]
    with pytest.raises(NotFound):
        rendezvous.get("p", ids[0])
    assert [rendezvous.get("p", each).id for each in ids[1:]] == ids[1:]


def test_protocols_do_not_mix(rendezvous: Rendezvous) -> None:
    session = rendezvous.create("p", "x")
    with pytest.raises(NotFound):
        rendezvous.get("q", session.id)


def test_bytes_are_counted(rendezvous: Rendezvous) -> None:
    session = rendezvous.create("p", "é" * (MAX_BYTES // 2))
    with pytest.raises(TooLarge):
        rendezvous.create("p", "é" * (MAX_BYTES // 2) + "x")
    with pytest.raises(TooLarge):
        rendezvous.replace("p", session.id, "x" * (MAX_BYTES + 1), session.version)
