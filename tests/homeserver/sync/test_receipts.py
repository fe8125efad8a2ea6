"""Receipts: where they may point, that they never move back, and who hears of them."""

from collections.abc import Mapping

import orjson
import pytest

from homeserver.errors import Forbidden, InvalidParam, NotFound
from homeserver.sync.receipts import Receipts
from storage import account_data
from storage import receipts as store
from storage.database import Transaction
from tests.homeserver.sync.fakes import START_MS, FakeClock, run
from tests.storage.conftest import SynchronousDatabase

ALICE, BOB, ROOM, OTHER = "@alice:example.org", "@bob:example.org", "!room:example.org", "!other:example.org"


def add_events(tx: Transaction) -> None:
    """$1 to $4 in the main timeline; $t1 $t2 in the thread of $1; $like reacts to $1; $out is an outlier."""
    tx.insert(
        "room",
        ("nid", "room_id", "version", "depth", "position", "extremities"),
        [(1, ROOM, "12", 1, 1, b"[]"), (2, OTHER, "12", 1, 1, b"[]")],
    )
    columns = (
        "nid", "event_id", "room", "position", "depth", "ts", "type", "sender", "status", "notify", "thread",
        "json",
    )  # fmt: skip
    rows = [
        ("$1", 1, 1001, None), ("$2", 1, 1002, None), ("$t1", 1, 1003, "$1"), ("$3", 1, 1004, None),
        ("$t2", 1, 1005, "$1"), ("$like", 1, 1006, None), ("$4", 1, 1007, None), ("$out", 1, None, None),
        ("$elsewhere", 2, 1008, None),
    ]  # fmt: skip
    tx.insert(
        "event",
        columns,
        [
            (nid, event_id, room, position, nid, 0, "m.room.message", BOB, 0, 0, thread, b"{}")
            for nid, (event_id, room, position, thread) in enumerate(rows, 1)
        ],
    )
    tx.insert(
        "relation",
        ("child", "room", "parent", "rel_type", "type", "sender", "position"),
        [
            (3, 1, "$1", "m.thread", "m.room.message", BOB, 1003),
            (6, 1, "$1", "m.annotation", "m.reaction", BOB, 1006),
        ],
    )


class Scene:
    def __init__(self, database: SynchronousDatabase) -> None:
        self.db = database
        self.receipts = Receipts(database.database, FakeClock(), self._require_joined)
        database.write(add_events)

    async def _require_joined(self, room_id: str, user_id: str) -> None:
        if room_id != ROOM:
            raise Forbidden("not in the room")

    def mark(self, markers: Mapping[str, str], thread_id: str | None = None, user_id: str = ALICE) -> None:
        run(self.receipts.mark(user_id, ROOM, markers, thread_id))

    def all(self) -> set[tuple[str, str, str | None, str]]:
        found = self.db.read(store.receipts_since, [ROOM], 0, 10**15)
        return {(r.user_id, r.receipt_type, r.thread_id, r.event_id) for r in found}


@pytest.fixture
def scene(db: SynchronousDatabase) -> Scene:
    return Scene(db)


def test_one_receipt_for_each_user_type_and_thread(scene: Scene) -> None:
    scene.mark({"m.read": "$2"})
    scene.mark({"m.read": "$3"}, "main")
    scene.mark({"m.read": "$t2"}, "$1")
    scene.mark({"m.read.private": "$4"})
    scene.mark({"m.read": "$1"}, user_id=BOB)
    scene.mark({"m.read": "$3"})
    assert scene.all() == {
        (ALICE, "m.read", None, "$3"), (ALICE, "m.read", "main", "$3"), (ALICE, "m.read", "$1", "$t2"),
        (ALICE, "m.read.private", None, "$4"), (BOB, "m.read", None, "$1"),
    }  # fmt: skip
    assert set(scene.db.read(store.user_receipts, ALICE, ROOM)) == {
        ("m.read", None, "$3", 1004), ("m.read", "main", "$3", 1004), ("m.read", "$1", "$t2", 1005),
        ("m.read.private", None, "$4", 1007),
    }  # fmt: skip
    [receipt] = scene.db.read(store.receipts_since, [ROOM], 5, 6)
    assert (receipt.event_id, receipt.ts, receipt.position) == ("$3", START_MS, 6)


