"""Changes of device lists: the stream "device_list".

https://spec.matrix.org/v1.19/client-server-api/#tracking-the-device-list-for-a-user

One row a change, whoever must hear of it: a reader picks the changes of the users it shares rooms with
when it reads. A change is the news that something changed, never what: readers ask for the keys.
"""

from collections.abc import Collection, Sequence

from storage.transaction import Transaction

CROSS_SIGNING = ""
"""Stands for the device in a change of cross-signing keys."""

_FEW = 1000


def record(tx: Transaction, user_id: str, device_ids: Sequence[str], rooms: Collection[str]) -> int:
    """These devices of the user changed; `rooms` are all rooms the user is joined to. The last position.

    Each has a position of its own: other servers know the change of one device by it.
    """
    rows = []
    position = 0
    for device_id in device_ids:
        position = tx.announce("device_list", rooms=tuple(rooms), users=(user_id,), data=user_id)
        rows.append((position, user_id, device_id, None))
    _insert(tx, rows)
    return position


def record_for(tx: Transaction, reader: str, user_ids: Collection[str]) -> int:
    """`reader`, and nobody else, sees the keys of these users differently: it signed them."""
    position = tx.announce("device_list", users=(reader,))
    _insert(tx, [(position, user_id, CROSS_SIGNING, reader) for user_id in user_ids])
    return position


def changed_users(
    tx: Transaction,
    since: int,
    upto: int,
    among: Collection[str] | None = None,
    reader: str | None = None,
) -> set[str]:
    """Whose lists changed in since < position <= upto, of the users `among`.

    `reader`, if given, also gets the changes meant for it alone.
    """
    seen_by = "(reader IS NULL OR reader = ?)"
    sql = f"SELECT user_id, reader FROM device_list_change WHERE position > ? AND position <= ? AND {seen_by}"
    if among is None:
        return {user_id for user_id, _ in tx.all(sql, [since, upto, reader])}
    rows = tx.all(f"{sql} ORDER BY position LIMIT {_FEW}", [since, upto, reader])
    if len(rows) == _FEW:  # long ago: going by user is cheaper than reading everybody's changes
        sql = f"SELECT DISTINCT user_id, reader FROM device_list_change WHERE {tx.any('user_id')}"
        among_or_own = tx.array([*among])
        rows = tx.all(
            f"{sql} AND position > ? AND position <= ? AND {seen_by}", [among_or_own, since, upto, reader]
        )
        if reader is not None:
            rows += [(user_id, reader) for user_id in _signed_by(tx, reader, since, upto)]
    among = among if isinstance(among, set | frozenset | dict) else set(among)
    return {user_id for user_id, only_for in rows if only_for is not None or user_id in among}


def last_change(tx: Transaction, user_id: str) -> int:
    """The position of the last change of a device of the user; 0 when there was none.

    Changes of cross-signing keys do not count: other servers hear of them without a number.
    """
    position: int | None = tx.value(
        "SELECT max(position) FROM device_list_change WHERE user_id = ? AND device_id <> ''"
        " AND reader IS NULL",
        [user_id],
    )
    return position or 0


def joined_rooms(tx: Transaction, user_id: str) -> list[str]:
    """Whose members must hear of the user's changes."""
    rows = tx.all("SELECT room_id FROM membership WHERE user_id = ? AND membership = 'join'", [user_id])
    return [room_id for (room_id,) in rows]


# CROSS JOIN below tells SQLite the order: the few others first, then whether the user is in their rooms.
def sharing(tx: Transaction, user_id: str, among: Collection[str]) -> set[str]:
    """Who of these is joined to a room that the user is joined to; the user itself always counts."""
    rows = tx.all(
        "SELECT DISTINCT other.user_id FROM membership other CROSS JOIN membership mine"
        f" WHERE {tx.any('other.user_id')} AND other.membership = 'join'"
        " AND mine.user_id = ? AND mine.room_id = other.room_id AND mine.membership = 'join'",
        [tx.array(among), user_id],
    )
    return {other for (other,) in rows} | ({user_id} & set(among))


