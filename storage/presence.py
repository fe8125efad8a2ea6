"""The last presence of our own users, for the time after a restart.

https://spec.matrix.org/v1.19/client-server-api/#presence
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple

import orjson

from storage.transaction import Transaction


class LastPresence(NamedTuple):
    user_id: str
    status_msg: str | None
    last_active_ts: int


def save_presence(tx: Transaction, rows: Iterable[LastPresence]) -> None:
    tx.insert(
        "presence",
        ("user_id", "status_msg", "last_active_ts"),
        [(user_id, orjson.dumps(status_msg), last_active_ts) for user_id, status_msg, last_active_ts in rows],
        "ON CONFLICT (user_id) DO UPDATE SET"
        " status_msg = excluded.status_msg, last_active_ts = excluded.last_active_ts",
    )


def last_presence(tx: Transaction, user_ids: Collection[str]) -> list[LastPresence]:
    rows = tx.all(
        f"SELECT user_id, status_msg, last_active_ts FROM presence WHERE {tx.any('user_id')}",
        (tx.array(user_ids),),
    )
    return [LastPresence(user_id, orjson.loads(status), last_active) for user_id, status, last_active in rows]
