"""What other servers are still to be told, and how far each has been.

https://spec.matrix.org/v1.19/server-server-api/#transactions

A message writes one row of `outgoing`, however many servers it goes to: who gets it follows from the
intervals in which a server had members in the room. Nor does delivery write a row for each server: one
position holds for all that keep up, and only those that lag have one of their own.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from homeserver.protocol.ids import server_of
from storage import device_lists
from storage.device_lists import CROSS_SIGNING
from storage.receipts import READ, Receipt
from storage.transaction import Transaction

FOLLOWER = "federation"
MOST_CHANGES = 10
"""More changes than these of one user are told as one, from which the other server knows that it must ask."""


class Lag(NamedTuple):
    """Positions up to which everything was delivered."""

    events: int
    others: int


class DeviceNews(NamedTuple):
    """A change of one device, or with device_id "" of the user's cross-signing keys."""

    position: int
    user_id: str
    device_id: str


class DeviceDetails(NamedTuple):
    """What is told of a change. `keys` is None for a device that is gone; `previous`: the change before."""

    news: DeviceNews
    keys: bytes | None
    display_name: str | None
    previous: int | None


# How far


def progress(tx: Transaction) -> tuple[int, dict[str, Lag]]:
    """(the position that holds for all other servers, those that lag)."""
    position = tx.value("SELECT position FROM follower WHERE name = ?", [FOLLOWER])
    rows = tx.all("SELECT server_name, events, others FROM destination_lag")
    return position or 0, {server: Lag(events, others) for server, events, others in rows}


def save_progress(
    tx: Transaction, position: int, lagging: Mapping[str, Lag], caught_up: Collection[str]
) -> None:
    """`lagging` holds the rows that are new or changed, `caught_up` those that go."""
    upsert = "ON CONFLICT (name) DO UPDATE SET position = excluded.position"
    tx.insert("follower", ("name", "position"), [(FOLLOWER, position)], upsert)
    tx.insert(
        "destination_lag",
        ("server_name", "events", "others"),
        [(server, *lag) for server, lag in lagging.items()],
        "ON CONFLICT (server_name) DO UPDATE SET events = excluded.events, others = excluded.others",
    )
    if caught_up:
        tx.execute(f"DELETE FROM destination_lag WHERE {tx.any('server_name')}", [tx.array(caught_up)])


def prune(tx: Transaction, limit: int) -> int:
    """Deletes rows of events that nobody waits for any more; how many."""
    return tx.execute(
        "DELETE FROM outgoing WHERE position IN (SELECT position FROM outgoing WHERE position <="
        " (SELECT min(least) FROM (SELECT position AS least FROM follower WHERE name = ?"
        " UNION ALL SELECT min(events) FROM destination_lag) AS all_least)"
        " ORDER BY position LIMIT ?)",
        [FOLLOWER, limit],
    )


# Events


def events_for(tx: Transaction, server: str, since: int, upto: int, limit: int) -> list[tuple[int, int]]:
    """(position, event number) of the first events for a server with since < position <= upto."""
    # CROSS JOIN tells SQLite the order: the few intervals of the server first.
    return tx.all(
        "SELECT o.position, o.event FROM room_server s CROSS JOIN outgoing o"
        " WHERE s.server = ? AND (s.until IS NULL OR s.until > ?) AND o.room = s.room"
        " AND o.position > ? AND o.position <= ?"
        " AND o.position >= s.since AND (s.until IS NULL OR o.position <= s.until)"
        " UNION SELECT position, event FROM outgoing WHERE also = ? AND position > ? AND position <= ?"
        " ORDER BY 1 LIMIT ?",
        [server, since, since, upto, server, since, upto, limit],
    )


def load_events(tx: Transaction, numbers: Collection[int]) -> dict[int, tuple[str, bytes]]:
    """Number → (sender, JSON); events that were purged meanwhile are left out."""
    rows = tx.all(f"SELECT nid, sender, json FROM event WHERE {tx.any('nid')}", [tx.array(numbers)])
    return {nid: (sender, json) for nid, sender, json in rows}


