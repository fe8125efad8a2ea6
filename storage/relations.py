"""Which events relate to which: read from their parent's side, in topological order, as one reader sees them.

https://spec.matrix.org/v1.19/client-server-api/#forming-relationships-between-events

The subtle idea: a child is judged by where it stands. All children sent in one state (and on one side of
the reader's last join) are visible or not together, and rooms change their state seldom. So the few stands
are judged first, become a condition (`Seen`), and counting, ordering and paging are left to the database.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from storage.timeline import Place, Window
from storage.transaction import Transaction

RECURSION_DEPTH = 4
_AT_ONCE = 300
_NEVER = -(2**62)


class Stand(NamedTuple):
    """Where children stand: the state before them, and whether the reader joined the room after them."""

    snapshot: int
    joined_later: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """Which children a reader sees. `stands` is None for somebody who sees all that they do not ignore."""

    ignored: frozenset[str] = frozenset()
    stands: frozenset[Stand] | None = None
    last_join: int | None = None
    arrived_upto: int | None = None

    def __contains__(self, stand: Stand) -> bool:
        return self.stands is None or stand in self.stands

    def condition(self, tx: Transaction, alias: str = "r") -> tuple[str, list[Any]]:
        """The same in SQL; begins with AND unless it is empty."""
        sql = ""
        params: list[Any] = []
        if self.ignored:
            sql += f" AND NOT ({tx.any(f'{alias}.sender')})"
            params.append(tx.array(sorted(self.ignored)))
        if self.arrived_upto is not None:
            sql += f" AND {alias}.position <= ?"
            params.append(self.arrived_upto)
        if self.stands is not None:
            sides = {
                side: sorted(stand.snapshot for stand in self.stands if stand.joined_later is side)
                for side in (True, False)
            }
            seen = tx.any(f"{alias}.snapshot")
            sql += f" AND (({alias}.position < ? AND {seen}) OR ({alias}.position >= ? AND {seen}))"
            join = self.last_join if self.last_join is not None else _NEVER
            params += [join, tx.array(sides[True]), join, tx.array(sides[False])]
        return sql, params


class Group(NamedTuple):
    """So many children of one kind, by one sender, at one stand; `last_ts` is the greatest time."""

    parent: str
    rel_type: str
    type: str
    sender: str
    stand: Stand
    children: int
    last_ts: int


def groups(
    tx: Transaction, room: int, parents: Collection[str], last_join: int | None, upto: int | None = None
) -> list[Group]:
    """What there is to aggregate under these events, in one statement."""
    bound, params = ("", []) if upto is None else (" AND r.position <= ?", [upto])
    rows = tx.all(
        "SELECT r.parent, r.rel_type, r.type, r.sender, r.snapshot,"
        " CASE WHEN r.position < ? THEN 1 ELSE 0 END, count(*), max(r.ts) FROM relation r"
        f" WHERE r.room = ? AND {tx.any('r.parent')} AND r.rel_type IN ('m.replace','m.thread','m.reference')"
        f"{bound} GROUP BY 1, 2, 3, 4, 5, 6",
        [_joined(last_join), room, tx.array(parents), *params],
    )
    return [
        Group(parent, rel_type, type, sender, Stand(snapshot, bool(late)), children, last_ts)
        for parent, rel_type, type, sender, snapshot, late, children, last_ts in rows
    ]


def which_have_children(tx: Transaction, rooms: Collection[int], parents: Collection[str]) -> set[str]:
    """Under which of these events there is anything to aggregate at all."""
    rows = tx.all(
        f"SELECT DISTINCT r.parent FROM relation r WHERE {tx.any('r.room')} AND {tx.any('r.parent')}"
        " AND r.rel_type IN ('m.replace','m.thread','m.reference')",
        [tx.array(rooms), tx.array(parents)],
    )
    return {parent for (parent,) in rows}


def latest_in_threads(tx: Transaction, room: int, roots: Sequence[str], seen: Seen) -> dict[str, int]:
    """The number of the last event of each of these threads."""
    condition, bounds = seen.condition(tx)
    found = {}
    for some in _portions(roots):
        values = ",".join(["(?)"] * len(some))
        for root, child in tx.all(
            f"WITH p(parent) AS (VALUES {values}) SELECT p.parent, (SELECT r.child FROM relation r"
            f" WHERE r.room = ? AND r.parent = p.parent AND r.rel_type = 'm.thread'{condition}"
            " ORDER BY r.depth DESC, r.position DESC LIMIT 1) FROM p",
            [*some, room, *bounds],
        ):
            if child is not None:
                found[root] = child
    return found


class Edit(NamedTuple):
    parent: str
    child: int
    sender: str
    type: str
    ts: int


def edits_at(tx: Transaction, room: int, times: Mapping[str, int], seen: Seen) -> list[Edit]:
    """The edits of these events that claim just these times."""
    condition, bounds = seen.condition(tx)
    rows = tx.all(
        "SELECT r.parent, r.child, r.sender, r.type, r.ts FROM relation r WHERE r.room = ?"
        f" AND {tx.any('r.parent')} AND r.rel_type = 'm.replace' AND {tx.any('r.ts')}{condition}",
        [room, tx.array(list(times)), tx.array(list(times.values())), *bounds],
    )
    return [edit for edit in map(Edit._make, rows) if times[edit.parent] == edit.ts]


def references(tx: Transaction, room: int, parents: Collection[str], seen: Seen) -> dict[str, list[str]]:
    """The IDs of what refers to these events, oldest first."""
    condition, bounds = seen.condition(tx)
    found: dict[str, list[str]] = {}
    for parent, event_id in tx.all(
        "SELECT r.parent, e.event_id FROM relation r JOIN event e ON e.nid = r.child WHERE r.room = ?"
        f" AND {tx.any('r.parent')} AND r.rel_type = 'm.reference'{condition} ORDER BY r.depth, r.position",
        [room, tx.array(parents), *bounds],
    ):
        found.setdefault(parent, []).append(event_id)
    return found


def related_by(
    tx: Transaction, room: int, event_ids: Collection[str], ignored: Collection[str] = ()
) -> dict[str, list[tuple[str, str]]]:
    """(rel_type, sender) of what relates to each of these events."""
    found: dict[str, list[tuple[str, str]]] = {}
    for parent, rel_type, sender in tx.all(
        f"SELECT DISTINCT parent, rel_type, sender FROM relation WHERE room = ? AND {tx.any('parent')}"
        f" AND NOT ({tx.any('sender')})",
        [room, tx.array(event_ids), tx.array(list(ignored))],
    ):
        found.setdefault(parent, []).append((rel_type, sender))
    return found


@dataclass(frozen=True, slots=True)
class Children:
    """Those events that relate to a parent; `recurse`: also what relates to them, whatever these are.

    `rel_type` and `type` are those of the events that are found, not of what lies between.
    """

    room: int
    parent: str
    rel_type: str | None = None
    type: str | None = None
    recurse: bool = False

    def clauses(self) -> tuple[str, str, list[Any]]:
        """What goes before the SELECT, a condition on `relation r`, and the parameters of both."""
        how = ""
        params: list[Any] = []
        for column, value in (("rel_type", self.rel_type), ("type", self.type)):
            if value is not None:
                how += f" AND r.{column} = ?"
                params.append(value)
        direct = "r.room = ? AND r.parent = ?"
        if not self.recurse:
            return "", direct + how, [self.room, self.parent, *params]
        tree = (
            f"WITH RECURSIVE tree(child, level) AS (SELECT r.child, 1 FROM relation r WHERE {direct}"
            " UNION SELECT r.child, t.level + 1 FROM tree t JOIN event e ON e.nid = t.child"
            " JOIN relation r ON r.room = ? AND r.parent = e.event_id"
            f" WHERE t.level < {RECURSION_DEPTH}) "
        )
        found = "r.child IN (SELECT child FROM tree)" + how
        return tree, found, [self.room, self.parent, self.room, *params]


def stands_of(tx: Transaction, children: Children, last_join: int | None) -> set[Stand]:
    """Where the children stand."""
    tree, where, params = children.clauses()
    # The join's position is a number of ours, and stands before or after the parameters of the tree.
    side = f"CASE WHEN r.position < {_joined(last_join):d} THEN 1 ELSE 0 END"
    rows = tx.all(f"{tree}SELECT DISTINCT r.snapshot, {side} FROM relation r WHERE {where}", params)
    return {Stand(snapshot, bool(late)) for snapshot, late in rows}


class Child(NamedTuple):
    child: int
    depth: int
    position: int

    @property
    def place(self) -> Place:
        return Place(self.depth, self.position)


def page(
    tx: Transaction, children: Children, window: Window, seen: Seen, *, backwards: bool, limit: int
) -> list[Child]:
    """The children at that end of the window."""
    tree, where, params = children.clauses()
    condition, bounds = seen.condition(tx)
    within, places = _within(window)
    order = "DESC" if backwards else "ASC"
    rows = tx.all(
        f"{tree}SELECT r.child, r.depth, r.position FROM relation r WHERE {where}{condition}{within}"
        f" ORDER BY r.depth {order}, r.position {order} LIMIT ?",
        [*params, *bounds, *places, limit],
    )
    return [Child(*row) for row in rows]


def _within(window: Window) -> tuple[str, list[Any]]:
    sql = ""
    params: list[Any] = []
    if window.above is not None:
        sql += " AND (r.depth, r.position) > (?, ?)"
        params += window.above
    if window.upto is not None:
        sql += " AND (r.depth, r.position) <= (?, ?)"
        params += window.upto
    if window.arrived_after is not None:
        sql += " AND +r.position > ?"
        params.append(window.arrived_after)
    if window.arrived_upto is not None:
        sql += " AND +r.position <= ?"
        params.append(window.arrived_upto)
    return sql, params


class Thread(NamedTuple):
    """A thread's root and its last event."""

    root: str
    child: int
    depth: int
    position: int