def test_receipts_never_move_back(scene: Scene) -> None:
    scene.mark({"m.read": "$3"})
    changes = len(scene.db.changes)
    scene.mark({"m.read": "$2"})
    scene.mark({"m.read": "$3"})
    assert scene.all() == {(ALICE, "m.read", None, "$3")}
    assert len(scene.db.changes) == changes
    scene.mark({"m.read": "$2"}, "main")
    assert (ALICE, "m.read", "main", "$2") in scene.all()


def test_private_receipts_wake_their_owner_only(scene: Scene) -> None:
    scene.mark({"m.read": "$2"})
    scene.mark({"m.read.private": "$2"})
    public, private = scene.db.changes[-2:]
    assert (public.stream, public.rooms, public.users) == ("receipt", (ROOM,), ())
    assert (private.stream, private.rooms, private.users) == ("receipt", (), (ALICE,))


@pytest.mark.parametrize(
    ("event_id", "thread_id", "fits"),
    [
        ("$2", "main", True), ("$1", "main", True), ("$like", "main", True), ("$t1", "main", False),
        ("$t1", "$1", True), ("$1", "$1", True), ("$like", "$1", True), ("$2", "$1", False),
        ("$t1", "$t1", True), ("$2", "$unknown", False), ("$2", "nonsense", False), ("$2", "", False),
    ],
)  # fmt: skip
def test_threads_of_receipts(scene: Scene, event_id: str, thread_id: str, fits: bool) -> None:
    if fits:
        scene.mark({"m.read": event_id}, thread_id)
    else:
        with pytest.raises(InvalidParam):
            scene.mark({"m.read": event_id}, thread_id)
        assert scene.all() == set()


@pytest.mark.parametrize(
    "event_id", ["$unknown", "$elsewhere", "$out", "nonsense", "", "$" + "x" * 300, "$a\0b"]
)
def test_unknown_events_are_refused_and_nothing_moves(scene: Scene, event_id: str) -> None:
    with pytest.raises(NotFound):
        scene.mark({"m.read": "$2", "m.fully_read": event_id})
    assert scene.all() == set()


def test_other_types_and_strangers_are_refused(scene: Scene) -> None:
    with pytest.raises(InvalidParam):
        scene.mark({"m.seen": "$1"})
    with pytest.raises(InvalidParam):
        scene.mark({"m.fully_read": "$1"}, "main")
    with pytest.raises(Forbidden):
        run(scene.receipts.mark(ALICE, OTHER, {"m.read": "$elsewhere"}))


def test_the_fully_read_marker_is_account_data_and_never_moves_back(scene: Scene) -> None:
    def marker() -> object:
        found = scene.db.read(account_data.get_account_data, ALICE, ROOM, "m.fully_read")
        return orjson.loads(found)

    scene.mark({"m.fully_read": "$2", "m.read": "$3", "m.read.private": "$4"})
    assert marker() == {"event_id": "$2"}
    assert scene.all() == {(ALICE, "m.read", None, "$3"), (ALICE, "m.read.private", None, "$4")}
    scene.mark({"m.fully_read": "$1"})
    assert marker() == {"event_id": "$2"}
    scene.mark({"m.fully_read": "$3"})
    assert marker() == {"event_id": "$3"}
    assert scene.db.changes[-1].data == (ROOM, "m.fully_read")


def test_receipts_for_events_not_seen_yet(scene: Scene) -> None:
    """Remote users read events that have not reached us."""
    add = store.add_receipt
    assert scene.db.write(add, ROOM, "@r:remote.org", "m.read", None, "$soon", None, 5) is not None
    assert scene.db.write(add, ROOM, "@r:remote.org", "m.read", None, "$soon", None, 5) is None
    assert scene.db.write(add, ROOM, "@r:remote.org", "m.read", None, "$1", 1001, 5) is not None
    assert scene.db.read(store.user_receipts, "@r:remote.org", ROOM) == [("m.read", None, "$1", 1001)]
    assert scene.db.read(store.receipt_position, ROOM, "@r:remote.org", "m.read", None) == 1001
    assert scene.db.read(store.receipts_since, [], 0, 100) == []
