"""Rooms, and what one new event writes: its row, its snapshot, the room's head, a membership.

`append` is the only way new events enter a timeline (older ones: `storage.history`). It writes a fixed number
of rows whatever the size of the room, and only through buffers, so that the events of all rooms in one commit
share a few statements.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import orjson

from storage import events, graph, memberships, push_actions, snapshots
from storage.events import StoredEvent
from storage.memberships import Membership
from storage.snapshots import Layer
from storage.transaction import Transaction

COLUMNS = ("nid", "room_id", "version", "snapshot", "depth", "position", "extremities")
_UPSERT = (
    "ON CONFLICT (nid) DO UPDATE SET snapshot = excluded.snapshot, depth = excluded.depth,"
    " position = excluded.position, extremities = excluded.extremities"
)


class RoomRow(NamedTuple):
    nid: int
    room_id: str
    version: str
    snapshot: int | None
    depth: int
    position: int
    extremities: tuple[str, ...]
    partial: bool = False
    servers: Collection[str] = ()


@dataclass(slots=True)
class Append:
    """One event to be written, with the room as it stands after it. `announced` is told to followers.

    `memberships`: the event's own and those that state resolution changed besides; `users` are to be woken,
    as the room's members are. `outgoing`: other servers are to be told, `also` one that is not in the room.
    `servers_in` and `servers_out` are those whose first member came or whose last went. `known`: the event
    has a row, as an outlier. `missing`: its previous events that this server lacks.
    """

    stored: StoredEvent
    room_id: str
    version: str
    snapshot: int | None
    depth: int
    extremities: tuple[str, ...]
    new_snapshots: Sequence[tuple[int, int | None, bytes]]
    memberships: Sequence[Membership]
    users: Sequence[str]
    redacts: tuple[str, bytes] | None
    push: Sequence[push_actions.PushAction]
    announced: object
    outgoing: bool = False
    also: str | None = None
    servers_in: Collection[str] = ()
    servers_out: Collection[str] = ()
    known: bool = False
    missing: Collection[str] = ()


def append(tx: Transaction, appends: Sequence[Append]) -> None:
    """Writes events of one room, in order; their `stored.position` is set."""
    for each in appends:
        stored = each.stored
        position = tx.announce("event", rooms=(each.room_id,), users=each.users, data=each.announced)
        stored.position = position
        if each.known:
            events.place(tx, stored)
        else:
            events.add(tx, stored)
        for number, parent, delta in each.new_snapshots:
            snapshots.add(tx, number, stored.room, parent, delta)
        for membership in each.memberships:
            memberships.put(tx, replace(membership, position=position))
        if each.push:
            push_actions.add(tx, position, each.push)
        if each.redacts is not None:
            target, json = each.redacts
            events.mark_redacted(tx, target, stored.event_id, json)
        if each.outgoing or each.also is not None:
            graph.add_outgoing(tx, position, stored.nid, stored.room, each.also)
        if each.servers_in or each.servers_out:
            graph.change_servers(tx, stored.room, position, each.servers_in, each.servers_out)
        if each.missing:
            graph.add_missing(tx, stored.room, each.missing, stored.event.depth)
    last = appends[-1]
    row = (
        last.stored.room,
        last.room_id,
        last.version,
        last.snapshot,
        last.depth,
        last.stored.position,
        orjson.dumps(last.extremities),
    )
    tx.buffer("room", COLUMNS, row, _UPSERT, key=last.stored.room)


def load(tx: Transaction, room_id: str) -> tuple[RoomRow, list[Layer], list[str]] | None:
    """A room's row, the layers of its current state, and its joined users.

    None too where no more is known of it than that somebody was invited.
    """
    row = tx.one(f"SELECT {', '.join(COLUMNS)} FROM room WHERE room_id = ?", [room_id])
    if row is None or row[3] is None:
        return None
    nid, _, version, snapshot, depth, position, extremities = row
    room = RoomRow(nid, room_id, version, snapshot, depth, position, tuple(orjson.loads(extremities)))
    if graph.is_partial(tx, nid):
        room = room._replace(partial=True, servers=graph.servers(tx, nid))
    layers = snapshots.layers(tx, snapshot)
    return room, layers, memberships.joined_users(tx, room_id)


def last_positions(tx: Transaction, room_ids: Sequence[str]) -> dict[str, int]:
    """Where each room's last event stands."""
    return dict(tx.all(f"SELECT room_id, position FROM room WHERE {tx.any('room_id')}", [tx.array(room_ids)]))


def number_of(tx: Transaction, room_id: str) -> tuple[int, str] | None:
    """A room's number and version, also where only an invite to it is known."""
    row = tx.one("SELECT nid, version FROM room WHERE room_id = ?", [room_id])
    return (row[0], row[1]) if row is not None else None


def add_stub(tx: Transaction, nid: int, room_id: str, version: str) -> None:
    """A room of which no more is known than its version.

    Who invited somebody before may have lied about that: then what they sent is put aside, under no room ID.
    """
    tx.execute(
        "UPDATE room SET room_id = room_id || ' ' || nid"
        " WHERE room_id = ? AND version <> ? AND snapshot IS NULL",
        [room_id, version],
    )
    row = (nid, room_id, version, None, 0, 0, b"[]")
    tx.insert("room", COLUMNS, [row], "ON CONFLICT (room_id) DO NOTHING")
