"""Account data and tags: what is kept, what is refused, what sync reads, and whom a user ignores."""

from typing import Any

import orjson
import pytest

from homeserver.accounts.account_data import IGNORED_USER_LIST, AccountData, ServerManaged
from homeserver.accounts.tags import MAX_TAGS, Tags
from homeserver.errors import BadJson, InvalidParam, NotFound
from storage import account_data as store
from tests.homeserver.sync.fakes import run
from tests.storage.conftest import SynchronousDatabase

ALICE, BOB, ROOM = "@alice:example.org", "@bob:example.org", "!room:example.org"


def since(database: SynchronousDatabase, position: int) -> list[tuple[str | None, str, Any]]:
    rows = database.read(store.account_data_since, ALICE, position, 10**15)
    return [(room_id, data_type, orjson.loads(content)) for room_id, data_type, content in rows]


def test_global_and_room_data_are_apart(db: SynchronousDatabase) -> None:
    service = AccountData(db.database)
    run(service.set(ALICE, None, "org.example.x", {"a": 1}))
    run(service.set(ALICE, ROOM, "org.example.x", {"b": [1.5, None, "ä"]}))
    assert orjson.loads(run(service.get(ALICE, None, "org.example.x"))) == {"a": 1}
    assert orjson.loads(run(service.get(ALICE, ROOM, "org.example.x"))) == {"b": [1.5, None, "ä"]}
    for user_id, room_id, data_type in (
        (BOB, None, "org.example.x"), (ALICE, "!other:example.org", "org.example.x"), (ALICE, None, "y"),
    ):  # fmt: skip
        with pytest.raises(NotFound):
            run(service.get(user_id, room_id, data_type))
    change = db.changes[-1]
    assert (change.stream, change.users, change.data) == ("account_data", (ALICE,), (ROOM, "org.example.x"))


def test_an_empty_object_is_kept(db: SynchronousDatabase) -> None:
    service = AccountData(db.database)
    run(service.set(ALICE, None, "x", {}))
    assert run(service.get(ALICE, None, "x")) == b"{}"
    assert since(db, 0) == [(None, "x", {})]


def test_sync_reads_changes_in_order(db: SynchronousDatabase) -> None:
    service = AccountData(db.database)
    for data_type, room_id in (("x", None), ("y", ROOM), ("x", None), ("z", None)):
        run(service.set(ALICE, room_id, data_type, {"n": len(db.changes)}))
    run(service.set(BOB, None, "x", {"bob": True}))
    assert since(db, 0) == [(ROOM, "y", {"n": 1}), (None, "x", {"n": 2}), (None, "z", {"n": 3})]
    assert since(db, 2) == [(None, "x", {"n": 2}), (None, "z", {"n": 3})]
    assert db.read(store.account_data_since, ALICE, 2, 3) == [(None, "x", b'{"n":2}')]
    assert db.read(store.room_account_data, ALICE, ROOM) == [("y", b'{"n":1}')]


def test_deleting_is_told_to_those_who_knew(db: SynchronousDatabase) -> None:
    service = AccountData(db.database)
    run(service.set(ALICE, None, "x", {"a": 1}))
    run(service.delete(ALICE, None, "x"))
    run(service.delete(ALICE, None, "x"))
    run(service.delete(ALICE, None, "never there"))
    assert len(db.changes) == 2
    with pytest.raises(NotFound):
        run(service.get(ALICE, None, "x"))
    assert since(db, 0) == []
    assert since(db, 1) == [(None, "x", {})]
    run(service.set(ALICE, None, "x", {"a": 2}))
    assert since(db, 0) == [(None, "x", {"a": 2})]


@pytest.mark.parametrize("room_id", [None, ROOM])
@pytest.mark.parametrize("data_type", ["m.fully_read", "m.push_rules"])
def test_managed_types_are_refused(db: SynchronousDatabase, data_type: str, room_id: str | None) -> None:
    service = AccountData(db.database)
    for attempt in (service.set(ALICE, room_id, data_type, {}), service.delete(ALICE, room_id, data_type)):
        with pytest.raises(ServerManaged) as refused:
            run(attempt)
        assert (refused.value.status, refused.value.errcode) == (405, "M_BAD_JSON")


