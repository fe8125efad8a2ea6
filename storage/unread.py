"""What is unread for one user, read for many rooms at once.

https://spec.matrix.org/v1.19/client-server-api/#receiving-notifications

Unread is what lies behind a floor. Unthreaded receipts and the beginning of the user's stay raise the floor
of the whole room; a threaded receipt, or something the user sent, raises it for one thread. The main
timeline is the thread None. Behind the floors the events' bases are counted, and the user's own rows, which
take the place of the base, are added to be weighed by the caller.

Each step is one statement for all rooms; rooms and their floors go in as a table of values.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from storage.receipts import MAIN, UNTHREADED
from storage.transaction import Transaction

_ROOMS_AT_ONCE = 200
_COUNTED = "e.notify <> 0 AND e.status = 0 AND e.position <= ?"
# A user who changes their name has not read every room they are in.
_READS = "e.type <> 'm.room.member'"


class BaseCount(NamedTuple):
    """So many unread events of this base in this thread, the first and the last of them."""

    thread: str | None
    base: int
    events: int
    first: int
    last: int


class OwnRow(NamedTuple):
    """An unread event that does something of its own to the user, and the base it takes the place of."""

    thread: str | None
    position: int
    notify: int
    highlight: int
    base: int


@dataclass(slots=True)
class Unread:
    members: int = 0
    bases: list[BaseCount] = field(default_factory=list)
    rows: list[OwnRow] = field(default_factory=list)


@dataclass(slots=True)
class _Room:
    """`floor` is that of the whole room, `floors` those of single threads where they are higher."""

    nid: int
    room_id: str
    floor: int = 0
    floors: dict[str | None, int] = field(default_factory=dict)
    unread: Unread = field(default_factory=Unread)

    def floor_of(self, thread: str | None) -> int:
        return max(self.floor, self.floors.get(thread, 0))

    def raise_floor(self, thread: str | None, position: int) -> None:
        self.floors[thread] = max(position, self.floors.get(thread, 0))


def load(
    tx: Transaction,
    user_id: str,
    room_ids: Sequence[str],
    upto: int,
    ignored: Collection[str] = (),
    count_members: bool = False,
) -> dict[str, Unread]:
    """What is unread at the position `upto`, by room; rooms nobody knows are left out.

    Events of `ignored` senders do not count. `members` is filled in only if asked for.
    """
    result: dict[str, Unread] = {}
    for start in range(0, len(room_ids), _ROOMS_AT_ONCE):
        some = room_ids[start : start + _ROOMS_AT_ONCE]
        rows = tx.all(f"SELECT nid, room_id FROM room WHERE {tx.any('room_id')}", [tx.array(some)])
        rooms = {nid: _Room(nid, room_id) for nid, room_id in rows}
        if rooms:
            _load(tx, user_id, rooms, upto, [user_id, *ignored])
            if count_members:
                _count_members(tx, rooms)
        result.update((room.room_id, room.unread) for room in rooms.values())
    return result


def floors(
    tx: Transaction, user_id: str, rooms: Mapping[int, str], upto: int
) -> dict[int, Callable[[str | None], int]]:
    """By the rooms' numbers: up to which position each thread (None: the main timeline) has been read."""
    found = {nid: _Room(nid, room_id) for nid, room_id in rooms.items()}
    if found:
        _read_floors(tx, user_id, {room.room_id: room for room in found.values()})
        _raise_main_floors(tx, user_id, found, upto)
        _threads_with_news(tx, user_id, found, upto)
    return {nid: room.floor_of for nid, room in found.items()}


def _load(tx: Transaction, user_id: str, rooms: dict[int, _Room], upto: int, silent: Sequence[str]) -> None:
    by_id = {room.room_id: room for room in rooms.values()}
    _read_floors(tx, user_id, by_id)
    _raise_main_floors(tx, user_id, rooms, upto)
    main = [(room.nid, None, room.floor_of(None)) for room in rooms.values()]
    threads = _threads_with_news(tx, user_id, rooms, upto)
    for room_nid, *counted in [
        *_count(tx, main, "e.thread IS NULL", upto, silent),
        *_count(tx, threads, "e.thread = f.thread", upto, silent),
    ]:
        rooms[room_nid].unread.bases.append(BaseCount(*counted))
    _read_own_rows(tx, user_id, by_id, upto, silent)


