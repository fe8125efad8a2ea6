"""Relations as stored: who relates to whom, in which order, as one reader sees it; and their migration."""

from typing import Any

import pytest

from storage import events, migrations, relations
from storage.engines import Engine
from storage.relations import Children, Seen, Stand
from storage.timeline import Place, Window
from storage.transaction import Transaction
from tests.storage import test_timeline
from tests.storage.conftest import SynchronousDatabase
from tests.storage.test_timeline import ROOM, add_event, add_room

OTHER_ROOM = 8


def add_child(tx: Transaction, nid: int, parent: str, rel_type: str = "m.thread", **fields: Any) -> None:
    row = {
        "child": nid, "room": ROOM, "parent": parent, "rel_type": rel_type, "type": "m.room.message",
        "sender": "@a:x", "position": nid, "depth": nid, "ts": nid, "snapshot": 1, **fields,
    }  # fmt: skip
    tx.insert("relation", events.RELATION_COLUMNS, [[row[name] for name in events.RELATION_COLUMNS]])


def page(
    db: SynchronousDatabase,
    children: Children,
    window: Window | None = None,
    seen: Seen | None = None,
    backwards: bool = True,
) -> list[int]:
    found = db.read(
        lambda tx: relations.page(
            tx, children, window or Window(ROOM), seen or Seen(), backwards=backwards, limit=100
        )
    )
    return [each.child for each in found]


def test_children_are_in_topological_order(db: SynchronousDatabase) -> None:
    def write(tx: Transaction) -> None:
        add_child(tx, 2, "$e1", depth=5)
        add_child(tx, 3, "$e1", depth=4)
        add_child(tx, 4, "$e1", depth=5)
        add_child(tx, 5, "$e1", "m.reference", depth=1)
        add_child(tx, 6, "$e1", room=OTHER_ROOM)

    db.write(write)
    assert page(db, Children(ROOM, "$e1")) == [4, 2, 3, 5]
    assert page(db, Children(ROOM, "$e1"), backwards=False) == [5, 3, 2, 4]
    assert page(db, Children(ROOM, "$e1", "m.reference")) == [5]
    assert page(db, Children(ROOM, "$e1", type="m.reaction")) == []
    assert page(db, Children(ROOM, "$e1"), Window(ROOM, upto=Place(5, 2))) == [2, 3, 5]
    assert page(db, Children(ROOM, "$e1"), Window(ROOM, above=Place(4, 3))) == [4, 2]
    assert page(db, Children(ROOM, "$e1"), Window(ROOM, arrived_after=2, arrived_upto=4)) == [4, 3]


def test_what_a_reader_sees(db: SynchronousDatabase) -> None:
    def write(tx: Transaction) -> None:
        add_child(tx, 2, "$e1", snapshot=1)
        add_child(tx, 3, "$e1", snapshot=2, sender="@b:x")
        add_child(tx, 4, "$e1", snapshot=1)

    db.write(write)
    children = Children(ROOM, "$e1")
    assert db.read(relations.stands_of, children, None) == {Stand(1, False), Stand(2, False)}
    assert db.read(relations.stands_of, children, 3) == {Stand(1, True), Stand(2, False), Stand(1, False)}
    assert page(db, children, seen=Seen(frozenset(["@b:x"]))) == [4, 2]
    assert page(db, children, seen=Seen(stands=frozenset([Stand(1, False)]), last_join=3)) == [4]
    assert page(db, children, seen=Seen(stands=frozenset([Stand(1, True)]), last_join=3)) == [2]
    assert page(db, children, seen=Seen(stands=frozenset(), last_join=3)) == []
    assert page(db, children, seen=Seen(arrived_upto=3)) == [3, 2]


def test_children_of_children(db: SynchronousDatabase) -> None:
    def write(tx: Transaction) -> None:
        add_room(tx)
        for nid in range(1, 9):
            add_event(tx, nid, nid, nid)
        for nid in range(2, 9):
            add_child(tx, nid, f"$e{nid - 1}", "m.reference")

    db.write(write)
    assert page(db, Children(ROOM, "$e1", recurse=True)) == [5, 4, 3, 2]
    assert page(db, Children(ROOM, "$e1", "m.thread", recurse=True)) == []


def test_threads_by_their_last_event(db: SynchronousDatabase) -> None:
    def write(tx: Transaction) -> None:
        add_room(tx)
        add_event(tx, 1, 1, 1, sender="@me:x")
        for nid, parent, sender in [(2, "$e1", "@a:x"), (3, "$other", "@b:x"), (4, "$e1", "@b:x")]:
            add_child(tx, nid, parent, sender=sender)

    db.write(write)

    def roots(seen: Seen, upto: Place | None = None, participant: str | None = None) -> list[str]:
        found = db.read(lambda tx: relations.threads(tx, ROOM, seen, upto, 10, participant))
        return [thread.root for thread in found]

    assert roots(Seen()) == ["$e1", "$other"]
    assert roots(Seen(), Place(4, 3)) == ["$other"]
    assert roots(Seen(), participant="@a:x") == ["$e1"]
    assert roots(Seen(), participant="@me:x") == ["$e1"]
    assert roots(Seen(frozenset(["@b:x"]))) == ["$e1"]
    assert db.read(relations.latest_in_threads, ROOM, ["$e1", "$none"], Seen()) == {"$e1": 4}


def test_a_redacted_child_relates_to_nothing(db: SynchronousDatabase) -> None:
    def write(tx: Transaction) -> None:
        add_room(tx)
        add_event(tx, 2, 2, 2)
        add_child(tx, 2, "$e1")
        add_child(tx, 3, "$e1")

    db.write(write)
    db.write(events.mark_redacted, "$e2", "$redaction", b"{}")
    assert page(db, Children(ROOM, "$e1")) == [3]


def test_relations_from_before_they_knew_where_they_stand(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = migrations.available()
    monkeypatch.setattr(migrations, "available", lambda: [each for each in everything if each.number < 8])
    columns_then = [column for column in events.COLUMNS if column != "room_state"]
    monkeypatch.setattr(test_timeline, "COLUMNS", columns_then)
    migrations.upgrade(engine)
    old = SynchronousDatabase(engine)

    def write(tx: Transaction) -> None:
        add_room(tx)
        add_event(tx, 1, 1, 1)
        add_event(tx, 2, 20, 2, state_before=7)
        add_event(tx, 3, 30, 3, redacted_by="$r")
        add_event(tx, 4, 40, 4, status=2)
        columns = ("child", "room", "parent", "rel_type", "type", "sender", "position")
        rows = [(nid, ROOM, "$e1", "m.thread", "m.room.message", "@a:x", nid) for nid in (2, 3, 4, 5)]
        tx.insert("relation", columns, rows)

    old.write(write)
    old.close()
    monkeypatch.setattr(migrations, "available", lambda: everything)
    migrations.upgrade(engine)
    new = SynchronousDatabase(engine)
    try:
        rows = new.read(lambda tx: tx.all("SELECT child, depth, ts, snapshot FROM relation"))
        assert rows == [(2, 20, 0, 7)]
    finally:
        new.close()
