"""Walking a graph backwards: forks, limits, and what has no place in it."""

from typing import Any

import orjson

from storage import predecessors
from storage.events import COLUMNS
from storage.transaction import Transaction
from tests.storage.conftest import SynchronousDatabase

ROOM = 7


def add(
    tx: Transaction, nid: int, depth: int, previous: tuple[int, ...], position: int | None = 0, **fields: Any
) -> None:
    """`position` is the number unless given."""
    json = {
        "type": "m.room.message", "sender": "@a:x", "content": {}, "depth": depth, "origin_server_ts": 0,
        "prev_events": [f"$e{each}" for each in previous], "auth_events": [], "room_id": "!r:x",
    }
    row: dict[str, Any] = {
        "nid": nid, "event_id": f"$e{nid}", "room": ROOM, "position": nid if position == 0 else position,
        "depth": depth, "ts": 0, "type": "m.room.message", "sender": "@a:x", "status": 0, "notify": 0,
        "state_before": 1, "state_after": 1, "json": orjson.dumps(json), **fields,
    }
    tx.insert("event", COLUMNS, [[row.get(column) for column in COLUMNS]])


def fill(tx: Transaction) -> None:
    """1 ← 2 ← 3 ← 5 ← 6 ← 7, and a fork 2 ← 4 ← 6; beside it soft-failed, rejected and unplaced events."""
    columns = ("nid", "room_id", "version", "depth", "position", "extremities")
    tx.insert("room", columns, [(ROOM, "!r:x", "11", 0, 0, b"[]"), (8, "!other:x", "11", 0, 0, b"[]")])
    for nid, depth, previous in [
        (1, 1, ()), (2, 2, (1,)), (3, 3, (2,)), (4, 3, (2,)), (5, 4, (3,)), (6, 5, (4, 5)), (7, 6, (6,)),
    ]:
        add(tx, nid, depth, previous)
    add(tx, 10, 3, (2,), None, status=2)
    add(tx, 11, 3, (2,), None, status=1, state_before=None, state_after=None)
    add(tx, 12, 4, (10, 11), 12)
    add(tx, 13, 2, (1,), None, state_before=None, state_after=None)
    add(tx, 14, 3, (13,), 14)
    add(tx, 20, 4, (3,), 20, room=8)


def back(db: SynchronousDatabase, start: list[str], limit: int = 100) -> list[int]:
    found = db.read(lambda tx: predecessors.before_and_including(tx, ROOM, start, limit))
    return [stored.nid for stored in found]


def missing(
    db: SynchronousDatabase, latest: list[str], earliest: list[str], limit: int = 10, min_depth: int = 0
) -> list[int]:
    found = db.read(lambda tx: predecessors.between(tx, ROOM, earliest, latest, limit, min_depth))
    return [stored.nid for stored in found]


def test_backwards(db: SynchronousDatabase) -> None:
    db.write(fill)
    assert back(db, ["$e7"]) == [7, 6, 5, 4, 3, 2, 1]
    assert back(db, ["$e7"], 3) == [7, 6, 5]
    assert back(db, ["$e5"]) == [5, 3, 2, 1], "not what lies beside it"
    assert back(db, ["$e3", "$e4", "$e3"]) == [4, 3, 2, 1]
    assert back(db, ["$e7"], 0) == []


def test_what_is_not_told(db: SynchronousDatabase) -> None:
    db.write(fill)
    assert back(db, ["$e12"]) == [12, 10, 2, 1], "soft-failed, but not rejected"
    assert back(db, ["$e14"]) == [14], "an outlier has no place"
    assert back(db, ["$e11"]) == [2, 1]
    assert back(db, ["$e20", "$none"]) == [], "another room, and nothing at all"


def test_missing_events(db: SynchronousDatabase) -> None:
    db.write(fill)
    assert missing(db, ["$e7"], ["$e2"]) == [3, 4, 5, 6]
    assert missing(db, ["$e7"], ["$e3", "$e4"]) == [5, 6]
    assert missing(db, ["$e7"], [], 3) == [4, 5, 6], "the nearest first"
    assert missing(db, ["$e7"], [], min_depth=4) == [5, 6]
    assert missing(db, ["$e12"], ["$e1"]) == [2, 10]
    assert missing(db, ["$e20", "$none"], []) == []
    assert missing(db, ["$e7"], [], 0) == []
