"""Events in the database: written by the group commit, read by ID, by number or by place.

A `StoredEvent` is an event with its place: position in the stream, the snapshots around it, what became
of it. Its JSON is kept as bytes and parsed once, when first looked at.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from homeserver.protocol.events import Event, load
from homeserver.protocol.relations import REPLACE, is_possible_edit, relation_of
from homeserver.protocol.room_versions import ROOM_VERSIONS
from storage.snapshots import StateEntry
from storage.transaction import Transaction

ACCEPTED, REJECTED, SOFT_FAILED = 0, 1, 2

COLUMNS = (
    "nid",
    "event_id",
    "room",
    "position",
    "depth",
    "ts",
    "type",
    "state_key",
    "sender",
    "membership",
    "state_before",
    "state_after",
    "status",
    "notify",
    "thread",
    "replaces",
    "redacted_by",
    "device_id",
    "txn_id",
    "room_state",
    "json",
)
RELATION_COLUMNS = (
    "child",
    "room",
    "parent",
    "rel_type",
    "type",
    "sender",
    "position",
    "depth",
    "ts",
    "snapshot",
)
_SELECT = (
    "SELECT e.nid, e.event_id, e.room, e.position, e.state_before, e.state_after, e.status, e.notify,"
    " e.thread, e.replaces, e.redacted_by, e.device_id, e.txn_id, e.room_state, e.json, r.version"
    " FROM event e JOIN room r ON r.nid = e.room "
)


@dataclass(slots=True, eq=False)
class StoredEvent:
    """An event and its place.

    `position` is negative for backfilled events, and None for those outside the timeline: outliers, of which
    no state is known, and rejected and soft-failed events. `room_state` is the snapshot of the room's state
    once the event had arrived, where that is more than the state before it with this event.
    """

    event: Event
    nid: int
    room: int
    position: int | None
    state_before: int | None
    state_after: int | None
    status: int = ACCEPTED
    notify: int = 0  # the base: see homeserver.protocol.push_rules.base
    thread: str | None = None
    replaces: str | None = None
    redacted_by: str | None = None
    device_id: str | None = None
    txn_id: str | None = None
    room_state: int | None = None
    client_prefix: bytes | None = None  # the client format up to `unsigned`, made when first served
    childless: bool = False  # known to have nothing related to it; False: ask the database

    @property
    def event_id(self) -> str:
        return self.event.event_id


def add(tx: Transaction, stored: StoredEvent) -> None:
    """Adds the row of a new event; written with all others of this commit."""
    event = stored.event
    tx.buffer("event", COLUMNS, _row(stored))
    if stored.position is not None and stored.status == ACCEPTED and "m.relates_to" in event.content:
        add_relation(tx, stored)


def place(tx: Transaction, stored: StoredEvent) -> None:
    """Gives an outlier its place, of which its row knew nothing."""
    columns = ", ".join(f"{name} = ?" for name in COLUMNS[2:])
    tx.execute(f"UPDATE event SET {columns} WHERE nid = ?", [*_row(stored)[2:], stored.nid])
    if stored.position is not None and stored.status == ACCEPTED and "m.relates_to" in stored.event.content:
        add_relation(tx, stored)


@dataclass(slots=True)
class Aside:
    """An event to be stored outside the timeline. `known`: it has a row, as an outlier."""

    stored: StoredEvent
    known: bool = False


def add_asides(tx: Transaction, asides: Iterable[Aside]) -> None:
    for aside in asides:
        if aside.known:
            place(tx, aside.stored)
        else:
            add(tx, aside.stored)


def _row(stored: StoredEvent) -> tuple[Any, ...]:
    event = stored.event
    return (
        stored.nid,
        event.event_id,
        stored.room,
        stored.position,
        event.depth,
        event.origin_server_ts,
        event.type,
        event.state_key,
        event.sender,
        event.membership,
        stored.state_before,
        stored.state_after,
        stored.status,
        stored.notify,
        stored.thread,
        stored.replaces,
        stored.redacted_by,
        stored.device_id,
        stored.txn_id,
        stored.room_state,
        event.json,
    )


def add_relation(tx: Transaction, stored: StoredEvent) -> None:
    """Adds what an accepted event of a timeline relates to, if anything."""
    event = stored.event
    relation = relation_of(event.content)
    if relation is None or event.is_state:
        return
    if relation.rel_type == REPLACE and not is_possible_edit(event.type, event.content):
        return
    tx.buffer(
        "relation",
        RELATION_COLUMNS,
        (
            stored.nid,
            stored.room,
            *relation,
            event.type,
            event.sender,
            stored.position,
            event.depth,
            event.origin_server_ts,
            stored.state_before or 0,
        ),
    )


def by_id(tx: Transaction, event_ids: Collection[str]) -> dict[str, StoredEvent]:
    """The events that are known, by their IDs."""
    return {
        stored.event_id: stored
        for stored in select(tx, f"WHERE {tx.any('e.event_id')}", [tx.array(event_ids)])
    }


def which_known(tx: Transaction, event_ids: Collection[str]) -> set[str]:
    rows = tx.all(f"SELECT event_id FROM event WHERE {tx.any('event_id')}", [tx.array(event_ids)])
    return {event_id for (event_id,) in rows}


def state_entries(
    tx: Transaction, room: int, event_ids: Collection[str]
) -> list[tuple[tuple[str, str], StateEntry]]:
    """Of these events those that may stand in the room's state, by the keys they would stand under."""
    rows = tx.all(
        f"SELECT nid, event_id, type, state_key, membership FROM event WHERE {tx.any('event_id')}"
        f" AND room = ? AND state_key IS NOT NULL AND status <> {REJECTED}",
        [tx.array(event_ids), room],
    )
    return [
        ((type, state_key), StateEntry(nid, event_id, membership))
        for nid, event_id, type, state_key, membership in rows
    ]


