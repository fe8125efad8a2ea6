"""The table of leaves that no other server has heard of yet."""

from typing import NamedTuple

import orjson

from storage.transaction import Transaction


class UnheardLeave(NamedTuple):
    """`servers` may still be told. `ts`: when it was, in milliseconds."""

    user_id: str
    room_id: str
    servers: tuple[str, ...]
    ts: int


def put(tx: Transaction, leave: UnheardLeave) -> None:
    tx.insert(
        "unheard_leave",
        UnheardLeave._fields,
        [(leave.user_id, leave.room_id, orjson.dumps(leave.servers), leave.ts)],
        "ON CONFLICT (user_id, room_id) DO UPDATE SET servers = excluded.servers, ts = excluded.ts",
    )


def delete(tx: Transaction, user_id: str, room_id: str) -> None:
    tx.execute("DELETE FROM unheard_leave WHERE user_id = ? AND room_id = ?", [user_id, room_id])


def after(tx: Transaction, user_id: str, room_id: str, limit: int) -> list[UnheardLeave]:
    """The next ones in order of user and room."""
    rows = tx.all(
        "SELECT user_id, room_id, servers, ts FROM unheard_leave WHERE (user_id, room_id) > (?, ?)"
        " ORDER BY user_id, room_id LIMIT ?",
        [user_id, room_id, limit],
    )
    return [UnheardLeave(user, room, tuple(orjson.loads(servers)), ts) for user, room, servers, ts in rows]
