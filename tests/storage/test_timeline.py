"""Paging in topological order, whatever the order of arrival; a few keys of the state at an event."""

from typing import Any

import orjson

from storage import events, snapshots, state_at, timeline
from storage.events import COLUMNS, StoredEvent
from storage.timeline import Place, Window
from storage.transaction import Transaction
from tests.storage.conftest import SynchronousDatabase

ROOM = 7


def add_room(tx: Transaction) -> None:
    columns = ("nid", "room_id", "version", "depth", "position", "extremities")
    tx.insert("room", columns, [(ROOM, "!r:x", "11", 0, 0, b"[]"), (8, "!other:x", "11", 0, 0, b"[]")])


def add_event(tx: Transaction, nid: int, depth: int, position: int | None, **fields: Any) -> None:
    json = {
        "type": fields.get("type", "m.room.message"),
        "sender": "@a:x",
        "content": fields.pop("content", {}),
        "depth": depth,
        "origin_server_ts": 0,
        "prev_events": [],
        "auth_events": [],
        "room_id": "!r:x",
    }
    row: dict[str, Any] = {
        "nid": nid,
        "event_id": f"$e{nid}",
        "room": ROOM,
        "position": position,
        "depth": depth,
        "ts": 0,
        "type": "m.room.message",
        "sender": "@a:x",
        "status": 0,
        "notify": 0,
        "json": orjson.dumps(json),
        **fields,
    }
    tx.insert("event", COLUMNS, [[row.get(column) for column in COLUMNS]])


def add_timeline(tx: Transaction) -> None:
    """Three live events, an older one that arrived late (4), two backfilled, and what is no timeline."""
    add_room(tx)
    for nid, depth, position in [(1, 10, 1), (2, 11, 2), (3, 12, 3), (4, 11, 4), (5, 5, -1), (6, 4, -2)]:
        add_event(tx, nid, depth, position)
    add_event(tx, 7, 3, None)
    add_event(tx, 8, 13, 5, status=2)
    add_event(tx, 9, 11, 6, room=8)


def ids(stored: list[StoredEvent]) -> list[int]:
    return [each.nid for each in stored]


def read_page(
    db: SynchronousDatabase, window: Window, backwards: bool, limit: int = 100
) -> list[StoredEvent]:
    result: list[StoredEvent] = db.read(
        lambda tx: timeline.page(tx, window, backwards=backwards, limit=limit)
    )
    return result


def test_the_order_is_depth_then_arrival(db: SynchronousDatabase) -> None:
    db.write(add_timeline)
    everything = Window(ROOM)
    assert ids(read_page(db, everything, backwards=False)) == [6, 5, 1, 2, 4, 3]
    assert ids(read_page(db, everything, backwards=True)) == [3, 4, 2, 1, 5, 6]
    assert ids(read_page(db, everything, backwards=True, limit=2)) == [3, 4]


def test_pages_join_without_a_gap(db: SynchronousDatabase) -> None:
    db.write(add_timeline)
    window, seen = Window(ROOM), []
    while found := read_page(db, window, backwards=True, limit=2):
        seen += ids(found)
        window = Window(ROOM, upto=timeline.before(found[-1]))
    assert seen == [3, 4, 2, 1, 5, 6]
    window, seen = Window(ROOM), []
    while found := read_page(db, window, backwards=False, limit=2):
        seen += ids(found)
        window = Window(ROOM, above=timeline.place_of(found[-1]))
    assert seen == [6, 5, 1, 2, 4, 3]


def test_arrivals_bound_a_page(db: SynchronousDatabase) -> None:
    db.write(add_timeline)
    assert ids(read_page(db, Window(ROOM, arrived_upto=2), backwards=True)) == [2, 1, 5, 6]
    assert ids(read_page(db, Window(ROOM, arrived_after=2), backwards=False)) == [4, 3]
    assert ids(read_page(db, Window(ROOM, arrived_after=6), backwards=False)) == []
    between = Window(ROOM, above=Place(10, 1), upto=Place(11, 2))
    assert ids(read_page(db, between, backwards=False)) == [2]


def test_much_that_arrived_since(db: SynchronousDatabase) -> None:
    def write(tx: Transaction) -> None:
        add_room(tx)
        for number in range(1, 1103):
            add_event(tx, number, number, number)

    db.write(write)
    assert ids(read_page(db, Window(ROOM, arrived_after=1), backwards=False, limit=2)) == [2, 3]
    assert ids(read_page(db, Window(ROOM, arrived_after=1100), backwards=True)) == [1102, 1101]


def add_states(tx: Transaction) -> None:
    """Snapshots 1 <- 2 <- 3: Bob joins, the room is renamed, Bob's membership is taken away again."""
    add_room(tx)
    add_event(tx, 1, 1, 1, type="m.room.create", state_key="")
    add_event(tx, 2, 2, 2, type="m.room.member", state_key="@b:x", membership="join", state_after=1)
    add_event(tx, 3, 3, 3, type="m.room.name", state_key="")
    add_event(tx, 4, 4, 4, type="m.room.name", state_key="")
    snapshots.add(tx, 1, ROOM, None, snapshots.pack([1, 2, 3]))
    snapshots.add(tx, 2, ROOM, 1, snapshots.pack([4]))
    snapshots.add(tx, 3, ROOM, 2, snapshots.pack([-2]))


def test_a_few_keys_of_many_states(db: SynchronousDatabase) -> None:
    db.write(add_states)
    member, name = ("m.room.member", "@b:x"), ("m.room.name", "")
    candidates = db.read(state_at.numbers, ROOM, [member, name])
    assert candidates == {2: member, 3: name, 4: name}
    assert db.read(state_at.at, [1, 2, 3], candidates) == {
        1: {member: 2, name: 3},
        2: {member: 2, name: 4},
        3: {name: 4},
    }
    assert db.read(state_at.at, [], candidates) == {}
    whole = db.read(snapshots.read, 3)
    assert {key: entry.nid for key, entry in whole.items()} == {("m.room.create", ""): 1, name: 4}


def test_the_memberships_of_one_user(db: SynchronousDatabase) -> None:
    def write(tx: Transaction) -> None:
        add_states(tx)
        add_event(tx, 5, 9, None, type="m.room.member", state_key="@b:x", membership="invite")

    db.write(write)
    [outlier, join] = db.read(state_at.member_events, ROOM, "@b:x")
    assert (outlier.position, outlier.membership) == (None, "invite")
    assert (join.position, join.membership, join.state_after, join.accepted) == (2, "join", 1, True)
    assert db.read(state_at.numbers_in, [ROOM], ["m.room.name"]) == dict.fromkeys([3, 4], ("m.room.name", ""))


def test_the_last_snapshot_of_a_window(db: SynchronousDatabase) -> None:
    def write(tx: Transaction) -> None:
        add_room(tx)
        for number in (1, 2, 3):
            add_event(tx, number, number, number, state_after=number * 10)

    db.write(write)
    assert db.read(timeline.last_snapshot, Window(ROOM)) == 30
    assert db.read(timeline.last_snapshot, Window(ROOM, arrived_upto=2)) == 20
    assert db.read(timeline.last_snapshot, Window(ROOM, upto=Place(1, 1))) == 10
    assert db.read(timeline.last_snapshot, Window(ROOM, arrived_upto=0)) is None
    assert db.read(events.by_id, ["$e1"]).keys() == {"$e1"}