def select(tx: Transaction, where: str, params: Iterable[Any]) -> list[StoredEvent]:
    """The events of `… FROM event e JOIN room r` with this WHERE (and ORDER BY, LIMIT) clause."""
    return [_from_row(row) for row in tx.all(_SELECT + where, list(params))]


Known = Callable[[str], "StoredEvent | None"]
"""The event of this ID, if it is in memory."""


def pick(tx: Transaction, known: Known, where: str, params: Iterable[Any]) -> list[StoredEvent]:
    """The same where the clause speaks of `e` only; of what is in memory no more than the ID is read."""
    rows = tx.all("SELECT e.nid, e.event_id, e.position FROM event e " + where, list(params))
    return those(tx, known, rows)


def those(tx: Transaction, known: Known, rows: Sequence[tuple[int, str, int | None]]) -> list[StoredEvent]:
    """The events of (nid, event ID, position), in this order."""
    found = {}
    for nid, event_id, position in rows:
        stored = known(event_id)
        if stored is not None and stored.position == position:
            found[nid] = stored
    unknown = [nid for nid, _, _ in rows if nid not in found]
    if unknown:
        found.update((each.nid, each) for each in select(tx, f"WHERE {tx.any('e.nid')}", [tx.array(unknown)]))
    return [found[nid] for nid, _, _ in rows if nid in found]


def event_position(tx: Transaction, room_id: str, event_id: str) -> int | None:
    """The stream position of an event in the room's timeline."""
    position: int | None = tx.value(
        "SELECT e.position FROM event e JOIN room r ON r.nid = e.room WHERE e.event_id = ? AND r.room_id = ?",
        [event_id, room_id],
    )
    return position


def by_transaction(
    tx: Transaction, room: int, sender: str, device_id: str, txn_id: str, type: str
) -> str | None:
    """The ID of the event that this device sent under this transaction ID."""
    event_id: str | None = tx.value(
        "SELECT event_id FROM event"
        " WHERE sender = ? AND device_id = ? AND room = ? AND txn_id = ? AND type = ?",
        [sender, device_id, room, txn_id, type],
    )
    return event_id


def timeline_between(tx: Transaction, room: int, since: int, upto: int, limit: int) -> list[StoredEvent]:
    """The last `limit` visible events with since < position <= upto, in the order of the stream."""
    rows = select(
        tx,
        "WHERE e.room = ? AND e.position > ? AND e.position <= ? AND e.status = 0"
        " ORDER BY e.position DESC LIMIT ?",
        [room, since, upto, limit],
    )
    rows.reverse()
    return rows


def timeline_from(tx: Transaction, room: int, since: int, limit: int) -> list[StoredEvent]:
    """The first accepted events after a position, in the order of the stream."""
    return select(
        tx,
        "WHERE e.room = ? AND e.position > ? AND e.status = 0 ORDER BY e.position LIMIT ?",
        [room, since, limit],
    )


def soft_fail(tx: Transaction, numbers: Collection[int]) -> None:
    """Hides events that were shown before."""
    array = tx.array(numbers)
    tx.execute(f"UPDATE event SET status = {SOFT_FAILED} WHERE {tx.any('nid')}", [array])
    tx.execute(f"DELETE FROM relation WHERE {tx.any('child')}", [array])


def mark_redacted(tx: Transaction, event_id: str, redaction_id: str, json: bytes) -> None:
    """Replaces the event by its redacted form, which relates to nothing any more."""
    tx.execute(
        "UPDATE event SET redacted_by = ?, json = ?, notify = 0 WHERE event_id = ?",
        [redaction_id, json, event_id],
    )
    tx.execute("DELETE FROM relation WHERE child IN (SELECT nid FROM event WHERE event_id = ?)", [event_id])


def _from_row(row: tuple[Any, ...]) -> StoredEvent:
    (
        nid,
        event_id,
        room,
        position,
        before,
        after,
        status,
        notify,
        thread,
        replaces,
        redacted_by,
        device_id,
        txn_id,
        room_state,
        json,
        version,
    ) = row
    return StoredEvent(
        event=load(json, event_id, ROOM_VERSIONS[version], status == REJECTED),
        nid=nid,
        room=room,
        position=position,
        state_before=before,
        state_after=after,
        status=status,
        notify=notify,
        thread=thread,
        replaces=replaces,
        redacted_by=redacted_by,
        device_id=device_id,
        txn_id=txn_id,
        room_state=room_state,
    )
