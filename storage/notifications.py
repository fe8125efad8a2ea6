"""What a user was notified of, the latest first.

https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3notifications

Two sources are merged: the user's own rows, and the bases of events for which the user has no row. The
rooms with the latest events are looked at first, and only as many as a page needs.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from storage import unread
from storage.events import StoredEvent, select
from storage.transaction import Transaction

_ROOMS_AT_ONCE = 50
RARE_FROM = 3
"""Bases above this have an index of their own."""


class NotifyingRoom(NamedTuple):
    """A room somebody is joined or invited to: its last event, where their stay began, who is joined."""

    nid: int
    room_id: str
    last: int
    since: int
    joined: bool
    members: int


def rooms(tx: Transaction, user_id: str, count_members: bool) -> list[NotifyingRoom]:
    """Those with the latest events first. `members` is 0 unless asked for."""
    members = "0"
    if count_members:
        members = "(SELECT count(*) FROM membership o WHERE o.room_id = m.room_id AND o.membership = 'join')"
    rows = tx.all(
        "SELECT r.nid, r.room_id, r.position, coalesce(u.position, 0),"
        f" CASE WHEN m.membership = 'join' THEN 1 ELSE 0 END, {members}"
        " FROM membership m JOIN room r ON r.room_id = m.room_id"
        " LEFT JOIN unread_from u ON u.user_id = m.user_id AND u.room_id = m.room_id"
        " WHERE m.user_id = ? AND m.membership IN ('join', 'invite') ORDER BY r.position DESC",
        [user_id],
    )
    return [
        NotifyingRoom(nid, room_id, last, since, bool(joined), joined_members)
        for nid, room_id, last, since, joined, joined_members in rows
    ]


class Notification(NamedTuple):
    """`outcome` is None where it is what the event's base does."""

    stored: StoredEvent
    outcome: tuple[int, int] | None
    read: bool


def page(
    tx: Transaction,
    user_id: str,
    among: Sequence[NotifyingRoom],
    bases: Mapping[int, Collection[int]],
    silent: Collection[str],
    *,
    before: int,
    limit: int,
    only_highlights: bool,
    upto: int,
) -> list[Notification]:
    """`bases`: by room, those that count for this user; `silent`: whose events do not."""
    own = _own(tx, user_id, among, silent, before, limit, only_highlights)
    found: dict[int, tuple[int, int] | None] = dict(own)
    joined = [room for room in among if room.joined and bases.get(room.nid)]
    for start in range(0, len(joined), _ROOMS_AT_ONCE):
        some = joined[start : start + _ROOMS_AT_ONCE]
        least = sorted(found, reverse=True)[limit - 1] if len(found) >= limit else 0
        if some[0].last <= least:
            break
        found.update(dict.fromkeys(_by_base(tx, user_id, some, bases, silent, before, limit)))
    positions = sorted(found, reverse=True)[:limit]
    events = select(tx, f"WHERE {tx.any('e.position')}", [tx.array(positions)])
    events.sort(key=lambda stored: stored.position or 0, reverse=True)
    numbers = {stored.room for stored in events}
    names = {room.nid: room.room_id for room in among if room.nid in numbers}
    floors = unread.floors(tx, user_id, names, upto)
    result = []
    for stored in events:
        position = stored.position or 0
        read = position <= floors[stored.room](stored.thread)
        result.append(Notification(stored, found[position], read))
    return result


def _own(
    tx: Transaction,
    user_id: str,
    among: Sequence[NotifyingRoom],
    silent: Collection[str],
    before: int,
    limit: int,
    only_highlights: bool,
) -> dict[int, tuple[int, int]]:
    column = "highlight" if only_highlights else "notify"
    rows = tx.all(
        "SELECT p.position, p.notify, p.highlight FROM push_action p JOIN event e ON e.position = p.position"
        f" WHERE p.user_id = ? AND p.position < ? AND p.{column} > 0 AND e.redacted_by IS NULL"
        f" AND e.status = 0 AND {tx.any('e.room')} AND NOT ({tx.any('e.sender')})"
        " ORDER BY p.position DESC LIMIT ?",
        [user_id, before, tx.array([room.nid for room in among]), tx.array(list(silent)), limit],
    )
    return {position: (notify, highlight) for position, notify, highlight in rows}


def _by_base(
    tx: Transaction,
    user_id: str,
    some: Sequence[NotifyingRoom],
    bases: Mapping[int, Collection[int]],
    silent: Collection[str],
    before: int,
    limit: int,
) -> list[int]:
    parts = []
    params: list[Any] = []
    for number, room in enumerate(some):
        wanted = sorted(bases[room.nid])
        rare = f" AND e.notify > {RARE_FROM}" if wanted[0] > RARE_FROM else ""
        listed = ",".join(str(int(base)) for base in wanted)
        parts.append(
            "SELECT position FROM (SELECT e.position FROM event e WHERE e.room = ? AND e.position > ?"
            f" AND e.position < ? AND e.notify IN ({listed}){rare} AND e.status = 0"
            f" AND NOT ({tx.any('e.sender')}) AND NOT EXISTS (SELECT 1 FROM push_action p"
            " WHERE p.user_id = ? AND p.room_id = ? AND p.position = e.position)"
            f" ORDER BY e.position DESC LIMIT ?) AS room{number}"
        )
        params += [room.nid, room.since, before, tx.array(list(silent)), user_id, room.room_id, limit]
    return [position for (position,) in tx.all(" UNION ALL ".join(parts), params)]
