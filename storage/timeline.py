"""A room's timeline in topological order, read in pages in both directions.

https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmessages

The order is (depth, position): after its causes, and among equals as it arrived. A window is cut out by
places (where a page ended) and by arrivals (what a sync token had seen). The two may be mixed, because a
page that starts at a token of arrivals ends at a place, and goes on from there without a gap: the place
has everything on its one side that the token had, and at most a few events more.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from storage.events import Known, StoredEvent, pick, select
from storage.transaction import Transaction

_FEW = 1000


class Place(NamedTuple):
    """A point just after the event at (depth, position)."""

    depth: int
    position: int


@dataclass(frozen=True, slots=True)
class Window:
    """Which events of a room: above < place <= upto, arrived_after < position <= arrived_upto."""

    room: int
    above: Place | None = None
    upto: Place | None = None
    arrived_after: int | None = None
    arrived_upto: int | None = None


def place_of(stored: StoredEvent) -> Place:
    """Just after this event of a timeline."""
    if stored.position is None:
        raise ValueError("an outlier has no place")
    return Place(stored.event.depth, stored.position)


def before(stored: StoredEvent) -> Place:
    """Just before this event of a timeline."""
    depth, position = place_of(stored)
    return Place(depth, position - 1)


def page(
    tx: Transaction, window: Window, *, backwards: bool, limit: int, known: Known | None = None
) -> list[StoredEvent]:
    """The accepted events at that end of the window, newest first if `backwards`."""
    where = ["e.room = ?", "e.position IS NOT NULL", "e.status = 0"]
    params: list[Any] = [window.room]
    if window.above is not None:
        where.append("(e.depth, e.position) > (?, ?)")
        params += window.above
    if window.upto is not None:
        where.append("(e.depth, e.position) <= (?, ?)")
        params += window.upto
    # The plus keeps both engines from walking the index of arrivals and sorting the whole room by depth.
    if window.arrived_upto is not None:
        where.append("+e.position <= ?")
        params.append(window.arrived_upto)
    if window.arrived_after is not None:
        where.append("+e.position > ?")
        params.append(window.arrived_after)
        floor = _lowest_depth_after(tx, window.room, window.arrived_after)
        if floor is not None:
            where.append("e.depth >= ?")
            params.append(floor)
    order = "DESC" if backwards else "ASC"
    clause = f"WHERE {' AND '.join(where)} ORDER BY e.depth {order}, e.position {order} LIMIT ?"
    params.append(limit)
    return select(tx, clause, params) if known is None else pick(tx, known, clause, params)


def _lowest_depth_after(tx: Transaction, room: int, position: int) -> int | None:
    """What arrived lately lies near the top: a bound that spares reading the index from the bottom.

    None where too much arrived since to say it cheaply.
    """
    row = tx.one(
        "SELECT count(*), min(depth) FROM (SELECT depth FROM event WHERE room = ? AND position > ?"
        f" ORDER BY position LIMIT {_FEW}) AS late",
        [room, position],
    )
    if row is None or row[0] == _FEW:
        return None
    depth: int | None = row[1]
    return depth


def last_snapshot(tx: Transaction, window: Window) -> int | None:
    """The state after the last accepted event of the window; None if it is empty."""
    if window.upto is None and window.above is None:
        upto = window.arrived_upto
        limit, params = ("", []) if upto is None else (" AND position <= ?", [upto])
        snapshot: int | None = tx.value(
            "SELECT state_after FROM event WHERE room = ? AND position IS NOT NULL AND status = 0"
            f"{limit} ORDER BY position DESC LIMIT 1",
            [window.room, *params],
        )
        return snapshot
    found = page(tx, window, backwards=True, limit=1)
    return found[0].state_after if found else None


def near(
    tx: Transaction,
    room: int,
    ts: int,
    arrived_upto: int | None,
    *,
    backwards: bool,
    skip: int,
    limit: int,
) -> list[StoredEvent]:
    """The accepted events by what they claim of their time: from a moment on, or back from it."""
    than, order = ("<=", "DESC") if backwards else (">=", "ASC")
    bound, params = ("", []) if arrived_upto is None else (" AND +e.position <= ?", [arrived_upto])
    return select(
        tx,
        f"WHERE e.room = ? AND e.ts {than} ? AND e.position IS NOT NULL AND e.status = 0{bound}"
        f" ORDER BY e.ts {order}, e.depth {order}, e.position {order} LIMIT ? OFFSET ?",
        [room, ts, *params, limit, skip],
    )
