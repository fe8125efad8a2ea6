"""A connection finds what was sent again: after a lost answer, after a restart; and only for its owner."""

import pytest

from homeserver.errors import InvalidParam
from homeserver.sync.sliding.connections import (
    EXPIRE_MS,
    LAYERS,
    Connection,
    Connections,
    Sent,
    State,
    UnknownPos,
)
from homeserver.sync.sliding.request import ACCEPTED, SlidingRequest
from homeserver.sync.sliding.required_state import Required, Wish
from homeserver.sync.tokens import SlidingToken, StreamToken
from storage import sliding_sync as store
from tests.homeserver.sync.fakes import FakeClock, run
from tests.storage.conftest import SynchronousDatabase

WISH = Required(frozenset({Wish(frozenset({("m.room.name", "")}))}))


class Phone:
    def __init__(self, db: SynchronousDatabase) -> None:
        self.db = db
        self.clock = FakeClock()
        self.restart()

    def restart(self) -> None:
        self.connections = Connections(self.db.database, self.clock)

    def open(
        self, number: int | None = None, version: int = 0, *, user: str = "@a:here", conn_id: str = ""
    ) -> tuple[Connection, State]:
        pos = SlidingToken(StreamToken(1), number, version) if number is not None else None
        request = SlidingRequest(user_id=user, device_id="D", form=ACCEPTED, conn_id=conn_id, pos=pos)
        connection, state = run(self.connections.open(request))
        if number is None:
            self.save(connection, 0, state)  # it is stored with its first answer
        return connection, state

    def save(self, connection: Connection, base: int, state: State) -> int:
        version = self.connections.save(connection, base, state)
        self.db.write(lambda tx: None)  # it is written by now
        return version

    def rows(self, table: str) -> int:
        count: int = self.db.read(lambda tx: tx.value(f"SELECT count(*) FROM {table}"))
        return count


@pytest.fixture
def phone(db: SynchronousDatabase) -> Phone:
    return Phone(db)


def with_room(state: State, room_id: str, upto: int | None = None) -> State:
    sent = Sent(upto, 10, WISH.name, False)
    return state.with_rooms({room_id: sent}, {WISH.name: WISH}, state.extensions)


def test_nothing_new_writes_nothing(phone: Phone) -> None:
    connection, state = phone.open()
    assert phone.save(connection, 0, state) == 0
    assert phone.rows("sliding_sent") == 0
    phone.restart()
    assert phone.open(connection.number)[1] == state


def test_a_state_outlives_a_restart(phone: Phone) -> None:
    connection, state = phone.open()
    first = with_room(state, "!a")
    second = with_room(first, "!b", 7)
    version = phone.save(connection, 0, first)
    phone.open(connection.number, version)
    later = phone.save(connection, version, second)
    phone.restart()
    assert phone.open(connection.number, later)[1] == second
    assert phone.connections._known
    phone.restart()
    assert phone.open(connection.number, version)[1] == first


def test_a_lost_answer_leaves_the_base(phone: Phone) -> None:
    connection, state = phone.open()
    base = phone.save(connection, 0, with_room(state, "!a"))
    _, known = phone.open(connection.number, base)
    lost = phone.save(connection, base, with_room(known, "!lost"))
    _, again = phone.open(connection.number, base)
    assert again == known
    issued = phone.save(connection, base, with_room(again, "!b"))
    assert issued != lost
    with pytest.raises(UnknownPos):
        phone.open(connection.number, lost)
    assert "!lost" not in phone.open(connection.number, issued)[1].rooms


def test_rows_stay_few(phone: Phone) -> None:
    connection, state = phone.open()
    version = 0
    for number in range(5 * LAYERS):
        _, state = phone.open(connection.number, version)
        version = phone.save(connection, version, with_room(state, f"!{number}"))
    assert phone.rows("sliding_sent") <= LAYERS + 2
    phone.restart()
    assert len(phone.open(connection.number, version)[1].rooms) == 5 * LAYERS


def test_only_the_owner_knows_it(phone: Phone) -> None:
    connection, _ = phone.open()
    with pytest.raises(UnknownPos):
        phone.open(connection.number, user="@b:here")
    with pytest.raises(UnknownPos):
        phone.open(connection.number, conn_id="other")
    phone.open()
    with pytest.raises(UnknownPos):
        phone.open(connection.number)


def test_connections_of_a_device_are_few(phone: Phone) -> None:
    for number in range(3 * store.MOST_CONNECTIONS):
        phone.open(conn_id=f"{number}")
    assert phone.rows("sliding_connection") == store.MOST_CONNECTIONS


def test_idle_connections_expire(phone: Phone) -> None:
    old, state = phone.open(conn_id="old")
    phone.save(old, 0, with_room(state, "!a"))
    phone.clock.advance(EXPIRE_MS / 1000 + 1)
    phone.open(user="@b:here")
    assert phone.rows("sliding_connection") == 1
    assert phone.rows("sliding_sent") == 0


def test_a_device_that_is_deleted_takes_its_connections_along(phone: Phone) -> None:
    phone.db.database.follow(phone.connections.follow)
    connection, _ = phone.open()
    phone.db.write(phone.connections.forget_devices, "@a:here", ["D"])
    assert phone.rows("sliding_connection") == 0
    with pytest.raises(UnknownPos):
        phone.open(connection.number)


def test_wishes_do_not_grow_without_end(phone: Phone) -> None:
    _, state = phone.open()
    wishes = [Wish(frozenset({(f"{number}", "x" * 60_000)})) for number in range(6)]
    huge = {f"!{number}": Required(frozenset({wish})) for number, wish in enumerate(wishes)}
    with pytest.raises(InvalidParam):
        state.with_rooms(
            {room_id: Sent(None, 1, wish.name, False) for room_id, wish in huge.items()},
            {wish.name: wish for wish in huge.values()},
            frozenset(),
        )


def test_memory_is_bounded(db: SynchronousDatabase) -> None:
    phone = Phone(db)
    phone.connections = Connections(db.database, phone.clock, most=100)
    for number in range(50):
        phone.open(user=f"@{number}:here")
    assert len(phone.connections._known) <= 10