def changes(tx: Transaction, user_id: str, since: int, upto: int) -> tuple[set[str], set[str]]:
    """(changed, left) for one user, as `/keys/changes` and an incremental sync say it.

    Users met since then count as changed, too: what the reader knows of them may be old. So do those who were
    invited to a room of the reader's, for whom clients encrypt before they have come.
    """
    changed = changed_users(tx, since, upto, None, user_id)
    met, invited, parted = _met_and_parted(tx, user_id, since)
    still_shared = sharing(tx, user_id, changed | met | parted)
    signed = _signed_by(tx, user_id, since, upto)
    return (changed | met) & still_shared | invited | signed, parted - still_shared


def _signed_by(tx: Transaction, reader: str, since: int, upto: int) -> set[str]:
    rows = tx.all(
        "SELECT DISTINCT user_id FROM device_list_change WHERE reader = ? AND position > ? AND position <= ?",
        [reader, since, upto],
    )
    return {user_id for (user_id,) in rows}


def _met_and_parted(tx: Transaction, user_id: str, since: int) -> tuple[set[str], set[str], set[str]]:
    """Who may have come to share a room with the user since then, who was invited, and who may have stopped.

    Memberships are judged as they are now. A room the user itself joined or left brings all its members.
    """
    entered: set[str] = set()
    gone: set[str] = set()
    for room_id, membership, previous in tx.all(
        "SELECT room_id, membership, previous FROM membership WHERE user_id = ? AND position > ?",
        [user_id, since],
    ):
        if membership == "join" and was_outside(tx, room_id, user_id, previous, since):
            entered.add(room_id)
        elif membership != "join" and _was_inside(tx, room_id, user_id, previous, since):
            gone.add(room_id)
    met = _members(tx, entered) - {user_id}
    parted = _members(tx, gone)
    invited = set()
    for other, room_id, membership, previous in tx.all(
        "SELECT other.user_id, other.room_id, other.membership, other.previous"
        " FROM membership other CROSS JOIN membership mine"
        " WHERE other.position > ? AND other.user_id <> ?"
        " AND mine.user_id = ? AND mine.room_id = other.room_id"
        f" AND (mine.membership = 'join' OR {tx.any('mine.room_id')})",
        [since, user_id, user_id, tx.array(gone)],
    ):
        if membership != "join":
            if _was_inside(tx, room_id, other, previous, since):
                parted.add(other)
            if membership == "invite" and room_id not in gone:
                invited.add(other)
        elif room_id not in gone and was_outside(tx, room_id, other, previous, since):
            met.add(other)
    return met, invited, parted


def was_outside(tx: Transaction, room_id: str, user_id: str, previous: str | None, since: int) -> bool:
    """Whether somebody who is joined now may have been outside, and did not just change its name."""
    if previous != "join":
        return True
    changes: int = tx.value(
        "SELECT count(*) FROM event JOIN room ON room.nid = event.room WHERE room.room_id = ?"
        " AND event.type = 'm.room.member' AND event.state_key = ? AND event.position > ?",
        [room_id, user_id, since],
    )
    return changes > 1


def _was_inside(tx: Transaction, room_id: str, user_id: str, previous: str | None, since: int) -> bool:
    """Whether somebody who is not joined now was so since then: kicked and banned at once, say."""
    if previous == "join":
        return True
    ended: int = tx.value(
        "SELECT count(*) FROM room JOIN event ON event.room = room.nid"
        " JOIN event replaced ON replaced.event_id = event.replaces WHERE room.room_id = ?"
        " AND event.type = 'm.room.member' AND event.state_key = ? AND event.position > ?"
        " AND replaced.membership = 'join'",
        [room_id, user_id, since],
    )
    return ended > 0


def _members(tx: Transaction, room_ids: Collection[str]) -> set[str]:
    if not room_ids:
        return set()
    rows = tx.all(
        f"SELECT user_id FROM membership WHERE {tx.any('room_id')} AND membership = 'join'",
        [tx.array(room_ids)],
    )
    return {user_id for (user_id,) in rows}


def _insert(tx: Transaction, rows: Sequence[tuple[int, str, str, str | None]]) -> None:
    tx.insert("device_list_change", ("position", "user_id", "device_id", "reader"), rows)
