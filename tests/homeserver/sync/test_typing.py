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
    before = scene.typing.position(ROOM)
    assert 100 < before < scene.positions.position
    scene.typing.set(ROOM, ALICE, False)
    assert scene.typing.users(ROOM) == [BOB]
    assert scene.typing.position(ROOM) > before
    assert scene.positions.woken == [({ROOM}, set())] * 3


def test_those_who_are_woken_read_the_change() -> None:
    scene = Scene()
    seen: list[tuple[bool, list[str]]] = []
    last = [scene.positions.position]

    def read() -> None:
        seen.append((scene.typing.position(ROOM) > last[0], scene.typing.users(ROOM)))
        last[0] = scene.positions.position

    scene.positions.on_wake = read
    scene.typing.set(ROOM, ALICE, True)
    scene.typing.set(ROOM, ALICE, False)
    assert seen == [(True, [ALICE]), (True, [])]


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
    assert len(scene.positions.woken) == 2


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


def test_listeners_hear_of_each_change_and_of_going_on() -> None:
    scene = Scene()
    heard: list[tuple[str, str, bool]] = []
    scene.typing.on_typing.append(lambda *change: heard.append(change))
    scene.typing.set(ROOM, ALICE, True, 10_000)
    scene.typing.set(ROOM, ALICE, True, 10_000)
    scene.clock.advance(11)
    scene.typing.set(ROOM, ALICE, False)
    assert heard == [(ROOM, ALICE, True), (ROOM, ALICE, True), (ROOM, ALICE, False)]