def servers_with_news(tx: Transaction, own: str, since: int, upto: int) -> set[str]:
    """Which servers any event or change of devices with since < position <= upto is for."""
    local = _local(own)
    rows = tx.all(
        "SELECT s.server FROM outgoing o CROSS JOIN room_server s WHERE o.position > ? AND o.position <= ?"
        " AND s.room = o.room AND s.since <= o.position AND (s.until IS NULL OR s.until >= o.position)"
        " UNION SELECT also FROM outgoing WHERE also IS NOT NULL AND position > ? AND position <= ?"
        " UNION SELECT server FROM room_server WHERE since > ? AND since <= ?"
        " UNION SELECT s.server FROM membership m CROSS JOIN room r CROSS JOIN room_server s"
        " WHERE m.position > ? AND m.position <= ? AND m.membership = 'join' AND m.user_id LIKE ?"
        " AND r.room_id = m.room_id AND s.room = r.nid AND s.until IS NULL"
        " UNION SELECT s.server FROM device_list_change c CROSS JOIN membership m CROSS JOIN room r"
        " CROSS JOIN room_server s WHERE c.position > ? AND c.position <= ? AND c.reader IS NULL"
        " AND c.user_id LIKE ? AND m.user_id = c.user_id AND m.membership = 'join'"
        " AND r.room_id = m.room_id AND s.room = r.nid AND s.until IS NULL",
        [*[since, upto] * 4, local, since, upto, local],
    )
    return {server for (server,) in rows}


def servers_in(tx: Transaction, room_ids: Collection[str]) -> set[str]:
    """The other servers with members in any of these rooms now."""
    rows = tx.all(
        "SELECT DISTINCT s.server FROM room r CROSS JOIN room_server s"
        f" WHERE {tx.any('r.room_id')} AND s.room = r.nid AND s.until IS NULL",
        [tx.array(room_ids)],
    )
    return {server for (server,) in rows}


def to_device_destinations(tx: Transaction) -> set[str]:
    return {server for (server,) in tx.all("SELECT DISTINCT destination FROM outbox_to_device")}


# Device lists


def device_news(tx: Transaction, server: str, own: str, since: int, upto: int) -> list[DeviceNews]:
    """The changes that a server is to be told, of our users that it shares a room with now.

    Of users that it met since then it is told one change, which makes it ask for the whole list: whatever
    it knows of them is from before.
    """
    by_user: dict[str, list[DeviceNews]] = {}
    for row in tx.all(
        "SELECT c.position, c.user_id, c.device_id FROM device_list_change c"
        " WHERE c.position > ? AND c.position <= ? AND c.reader IS NULL AND c.user_id LIKE ?"
        " AND EXISTS (SELECT 1 FROM membership m JOIN room r ON r.room_id = m.room_id"
        " JOIN room_server s ON s.room = r.nid WHERE m.user_id = c.user_id AND m.membership = 'join'"
        " AND s.server = ? AND s.until IS NULL) ORDER BY c.position",
        [since, upto, _local(own), server],
    ):
        if server_of(row[1]) == own:
            by_user.setdefault(row[1], []).append(DeviceNews(*row))
    found = [each for changes in by_user.values() for each in _told(changes)]
    met = _met(tx, server, own, since) - by_user.keys()
    for user_id in met:
        last = tx.one(
            "SELECT position, user_id, device_id FROM device_list_change"
            " WHERE user_id = ? AND device_id <> '' AND reader IS NULL AND position <= ?"
            " ORDER BY position DESC LIMIT 1",
            [user_id, upto],
        )
        if last is not None:
            found.append(DeviceNews(*last))
    return sorted(found)


