"""Presence: what syncs, activity and time make of it, and who is told."""

from collections.abc import Collection

import pytest

from homeserver.errors import BadJson
from homeserver.sync.presence import GATHER_SECONDS, Presence
from tests.homeserver.sync.fakes import START_MS, FakeClock, FakePositions, run
from tests.storage.conftest import SynchronousDatabase

ALICE, BOB, STRANGER = "@alice:example.org", "@bob:example.org", "@stranger:example.org"
ROOM = "!room:example.org"


class Scene:
    def __init__(self, database: SynchronousDatabase, enabled: bool = True) -> None:
        self.clock, self.positions = FakeClock(), FakePositions()
        self.db = database
        self.presence = Presence(
            database.database, self.clock, self.positions, joined_rooms=self._joined_rooms, enabled=enabled
        )

    async def _joined_rooms(self, user_id: str) -> Collection[str]:
        return [] if user_id == STRANGER else [ROOM]

    def state(self, user_id: str = ALICE) -> str:
        state = self.presence.get(user_id)
        return "unknown" if state is None else state.state

    def settle(self) -> None:
        """Lets gathered news be announced (it may read from the database on the way)."""
        self.clock.advance(GATHER_SECONDS + 0.01)
        if self.presence._announcing is not None:
            SynchronousDatabase._wait(self.presence._announcing)


@pytest.fixture
def scene(db: SynchronousDatabase) -> Scene:
    return Scene(db)


def test_a_sync_makes_online_and_silence_offline(scene: Scene) -> None:
    assert scene.state() == "unknown"
    scene.presence.seen(ALICE, None, "PHONE")
    assert scene.state() == "online"
    scene.clock.advance(29)
    assert scene.state() == "online"
    scene.clock.advance(2)
    assert scene.state() == "offline"


def test_a_long_poll_counts_until_its_end(scene: Scene) -> None:
    scene.presence.seen(ALICE, "online", "PHONE", wait_ms=60_000)
    scene.clock.advance(89)
    assert scene.state() == "online"
    scene.clock.advance(2)
    assert scene.state() == "offline"


def test_set_presence_offline_leaves_no_trace(scene: Scene) -> None:
    scene.presence.seen(ALICE, "offline", "PHONE")
    assert scene.state() == "unknown"


def test_idle_after_five_minutes_and_back_with_activity(scene: Scene) -> None:
    for _ in range(13):
        scene.presence.seen(ALICE, "online", "PHONE", wait_ms=30_000)
        scene.clock.advance(25)
    assert scene.state() == "unavailable"
    scene.presence.active(ALICE)
    assert scene.state() == "online"


def test_one_device_idle_another_online(scene: Scene) -> None:
    scene.presence.seen(ALICE, "unavailable", "DESKTOP", wait_ms=60_000)
    assert scene.state() == "unavailable"
    scene.presence.seen(ALICE, "online", "PHONE")
    assert scene.state() == "online"
    scene.clock.advance(31)
    assert scene.state() == "unavailable"


def test_currently_active_ends_after_a_minute(scene: Scene) -> None:
    scene.presence.seen(ALICE, "online", "PHONE", wait_ms=300_000)
    state = scene.presence.get(ALICE)
    assert state is not None and state.content(scene.clock.now_ms()) == {
        "presence": "online", "last_active_ago": 0, "currently_active": True,
    }  # fmt: skip
    scene.clock.advance(61)
    state = scene.presence.get(ALICE)
    assert state is not None and not state.currently_active
    assert state.content(scene.clock.now_ms())["last_active_ago"] == 61_000


def test_invisible_stays_invisible_until_the_next_session(scene: Scene) -> None:
    scene.presence.seen(ALICE, "online", "PHONE")
    scene.presence.set(ALICE, "offline")
    for _ in range(4):
        scene.clock.advance(20)
        scene.presence.seen(ALICE, "online", "PHONE")
        assert scene.state() == "offline"
    scene.presence.active(ALICE)
    assert scene.state() == "offline"
    scene.clock.advance(40)
    scene.presence.seen(ALICE, "online", "PHONE")
    assert scene.state() == "online"


def test_chosen_idle_lasts_until_activity(scene: Scene) -> None:
    scene.presence.seen(ALICE, "online", "PHONE")
    scene.presence.set(ALICE, "unavailable", "lunch")
    scene.clock.advance(10)
    scene.presence.seen(ALICE, "online", "PHONE")
    assert scene.state() == "unavailable"
    scene.presence.active(ALICE)
    assert scene.state() == "online"


