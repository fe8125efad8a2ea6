"""The current membership of each user in each room, as rows a user's room list is read from."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from storage.transaction import Transaction

_COLUMNS = (
    "user_id",
    "room_id",
    "membership",
    "previous",
    "event_id",
    "sender",
    "position",
    "forgotten",
    "invite_state",
)
_UPSERT = "ON CONFLICT (user_id, room_id) DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in _COLUMNS[2:]
)
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM membership "


@dataclass(frozen=True, slots=True)
class Membership:
    """`position` is where the last membership event stands; `previous` the membership before it.

    `invite_state` is the stripped state of an invite or knock, a JSON array.
    """

    user_id: str
    room_id: str
    membership: str
    previous: str | None
    event_id: str
    sender: str
    position: int
    forgotten: bool = False
    invite_state: bytes | None = None


def put(tx: Transaction, row: Membership) -> None:
    values = (
        row.user_id,
        row.room_id,
        row.membership,
        row.previous,
        row.event_id,
        row.sender,
        row.position,
        int(row.forgotten),
        row.invite_state,
    )
    tx.buffer("membership", _COLUMNS, values, _UPSERT, key=(row.user_id, row.room_id))


def rooms_with(tx: Transaction, user_id: str, other: str) -> list[str]:
    """The rooms that `other` is joined to and the user has or had to do with, the latest first."""
    rows = tx.all(
        "SELECT m.room_id FROM membership m JOIN membership o ON o.room_id = m.room_id AND o.user_id = ?"
        " WHERE m.user_id = ? AND o.membership = 'join' ORDER BY m.position DESC",
        (other, user_id),
    )
    return [room_id for (room_id,) in rows]


def of_user(tx: Transaction, user_id: str) -> dict[str, Membership]:
    """Every room the user has a membership in, forgotten ones too, by room ID."""
    rows = map(_from_row, tx.all(_SELECT + "WHERE user_id = ?", [user_id]))
    return {row.room_id: row for row in rows}


def joined_users(tx: Transaction, room_id: str) -> list[str]:
    rows = tx.all("SELECT user_id FROM membership WHERE room_id = ? AND membership = 'join'", [room_id])
    return [user_id for (user_id,) in rows]


def put_all(tx: Transaction, rows: Iterable[Membership], position: int) -> None:
    for row in rows:
        put(tx, replace(row, position=position))


def joined_servers(tx: Transaction, room_id: str) -> set[str]:
    return {user_id.partition(":")[2] for user_id in joined_users(tx, room_id)}


def end_others(tx: Transaction, room_id: str, members: Collection[str], position: int) -> None:
    """Whoever else was thought to be in the room is not: it was last looked at long ago."""
    tx.execute(
        "UPDATE membership SET previous = membership, membership = 'leave', position = ?"
        f" WHERE room_id = ? AND membership IN ('join', 'invite', 'knock') AND NOT ({tx.any('user_id')})",
        [position, room_id, tx.array(members)],
    )


def forget(tx: Transaction, user_id: str, room_id: str) -> int:
    """Marks a room that was left forgotten and announces it; the position."""
    position = tx.announce("forget", users=[user_id], data=(user_id, room_id))
    tx.execute(
        "UPDATE membership SET forgotten = 1"
        " WHERE user_id = ? AND room_id = ? AND membership IN ('leave', 'ban')",
        [user_id, room_id],
    )
    return position


def _from_row(row: tuple[Any, ...]) -> Membership:
    user_id, room_id, membership, previous, event_id, sender, position, forgotten, invite_state = row
    return Membership(
        user_id, room_id, membership, previous, event_id, sender, position, bool(forgotten), invite_state
    )
