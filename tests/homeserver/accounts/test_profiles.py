"""Profiles: fields, their limits, who is told, and other servers' users."""

from typing import Any

import pytest

from homeserver.accounts.profiles import (
    MAX_PROFILE_BYTES,
    Edit,
    KeyTooLarge,
    Profile,
    Profiles,
    ProfileTooLarge,
)
from homeserver.errors import BadJson, Forbidden, InvalidParam, MatrixError, NotFound
from storage import accounts
from tests.homeserver.sync.fakes import run
from tests.storage.conftest import SynchronousDatabase

ALICE, BOB, REMOTE = "@alice:example.org", "@bob:example.org", "@carol:remote.org"


class FakeRemote:
    """Another server: Carol has a profile there, others are none of our business."""

    async def profile(self, user_id: str, key: str | None) -> Profile:
        if user_id != REMOTE:
            raise Forbidden("Not telling.")
        profile = {"displayname": "Carol", "avatar_url": None, "m.tz": "Europe/Oslo"}
        return profile if key is None else {key: profile.get(key)}


class Scene:
    def __init__(self, database: SynchronousDatabase, remote: FakeRemote | None = None) -> None:
        self.db = database
        self.told: list[tuple[str, Profile]] = []
        for user_id in (ALICE, BOB):
            database.write(accounts.add, accounts.Account(user_id, None, 0))
        self.profiles = Profiles(
            database.database, "example.org", on_profile_change=self._tell, remote=remote
        )

    async def _tell(self, user_id: str, profile: Profile, edit: Edit) -> None:
        self.told.append((user_id, dict(profile)))

    def set(self, key: str, value: Any) -> None:
        run(self.profiles.set_field(ALICE, key, value))

    def get(self, user_id: str = ALICE) -> Profile:
        return run(self.profiles.get(user_id))


@pytest.fixture
def scene(db: SynchronousDatabase) -> Scene:
    return Scene(db)


def test_fields_come_and_go(scene: Scene) -> None:
    assert scene.get() == {}
    with pytest.raises(NotFound):
        scene.get("@nobody:example.org")
    scene.set("displayname", "Alice")
    scene.set("m.tz", "Europe/London")
    scene.set("org.example.pronouns", ["she", {"x": None}])
    scene.set("org.example.nothing", None)
    assert scene.get() == {
        "displayname": "Alice", "m.tz": "Europe/London", "org.example.pronouns": ["she", {"x": None}],
        "org.example.nothing": None,
    }  # fmt: skip
    assert run(scene.profiles.member_content(ALICE)) == {"displayname": "Alice"}
    assert run(scene.profiles.get_field(ALICE, "m.tz")) == {"m.tz": "Europe/London"}
    run(scene.profiles.delete_field(ALICE, "org.example.nothing"))
    run(scene.profiles.delete_field(ALICE, "org.example.never"))
    with pytest.raises(NotFound):
        run(scene.profiles.get_field(ALICE, "org.example.nothing"))
    with pytest.raises(NotFound):
        run(scene.profiles.get_field(BOB, "displayname"))


def test_only_names_and_avatars_are_passed_on(scene: Scene) -> None:
    scene.set("m.tz", "Europe/London")
    assert scene.told == []
    scene.set("displayname", "Alice")
    scene.set("displayname", "Alice")
    scene.set("avatar_url", "mxc://example.org/a")
    run(scene.profiles.delete_field(ALICE, "avatar_url"))
    scene.set("displayname", "")
    assert [(user_id, p.get("displayname"), p.get("avatar_url")) for user_id, p in scene.told] == [
        (ALICE, "Alice", None), (ALICE, "Alice", "mxc://example.org/a"), (ALICE, "Alice", None),
        (ALICE, None, None),
    ]  # fmt: skip
    assert scene.get() == {"m.tz": "Europe/London"}


def test_true_is_not_one(scene: Scene) -> None:
    scene.set("org.example.x", 1)
    scene.set("org.example.x", True)
    assert scene.get()["org.example.x"] is True


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("displayname", None, BadJson), ("displayname", 5, BadJson), ("displayname", "x" * 257, InvalidParam),
        ("avatar_url", {}, BadJson),
        ("avatar_url", "mxc://" + "x" * 1000, InvalidParam), ("m.tz", 1, BadJson),
        ("a" * 256, 1, KeyTooLarge), ("é" * 200, 1, KeyTooLarge), ("Org.Example", 1, InvalidParam),
        ("", 1, InvalidParam), ("9.x", 1, InvalidParam), ("org.example x", 1, InvalidParam),
        ("a\n", 1, InvalidParam),
        ("org.example.x", "x" * MAX_PROFILE_BYTES, ProfileTooLarge),
    ],
)  # fmt: skip
def test_limits(scene: Scene, key: str, value: Any, error: type[MatrixError]) -> None:
    with pytest.raises(error) as refused:
        scene.set(key, value)
    assert refused.value.status == 400
    assert scene.get() == {}


def test_the_whole_profile_has_a_limit(scene: Scene) -> None:
    scene.set("displayname", "Alice")
    room_left = MAX_PROFILE_BYTES - 1 - len('{"displayname":"Alice","org.example.x":""}')
    with pytest.raises(ProfileTooLarge):
        scene.set("org.example.x", "x" * (room_left + 1))
    scene.set("org.example.x", "x" * room_left)


def test_one_cache_hears_of_another_writer(db: SynchronousDatabase) -> None:
    one, two = Scene(db), Scene(db)
    one.set("displayname", "Alice")
    assert two.get() == {"displayname": "Alice"}
    one.set("displayname", "Alicia")
    assert two.get() == {"displayname": "Alicia"}
    assert run(two.profiles.local(ALICE)) is run(two.profiles.local(ALICE))


def test_nothing_is_left_of_a_deactivated_account(scene: Scene) -> None:
    scene.set("displayname", "Alice")
    assert scene.get() == {"displayname": "Alice"}
    scene.db.write(accounts.deactivate, ALICE, True)
    for _ in range(2):
        run(scene.profiles.forget(ALICE, True))
        with pytest.raises(NotFound):
            scene.get()
        assert run(scene.profiles.local(ALICE)) == {}


def test_remote_users(db: SynchronousDatabase) -> None:
    scene = Scene(db, FakeRemote())
    assert scene.get(REMOTE) == {"displayname": "Carol", "m.tz": "Europe/Oslo"}
    assert run(scene.profiles.get_field(REMOTE, "displayname")) == {"displayname": "Carol"}
    with pytest.raises(NotFound):
        run(scene.profiles.get_field(REMOTE, "avatar_url"))
    with pytest.raises(Forbidden):
        scene.get("@dave:remote.org")
    with pytest.raises(NotFound):
        Scene(db).get(REMOTE)
    with pytest.raises(InvalidParam):
        scene.get("carol")