def test_setting_without_sync_lasts_a_moment(scene: Scene) -> None:
    scene.presence.set(ALICE, "online", "here")
    assert scene.state() == "online"
    scene.clock.advance(31)
    assert scene.state() == "offline"
    state = scene.presence.get(ALICE)
    assert state is not None and state.status_msg == "here"


def test_wrong_values_are_refused(scene: Scene) -> None:
    with pytest.raises(BadJson):
        scene.presence.set(ALICE, "busy")
    with pytest.raises(BadJson):
        scene.presence.set(ALICE, "online", "x" * 3000)
    assert scene.state() == "unknown"


def test_news_is_gathered_and_announced_once(scene: Scene) -> None:
    scene.presence.seen(ALICE)
    scene.presence.seen(BOB)
    assert scene.positions.woken == []
    read_when_woken: list[str] = []
    scene.positions.on_wake = lambda: read_when_woken.extend(
        state.user_id for state in scene.presence.changes(100, {ALICE, BOB})
    )
    scene.settle()
    assert scene.positions.woken == [({ROOM}, {ALICE, BOB})]
    assert sorted(read_when_woken) == [ALICE, BOB]
    assert [s.user_id for s in scene.presence.changes(100, {BOB})] == [BOB]
    assert {s.user_id for s in scene.presence.changes(0, {ALICE, BOB})} == {ALICE, BOB}
    assert scene.presence.changes(101, {ALICE, BOB}) == []
    scene.presence.seen(ALICE)
    scene.settle()
    assert len(scene.positions.woken) == 1
    scene.clock.advance(40)
    scene.settle()
    assert [(s.user_id, s.state) for s in scene.presence.changes(101, {ALICE})] == [(ALICE, "offline")]
    assert scene.presence.changes(0, {ALICE}) == []
    [change] = scene.presence.changes(101, {ALICE})
    assert change.event(scene.clock.now_ms())["sender"] == ALICE


def test_listeners_get_the_news_once(scene: Scene) -> None:
    heard: list[list[tuple[str, str]]] = []
    scene.presence.on_news.append(lambda news: heard.append([(each.user_id, each.state) for each in news]))
    scene.presence.seen(ALICE, None, "PHONE")
    scene.presence.seen(ALICE, None, "TABLET")
    scene.settle()
    assert heard == [[(ALICE, "online")]]


def test_a_changed_profile_is_shown(scene: Scene) -> None:
    scene.presence.show_profile(BOB, {"displayname": "nobody knows Bob yet"})
    scene.presence.seen(ALICE)
    scene.settle()
    scene.presence.show_profile(ALICE, {"displayname": "Alice", "m.tz": "Europe/London"})
    scene.settle()
    assert len(scene.positions.woken) == 2
    [change] = scene.presence.changes(102, {ALICE, BOB})
    content = change.event(scene.clock.now_ms())["content"]
    assert (content["presence"], content["displayname"]) == ("online", "Alice")
    assert "m.tz" not in content


def test_presence_is_for_those_who_share_a_room(scene: Scene) -> None:
    assert run(scene.presence.may_see(ALICE, BOB))
    assert run(scene.presence.may_see(STRANGER, STRANGER))
    assert not run(scene.presence.may_see(ALICE, STRANGER))
    assert not run(scene.presence.may_see(STRANGER, ALICE))


def test_disabled_presence_is_silent(db: SynchronousDatabase) -> None:
    scene = Scene(db, enabled=False)
    scene.presence.seen(ALICE)
    scene.presence.set(ALICE, "online")
    scene.presence.active(ALICE)
    assert scene.state() == "unknown"
    assert run(scene.presence.lookup(ALICE)).state == "offline"
    assert scene.clock.reactor.getDelayedCalls() == []


def test_status_and_activity_survive_a_restart(db: SynchronousDatabase) -> None:
    before = Scene(db)
    before.presence.set(ALICE, "online", "in a meeting")
    before.settle()
    run(before.presence.stop())
    assert before.clock.reactor.getDelayedCalls() == []

    after = Scene(db)
    found = run(after.presence.lookup(ALICE))
    assert (found.state, found.status_msg, found.last_active_ts) == ("offline", "in a meeting", START_MS)
    after.presence.seen(ALICE)
    after.settle()
    [change] = after.presence.changes(100, {ALICE})
    assert (change.state, change.status_msg) == ("online", "in a meeting")
