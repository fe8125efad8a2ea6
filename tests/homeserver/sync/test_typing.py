"""Typing: the list, its timeouts, and that repeating oneself is no news."""

from homeserver.sync.typing import MAX_TIMEOUT_MS, Typing
from tests.homeserver.sync.fakes import FakeClock, FakePositions

ROOM, ALICE, BOB = "!room:example.org", "@alice:example.org", "@bob:example.org"


class Scene:
    def __init__(self) -> None:
        self.clock, self.positions = FakeClock(), FakePositions()
        self.typing = Typing(self.clock, self.positions)


def test_starts_and_stops() -> None:
    scene = Scene()
    assert scene.typing.users(ROOM) == [] and scene.typing.position(ROOM) == 0
    scene.typing.set(ROOM, ALICE, True)
    scene.typing.set(ROOM, BOB, True)
    assert scene.typing.users(ROOM) == [ALICE, BOB]
    assert scene.typing.position(ROOM) == 102
    scene.typing.set(ROOM, ALICE, False)
    assert scene.typing.users(ROOM) == [BOB]
    assert scene.positions.woken == [(n, {ROOM}, set()) for n in (101, 102, 103)]


def test_repeating_extends_without_news() -> None:
    scene = Scene()
    scene.typing.set(ROOM, ALICE, True, 10_000)
    scene.clock.advance(8)
    scene.typing.set(ROOM, ALICE, True, 10_000)
    scene.clock.advance(8)
    assert scene.typing.users(ROOM) == [ALICE]
    assert len(scene.positions.woken) == 1
    scene.clock.advance(3)
    assert scene.typing.users(ROOM) == []
    assert scene.typing.position(ROOM) == 102


def test_stopping_what_did_not_begin_is_no_news() -> None:
    scene = Scene()
    scene.typing.set(ROOM, ALICE, False)
    scene.typing.set(ROOM, ALICE, True, 0)
    scene.typing.set(ROOM, ALICE, True, -5)
    assert scene.positions.woken == []


def test_timeouts_have_a_limit() -> None:
    scene = Scene()
    scene.typing.set(ROOM, ALICE, True, 10**15)
    scene.clock.advance(MAX_TIMEOUT_MS / 1000 + 1)
    assert scene.typing.users(ROOM) == []


def test_shutting_down_leaves_no_timer() -> None:
    scene = Scene()
    scene.typing.set(ROOM, ALICE, True)
    scene.typing.stop_all()
    assert scene.clock.reactor.getDelayedCalls() == []
