"""Lists of remote users' devices: whatever is lost, late or doubled, they end as what their server has."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeserver.devices.remote_lists import DeviceUpdate, FetchedList, RemoteLists
from homeserver.devices.resync import GATHER_SECONDS
from homeserver.errors import RemoteError
from storage import device_lists
from storage import remote_devices as store
from storage.engines import SQLiteEngine
from storage.remote_devices import KeptList
from tests.homeserver.sync.fakes import FakeClock, run
from tests.recycling import SQLiteTemplate
from tests.storage.conftest import SynchronousDatabase
from tests.waiting import until

_numbers = itertools.count(1)


class Owner:
    """A remote user, as their server knows them; `down` servers do not answer."""

    def __init__(self) -> None:
        self.user_id = f"@owner{next(_numbers)}:there"
        self.devices: dict[str, bytes] = {}
        self.stream_id = 0
        self.down = False

    def change(self, device_id: str, deleted: bool) -> DeviceUpdate:
        previous, self.stream_id = self.stream_id, self.stream_id + 1
        keys = None if deleted else b'{"version":%d}' % self.stream_id
        if keys is None:
            self.devices.pop(device_id, None)
        else:
            self.devices[device_id] = keys
        return DeviceUpdate(self.user_id, device_id, self.stream_id, (previous,) if previous else (), keys)


class Scene:
    def __init__(self, db: SynchronousDatabase) -> None:
        self.db = db
        self.clock = FakeClock()
        self.owners: dict[str, Owner] = {}
        self.shared = 1
        self.fetched = 0
        self.lists = RemoteLists(
            db.database, self.clock, "here", self,
            joined_rooms=device_lists.joined_rooms, rooms_with=self._rooms_with,
            local_members=lambda room_id: (),
        )  # fmt: skip

    async def _rooms_with(self, user_id: str, most: int) -> int:
        return min(self.shared, most)

    async def devices(self, server: str, user_id: str) -> FetchedList | None:
        owner = self.owners[user_id]
        if owner.down:
            raise RemoteError("No answer.")
        self.fetched += 1
        return FetchedList(owner.stream_id, KeptList(dict(owner.devices)))

    def owner(self) -> Owner:
        """Somebody whose list is kept, and stale as yet."""
        owner = Owner()
        self.owners[owner.user_id] = owner
        self.db.write(store.keep, [owner.user_id])
        self.lists.fetch_later([owner.user_id])
        return owner

    def hear(self, update: DeviceUpdate) -> None:
        run(self.lists.update(update))

    def is_good(self, owner: Owner) -> bool:
        return not self.db.read(store.states, [owner.user_id])[owner.user_id].stale

    def settle(self, owner: Owner) -> None:
        def settled() -> bool:
            self.clock.advance(GATHER_SECONDS)
            return self.is_good(owner)

        until(settled, 10)

    def kept(self, owner: Owner) -> dict[str, bytes]:
        kept: KeptList = self.db.read(store.lists, [owner.user_id])[owner.user_id]
        return kept.devices


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, sqlite_template: SQLiteTemplate) -> Iterator[Scene]:
    path: Path = tmp_path_factory.mktemp("lists") / "hearth.db"
    db = SynchronousDatabase(SQLiteEngine(sqlite_template.copy(path)))
    scene = Scene(db)
    yield scene
    scene.lists.stop()
    db.close()


FATES = st.sampled_from(["heard", "lost", "late", "twice"])
CHANGES = st.tuples(st.sampled_from("ABC"), st.booleans(), FATES)
STEPS = st.lists(st.one_of(CHANGES, st.sampled_from(["time", "late ones"])), max_size=12)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_the_list_ends_as_its_server_has_it(scene: Scene, steps: list[tuple[str, bool, str] | str]) -> None:
    owner, late = scene.owner(), list[DeviceUpdate]()
    for step in steps:
        if step == "time":
            scene.clock.advance(GATHER_SECONDS)
        elif isinstance(step, str):
            while late:
                scene.hear(late.pop())
        else:
            device_id, deleted, fate = step
            update = owner.change(device_id, deleted)
            if fate == "late":
                late.append(update)
            elif fate != "lost":
                for _ in range(1 + (fate == "twice")):
                    scene.hear(update)
    scene.hear(owner.change("D", False))
    for update in late:
        scene.hear(update)
    scene.settle(owner)
    assert scene.kept(owner) == owner.devices


def test_a_chain_without_gaps_is_never_fetched(scene: Scene) -> None:
    owner = scene.owner()
    owner.change("A", False)
    scene.settle(owner)
    before = scene.fetched
    for number in range(store.REMEMBERED_UPDATES * 2):
        scene.hear(owner.change("AB"[number % 2], number % 7 == 0))
        assert scene.is_good(owner)
    assert scene.kept(owner) == owner.devices and scene.fetched == before


def test_a_server_that_is_away_is_asked_until_it_answers(scene: Scene) -> None:
    owner = scene.owner()
    owner.down = True
    scene.hear(owner.change("A", False))
    for _ in range(3):
        scene.clock.advance(20)
    assert not scene.is_good(owner)
    owner.down = False
    scene.db.changes.clear()

    def good() -> bool:
        scene.clock.advance(60)
        return scene.is_good(owner)

    until(good, 10)
    assert scene.kept(owner) == owner.devices
    until(lambda: [each.data for each in scene.db.changes if each.stream == "device_list"] == [owner.user_id])


def test_stale_lists_are_fetched_after_a_restart(scene: Scene) -> None:
    owner = scene.owner()
    owner.change("A", False)
    scene.lists.stop()
    again = Scene(scene.db)
    again.owners[owner.user_id] = owner
    again.lists.fetch_later(scene.db.read(store.stale_users))
    again.settle(owner)
    assert again.kept(owner) == owner.devices
    again.lists.stop()


def test_a_user_who_shares_no_room(scene: Scene) -> None:
    owner = scene.owner()
    scene.settle(owner)
    scene.shared = 0
    try:
        scene.db.changes.clear()
        scene.hear(owner.change("A", False))
        assert scene.db.changes == [] and scene.kept(owner) == {}
        run(scene.lists.resume())
        assert scene.db.read(store.states, [owner.user_id]) == {}
    finally:
        scene.shared = 1