def test_wrong_names_and_contents_are_refused(db: SynchronousDatabase) -> None:
    service = AccountData(db.database)
    nested: Any = {}
    for _ in range(300):
        nested = {"x": nested}
    for room_id, data_type, content, error in (
        ("room", "x", {}, InvalidParam), (ALICE, "x", {}, InvalidParam), (None, "", {}, InvalidParam),
        (None, "é" * 128, {}, InvalidParam), (None, "x", nested, BadJson),
        (None, "x", {"n": 10**30}, BadJson),
    ):  # fmt: skip
        with pytest.raises(error):
            run(service.set(ALICE, room_id, data_type, content))
    assert db.changes == []


def test_ignored_users_follow_the_list(db: SynchronousDatabase) -> None:
    service = AccountData(db.database)
    assert run(service.ignored_users(ALICE)) == frozenset()
    run(service.set(ALICE, None, IGNORED_USER_LIST, {"ignored_users": {BOB: {}, ALICE: {}, "junk": {}}}))
    assert run(service.ignored_users(ALICE)) == {BOB}
    assert run(service.ignored_users(ALICE)) is run(service.ignored_users(ALICE))
    assert run(service.ignored_users(BOB)) == frozenset()
    run(service.set(ALICE, ROOM, IGNORED_USER_LIST, {"ignored_users": {}}))
    assert run(service.ignored_users(ALICE)) == {BOB}
    for content in ({"ignored_users": [BOB]}, {}, {"ignored_users": None}):
        run(service.set(ALICE, None, IGNORED_USER_LIST, content))
        assert run(service.ignored_users(ALICE)) == frozenset()


def test_nothing_is_left_of_a_deactivated_account(db: SynchronousDatabase) -> None:
    service = AccountData(db.database)
    run(service.set(ALICE, None, IGNORED_USER_LIST, {"ignored_users": {BOB: {}}}))
    run(service.set(BOB, None, "x", {}))
    assert run(service.ignored_users(ALICE)) == {BOB}
    for _ in range(2):
        run(service.forget(ALICE, True))
        assert run(service.ignored_users(ALICE)) == frozenset()
        assert since(db, 0) == []
    assert run(service.get(BOB, None, "x")) == b"{}"


def test_tags_are_room_account_data(db: SynchronousDatabase) -> None:
    tags, data = Tags(db.database), AccountData(db.database)
    assert run(tags.get(ALICE, ROOM)) == {}
    run(tags.set(ALICE, ROOM, "m.favourite", {"order": 0.5}))
    run(tags.set(ALICE, ROOM, "u.work", {"colour": "red"}))
    both = {"m.favourite": {"order": 0.5}, "u.work": {"colour": "red"}}
    assert run(tags.get(ALICE, ROOM)) == both
    assert orjson.loads(run(data.get(ALICE, ROOM, "m.tag"))) == {"tags": both}
    assert since(db, 0) == [(ROOM, "m.tag", {"tags": both})]
    run(tags.delete(ALICE, ROOM, "m.favourite"))
    run(tags.delete(ALICE, ROOM, "m.favourite"))
    assert len(db.changes) == 3
    assert run(tags.get(ALICE, ROOM)) == {"u.work": {"colour": "red"}}
    assert run(tags.get(BOB, ROOM)) == {}


def test_wrong_tags_are_refused(db: SynchronousDatabase) -> None:
    tags = Tags(db.database)
    for room_id, tag, content, error in (
        ("room", "u.x", {}, InvalidParam), (ROOM, "", {}, InvalidParam),
        (ROOM, "u." + "é" * 127, {}, InvalidParam),
        (ROOM, "u.x", {"order": "0.5"}, BadJson), (ROOM, "u.x", {"order": True}, BadJson),
        (ROOM, "u.x", {"order": None}, BadJson),
    ):  # fmt: skip
        with pytest.raises(error):
            run(tags.set(ALICE, room_id, tag, content))
    assert db.changes == []
    run(AccountData(db.database).set(ALICE, ROOM, "m.tag", {"tags": ["odd"]}))
    assert run(tags.get(ALICE, ROOM)) == {}
    full: dict[str, Any] = {f"u.{n}": {} for n in range(MAX_TAGS)}
    run(AccountData(db.database).set(ALICE, ROOM, "m.tag", {"tags": full}))
    with pytest.raises(InvalidParam):
        run(tags.set(ALICE, ROOM, "u.more", {}))
    run(tags.set(ALICE, ROOM, "u.1", {"order": 1}))
