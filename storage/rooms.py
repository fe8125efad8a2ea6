"""Rooms, and what one new event writes: its row, its snapshot, the room's head, a membership.

`append` is the only way events enter a timeline. It writes a fixed number of rows whatever the size of the
room, and only through buffers, so that the events of all rooms in one commit share a few statements.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import orjson

from storage import events, memberships, push_actions, snapshots
from storage.events import StoredEvent
from storage.memberships import Membership
from storage.snapshots import Layer
from storage.transaction import Transaction

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


@dataclass(slots=True)
class Append:
    """One event to be written, with the room as it stands after it. `announced` is told to followers."""

    stored: StoredEvent
    room_id: str
    version: str
    snapshot: int | None
    depth: int
    extremities: tuple[str, ...]
    new_snapshot: tuple[int, int | None, bytes] | None
    membership: Membership | None
    redacts: tuple[str, bytes] | None
    push: Sequence[push_actions.PushAction]
    announced: object


def append(tx: Transaction, appends: Sequence[Append]) -> None:
    """Writes events of one room, in order; their `stored.position` is set."""
    for each in appends:
        stored = each.stored
        users = (each.membership.user_id,) if each.membership is not None else ()
        position = tx.announce("event", rooms=(each.room_id,), users=users, data=each.announced)
        stored.position = position
        events.add(tx, stored)
        if each.new_snapshot is not None:
            number, parent, delta = each.new_snapshot
            snapshots.add(tx, number, stored.room, parent, delta)
        if each.membership is not None:
            memberships.put(tx, replace(each.membership, position=position))
        if each.push:
            push_actions.add(tx, position, each.push)
        if each.redacts is not None:
            target, json = each.redacts
            events.mark_redacted(tx, target, stored.event_id, json)
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
    tx.buffer("room", RoomRow._fields, row, _UPSERT, key=last.stored.room)


def load(tx: Transaction, room_id: str) -> tuple[RoomRow, list[Layer], list[str]] | None:
    """A room's row, the layers of its current state, and its joined users."""
    row = tx.one(f"SELECT {', '.join(RoomRow._fields)} FROM room WHERE room_id = ?", [room_id])
    if row is None:
        return None
    nid, _, version, snapshot, depth, position, extremities = row
    room = RoomRow(nid, room_id, version, snapshot, depth, position, tuple(orjson.loads(extremities)))
    layers = snapshots.layers(tx, room.snapshot) if room.snapshot is not None else []
    return room, layers, memberships.joined_users(tx, room_id)


def last_positions(tx: Transaction, room_ids: Sequence[str]) -> dict[str, int]:
    """Where each room's last event stands."""
    return dict(tx.all(f"SELECT room_id, position FROM room WHERE {tx.any('room_id')}", [tx.array(room_ids)]))
