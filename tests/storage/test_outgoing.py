"""What other servers are still to be told: exactly the events of their time in a room, and changed keys."""

from typing import Any

from storage import device_lists, graph, memberships, outgoing, receipts
from storage.device_lists import CROSS_SIGNING
from storage.memberships import Membership
from storage.outgoing import DeviceNews, Lag

OWN = "hearth.test"
ALICE, BOB = f"@alice:{OWN}", f"@bob:{OWN}"
ONE, TWO = "one.test", "two.test"


class World:
    def __init__(self, db: Any) -> None:
        self.db = db
        self.numbers = 0

    def room(self, nid: int) -> None:
        columns = ("nid", "room_id", "version", "snapshot", "depth", "position", "extremities")
        row = (nid, room_id(nid), "10", None, 1, 1, b"[]")
        self.db.write(lambda tx: tx.insert("room", columns, [row]))

    def event(
        self, room: int, come: list[str] | None = None, gone: list[str] | None = None, also: str | None = None
    ) -> int:
        """An event of Alice with which servers come and go; the position."""
        self.numbers += 1

        def put(tx: Any) -> int:
            position: int = tx.announce("event")
            graph.add_outgoing(tx, position, self.numbers, room, also)
            graph.change_servers(tx, room, position, come or [], gone or [])
            return position

        position: int = self.db.write(put)
        return position

    def member(self, user_id: str, room: int, membership: str = "join", previous: str | None = None) -> int:
        def put(tx: Any) -> int:
            position: int = tx.announce("event")
            row = Membership(user_id, room_id(room), membership, previous, "$e", user_id, position)
            memberships.put(tx, row)
            return position

        position: int = self.db.write(put)
        return position

    def changed(self, user_id: str, *devices: str) -> int:
        position: int = self.db.write(device_lists.record, user_id, devices or ("PHONE",), [])
        return position

    def positions(self, server: str, since: int = 0, upto: int = 10**9, limit: int = 100) -> list[int]:
        rows = self.db.read(outgoing.events_for, server, since, upto, limit)
        return [position for position, _ in rows]

    def news(self, server: str, since: int, upto: int = 10**9) -> list[DeviceNews]:
        found: list[DeviceNews] = self.db.read(outgoing.device_news, server, OWN, since, upto)
        return found


def room_id(nid: int) -> str:
    return f"!{nid}:{OWN}"


def test_a_server_gets_the_events_of_its_intervals_and_no_others(db: Any) -> None:
    world = World(db)
    world.event(1)
    came = world.event(1, come=[ONE, TWO])
    during = world.event(1)
    elsewhere = world.event(2, come=[ONE])
    left = world.event(1, gone=[ONE])
    after = world.event(1)
    back = world.event(1, come=[ONE])
    assert world.positions(ONE) == [came, during, elsewhere, left, back]
    assert world.positions(TWO) == [came, during, left, after, back]
    assert world.positions(ONE, since=during) == [elsewhere, left, back]
    assert world.positions(ONE, since=during, upto=left) == [elsewhere, left]
    assert world.positions(ONE, limit=2) == [came, during]
    assert world.positions("three.test") == []


def test_an_event_for_one_more_server_is_got_once(db: Any) -> None:
    world = World(db)
    first = world.event(1, also=TWO)
    second = world.event(1, come=[ONE], also=ONE)
    assert world.positions(TWO) == [first]
    assert world.positions(ONE) == [second]


def test_which_servers_have_news(db: Any) -> None:
    world = World(db)
    world.room(1)
    start = world.event(1, come=[ONE])
    assert db.read(outgoing.servers_with_news, OWN, start, start) == set()
    event = world.event(1, also=TWO)
    assert db.read(outgoing.servers_with_news, OWN, start, event) == {ONE, TWO}
    joined = world.member(ALICE, 1)
    assert db.read(outgoing.servers_with_news, OWN, event, joined) == {ONE}
    remote = world.member("@x:one.test", 1)
    assert db.read(outgoing.servers_with_news, OWN, joined, remote) == set()
    change = world.changed(ALICE)
    assert db.read(outgoing.servers_with_news, OWN, remote, change) == {ONE}
    foreign = world.changed("@x:one.test")
    assert db.read(outgoing.servers_with_news, OWN, change, foreign) == set()
    assert db.read(outgoing.servers_in, [room_id(1), room_id(2)]) == {ONE}


def test_progress_is_one_position_and_those_that_lag(db: Any) -> None:
    assert db.read(outgoing.progress) == (0, {})
    db.write(outgoing.save_progress, 7, {ONE: Lag(3, 4), TWO: Lag(5, 7)}, [])
    assert db.read(outgoing.progress) == (7, {ONE: Lag(3, 4), TWO: Lag(5, 7)})
    db.write(outgoing.save_progress, 9, {ONE: Lag(4, 4)}, [TWO])
    assert db.read(outgoing.progress) == (9, {ONE: Lag(4, 4)})