def thread_stands(tx: Transaction, room: int, last_join: int | None) -> set[Stand]:
    """Where all the events of all the room's threads stand."""
    rows = tx.all(
        "SELECT DISTINCT r.snapshot, CASE WHEN r.position < ? THEN 1 ELSE 0 END FROM relation r"
        " WHERE r.room = ? AND r.rel_type = 'm.thread'",
        [_joined(last_join), room],
    )
    return {Stand(snapshot, bool(late)) for snapshot, late in rows}


def threads(
    tx: Transaction,
    room: int,
    seen: Seen,
    upto: Place | None,
    limit: int,
    participant: str | None = None,
) -> list[Thread]:
    """The room's threads, that with the last event first; only those somebody took part in, if asked for."""
    here, here_params = seen.condition(tx, "r")
    newer, newer_params = seen.condition(tx, "n")
    where = ""
    params: list[Any] = []
    if upto is not None:
        where += " AND (r.depth, r.position) <= (?, ?)"
        params += upto
    if participant is not None:
        where += (
            " AND (EXISTS (SELECT 1 FROM relation m WHERE m.room = r.room AND m.parent = r.parent"
            " AND m.rel_type = 'm.thread' AND m.sender = ?)"
            " OR EXISTS (SELECT 1 FROM event o WHERE o.event_id = r.parent AND o.sender = ?))"
        )
        params += [participant, participant]
    rows = tx.all(
        "SELECT r.parent, r.child, r.depth, r.position FROM relation r"
        f" WHERE r.room = ? AND r.rel_type = 'm.thread'{here}{where}"
        " AND NOT EXISTS (SELECT 1 FROM relation n WHERE n.room = r.room AND n.parent = r.parent"
        f" AND n.rel_type = 'm.thread' AND (n.depth, n.position) > (r.depth, r.position){newer})"
        " ORDER BY r.depth DESC, r.position DESC LIMIT ?",
        [room, *here_params, *params, *newer_params, limit],
    )
    return [Thread(*row) for row in rows]


class Annotation(NamedTuple):
    event_id: str
    device_id: str | None
    txn_id: str | None
    json: bytes


def annotations(tx: Transaction, room: int, parent: str, type: str, sender: str) -> list[Annotation]:
    """What somebody already put on an event."""
    rows = tx.all(
        "SELECT e.event_id, e.device_id, e.txn_id, e.json FROM relation r JOIN event e ON e.nid = r.child"
        " WHERE r.room = ? AND r.parent = ? AND r.rel_type = 'm.annotation' AND r.type = ? AND r.sender = ?",
        [room, parent, type, sender],
    )
    return [Annotation(*row) for row in rows]


def _joined(last_join: int | None) -> int:
    return last_join if last_join is not None else _NEVER


def _portions(values: Sequence[str]) -> Iterable[Sequence[str]]:
    return (values[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE))