def _told(changes: list[DeviceNews]) -> list[DeviceNews]:
    """Of one user's changes: the last one of the cross-signing keys, and all of the devices or the last."""
    devices = [each for each in changes if each.device_id != CROSS_SIGNING]
    signing = [each for each in changes if each.device_id == CROSS_SIGNING]
    return (devices if len(devices) <= MOST_CHANGES else devices[-1:]) + signing[-1:]


def _met(tx: Transaction, server: str, own: str, since: int) -> set[str]:
    """Our users that share a room with the server now and shared none then."""
    entered = tx.all(
        "SELECT m.user_id FROM room_server s CROSS JOIN room r CROSS JOIN membership m"
        " WHERE s.server = ? AND s.until IS NULL AND s.since > ? AND r.nid = s.room"
        " AND m.room_id = r.room_id AND m.membership = 'join' AND m.user_id LIKE ?",
        [server, since, _local(own)],
    )
    met = {user_id for (user_id,) in entered}
    joined = tx.all(
        "SELECT m.user_id, m.room_id, m.previous FROM membership m CROSS JOIN room r CROSS JOIN room_server s"
        " WHERE m.position > ? AND m.membership = 'join' AND m.user_id LIKE ? AND r.room_id = m.room_id"
        " AND s.server = ? AND s.room = r.nid AND s.until IS NULL",
        [since, _local(own), server],
    )
    met |= {
        user_id
        for user_id, room_id, previous in joined
        if device_lists.was_outside(tx, room_id, user_id, previous, since)
    }
    if not met:
        return met
    known = tx.all(
        "SELECT DISTINCT m.user_id FROM membership m CROSS JOIN room r CROSS JOIN room_server s"
        f" WHERE {tx.any('m.user_id')} AND m.membership = 'join' AND m.position <= ?"
        " AND r.room_id = m.room_id AND s.server = ? AND s.room = r.nid AND s.until IS NULL AND s.since <= ?",
        [tx.array(met), since, server, since],
    )
    return met - {user_id for (user_id,) in known}


def device_details(tx: Transaction, news: Collection[DeviceNews]) -> list[DeviceDetails]:
    """As the devices are now, in the order given."""
    found = []
    for each in news:
        row = tx.one(
            "SELECT k.keys, d.display_name FROM device_keys k"
            " LEFT JOIN device d ON d.user_id = k.user_id AND d.device_id = k.device_id"
            " WHERE k.user_id = ? AND k.device_id = ?",
            [each.user_id, each.device_id],
        )
        previous = tx.value(
            "SELECT max(position) FROM device_list_change"
            " WHERE user_id = ? AND device_id <> '' AND reader IS NULL AND position < ?",
            [each.user_id, each.position],
        )
        keys, display_name = row if row is not None else (None, None)
        found.append(DeviceDetails(each, keys, display_name, previous))
    return found


# Receipts


def receipts_for(
    tx: Transaction, server: str, own: str, since: int, upto: int, limit: int
) -> list[Receipt]:
    """The newest public receipts of our users in rooms that the server is in."""
    rows = tx.all(
        "SELECT x.room_id, x.user_id, x.receipt_type, x.thread_id, x.event_id, x.ts, x.position"
        " FROM room_server s CROSS JOIN room r CROSS JOIN receipt x"
        " WHERE s.server = ? AND s.until IS NULL AND r.nid = s.room AND x.room_id = r.room_id"
        " AND x.position > ? AND x.position <= ? AND x.receipt_type = ? AND x.user_id LIKE ?"
        " ORDER BY x.position DESC LIMIT ?",
        [server, since, upto, READ, _local(own), limit],
    )
    return [
        Receipt(room, user, kind, thread or None, event_id, ts, position)
        for room, user, kind, thread, event_id, ts, position in reversed(rows)
        if server_of(user) == own
    ]


def _local(own: str) -> str:
    """A pattern for the IDs of our users. On SQLite it says nothing of upper and lower case."""
    return f"%:{own}"