def test_what_everybody_has_is_deleted(db: Any) -> None:
    world = World(db)
    positions = [world.event(1, come=[ONE] if not n else []) for n in range(6)]
    db.write(outgoing.save_progress, positions[3], {ONE: Lag(positions[1], positions[0])}, [])
    assert db.write(outgoing.prune, 1) == 1
    assert db.write(outgoing.prune, 10) == 1
    assert world.positions(ONE) == positions[2:]
    db.write(outgoing.save_progress, positions[3], {}, [ONE])
    db.write(outgoing.prune, 10)
    assert world.positions(ONE) == positions[4:]


def test_device_changes_are_for_servers_that_share_a_room(db: Any) -> None:
    world = World(db)
    world.room(1)
    world.member(ALICE, 1)
    start = world.event(1, come=[ONE])
    first = world.changed(ALICE, "PHONE", "TABLET")
    world.changed(BOB)
    world.changed("@x:one.test")
    signing = world.changed(ALICE, CROSS_SIGNING)
    again = world.changed(ALICE, CROSS_SIGNING)
    assert world.news(ONE, start) == [
        (first - 1, ALICE, "PHONE"), (first, ALICE, "TABLET"), (again, ALICE, CROSS_SIGNING)
    ]
    assert world.news(ONE, start, signing)[-1] == (signing, ALICE, CROSS_SIGNING)
    assert world.news(TWO, start) == []


def test_many_changes_are_told_as_the_last(db: Any) -> None:
    world = World(db)
    world.room(1)
    world.member(ALICE, 1)
    start = world.event(1, come=[ONE])
    last = 0
    for _ in range(outgoing.MOST_CHANGES + 1):
        last = world.changed(ALICE)
    assert world.news(ONE, start) == [(last, ALICE, "PHONE")]


def test_those_who_meet_are_told_the_last_change(db: Any) -> None:
    world = World(db)
    for nid in (1, 2):
        world.room(nid)
    world.changed(ALICE)
    last = world.changed(ALICE, "TABLET")
    world.member(ALICE, 1)
    world.member(BOB, 1)  # who never had keys
    before = world.event(1)
    met = world.event(1, come=[ONE])
    assert world.news(ONE, before) == [(last, ALICE, "TABLET")]
    assert world.news(ONE, met) == []
    # Another common room is no meeting.
    world.event(2, come=[ONE])
    world.member(ALICE, 2)
    assert world.news(ONE, met) == []
    # The user comes to a room the server is in.
    world.event(2, come=[TWO])
    here = world.event(2)
    assert world.news(TWO, here) == []
    world.member(ALICE, 2, "leave", "join")
    gone = world.event(2)
    world.member(ALICE, 2, "join", "leave")
    assert world.news(TWO, gone) == [(last, ALICE, "TABLET")]


def test_the_details_of_a_change(db: Any) -> None:
    world = World(db)
    first, second = world.changed(ALICE), world.changed(ALICE, "GONE")
    world.changed(ALICE, CROSS_SIGNING)
    third = world.changed(ALICE)

    def keys(tx: Any) -> None:
        tx.insert("device_keys", ("user_id", "device_id", "keys"), [(ALICE, "PHONE", b"{}")])
        columns = ("user_id", "device_id", "display_name", "created_ts")
        tx.insert("device", columns, [(ALICE, "PHONE", "Phone", 1)])

    db.write(keys)
    asked = ((first, "PHONE"), (second, "GONE"), (third, "PHONE"))
    news = [DeviceNews(position, ALICE, device) for position, device in asked]
    assert [each[1:] for each in db.read(outgoing.device_details, news)] == [
        (b"{}", "Phone", None), (None, None, first), (b"{}", "Phone", second)
    ]


def test_receipts_are_those_of_our_users_in_common_rooms(db: Any) -> None:
    world = World(db)
    for nid in (1, 2):
        world.room(nid)
    start = world.event(1, come=[ONE])
    for user, nid, kind in (
        (ALICE, 1, "m.read"), (ALICE, 2, "m.read"), (BOB, 1, "m.read.private"), ("@x:one.test", 1, "m.read"),
    ):  # fmt: skip
        db.write(receipts.add_receipt, room_id(nid), user, kind, "main", "$event", 5, 77)
    found = db.read(outgoing.receipts_for, ONE, OWN, start, 10**9, 10)
    assert [each[:6] for each in found] == [(room_id(1), ALICE, "m.read", "main", "$event", 77)]