def _read_floors(tx: Transaction, user_id: str, rooms: dict[str, _Room]) -> None:
    ids = tx.array(list(rooms))
    for room_id, position in tx.all(
        f"SELECT room_id, position FROM unread_from WHERE user_id = ? AND {tx.any('room_id')}", [user_id, ids]
    ):
        rooms[room_id].floor = position
    for room_id, thread, position in tx.all(
        "SELECT room_id, thread_id, event_position FROM receipt"
        f" WHERE {tx.any('room_id')} AND user_id = ? AND event_position IS NOT NULL",
        [ids, user_id],
    ):
        room = rooms[room_id]
        if thread == UNTHREADED:
            room.floor = max(room.floor, position)
        else:
            room.raise_floor(None if thread == MAIN else thread, position)


def _raise_main_floors(tx: Transaction, user_id: str, rooms: dict[int, _Room], upto: int) -> None:
    """What the user sent last in each main timeline. The search stops at the floor."""
    values, params = _values((room.nid, room.floor_of(None)) for room in rooms.values())
    for nid, sent in tx.all(
        f"WITH f(room, floor) AS ({values}) SELECT f.room, (SELECT e.position FROM event e"
        " WHERE e.room = f.room AND e.position > f.floor AND e.position <= ? AND e.sender = ?"
        f" AND e.thread IS NULL AND {_READS} ORDER BY e.position DESC LIMIT 1) FROM f",
        [*params, upto, user_id],
    ):
        if sent is not None:
            rooms[nid].raise_floor(None, sent)


def _threads_with_news(
    tx: Transaction, user_id: str, rooms: dict[int, _Room], upto: int
) -> list[tuple[int, str | None, int]]:
    """(room, thread, floor) of threads that have anything behind their floor."""
    values, params = _values((room.nid, room.floor) for room in rooms.values())
    found = tx.all(
        f"WITH f(room, floor) AS ({values}) SELECT e.room, e.thread, max(e.position),"
        f" max(CASE WHEN e.sender = ? AND {_READS} THEN e.position ELSE 0 END)"
        " FROM f CROSS JOIN event e WHERE e.room = f.room AND e.thread IS NOT NULL"
        " AND e.position > f.floor AND e.position <= ? GROUP BY e.room, e.thread",
        [*params, user_id, upto],
    )
    threads = []
    for nid, thread, last, sent in found:
        room = rooms[nid]
        room.raise_floor(thread, sent)
        if last > room.floor_of(thread):
            threads.append((nid, thread, room.floor_of(thread)))
    return threads


def _count(
    tx: Transaction,
    floors: Sequence[tuple[int, str | None, int]],
    condition: str,
    upto: int,
    silent: Sequence[str],
) -> list[tuple[Any, ...]]:
    counted: list[tuple[Any, ...]] = []
    for start in range(0, len(floors), _ROOMS_AT_ONCE):
        some = floors[start : start + _ROOMS_AT_ONCE]
        values, params = _values((nid, thread or "", floor) for nid, thread, floor in some)
        counted += tx.all(
            f"WITH f(room, thread, floor) AS ({values})"
            " SELECT e.room, e.thread, e.notify, count(*), min(e.position), max(e.position)"
            f" FROM f CROSS JOIN event e WHERE e.room = f.room AND {condition} AND e.position > f.floor"
            f" AND {_COUNTED} AND NOT ({tx.any('e.sender')}) GROUP BY e.room, e.thread, e.notify",
            [*params, upto, tx.array(silent)],
        )
    return counted


def _read_own_rows(
    tx: Transaction, user_id: str, rooms: dict[str, _Room], upto: int, silent: Sequence[str]
) -> None:
    lowest = min(room.floor for room in rooms.values())
    for room_id, *row in tx.all(
        "SELECT p.room_id, p.thread, p.position, p.notify, p.highlight, e.notify"
        " FROM push_action p JOIN event e ON e.position = p.position"
        f" WHERE p.user_id = ? AND {tx.any('p.room_id')} AND p.position > ? AND p.position <= ?"
        f" AND e.redacted_by IS NULL AND NOT ({tx.any('e.sender')})",
        [user_id, tx.array(list(rooms)), lowest, upto, tx.array(silent)],
    ):
        own = OwnRow(*row)
        if own.position > rooms[room_id].floor_of(own.thread):
            rooms[room_id].unread.rows.append(own)


def _count_members(tx: Transaction, rooms: dict[int, _Room]) -> None:
    by_id = {room.room_id: room for room in rooms.values()}
    for room_id, members in tx.all(
        f"SELECT room_id, count(*) FROM membership WHERE {tx.any('room_id')} AND membership = 'join'"
        " GROUP BY room_id",
        [tx.array(list(by_id))],
    ):
        by_id[room_id].unread.members = members


def _values(rows: Iterable[Sequence[Any]]) -> tuple[str, list[Any]]:
    """A VALUES list and its parameters."""
    rows = list(rows)
    one = "(" + ",".join("?" * len(rows[0])) + ")"
    return "VALUES " + ",".join([one] * len(rows)), [value for row in rows for value in row]
