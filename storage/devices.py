"""The table of devices. That there is one more or less is announced: who they are is kept in memory."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from storage.transaction import Transaction


class Device(NamedTuple):
    device_id: str
    display_name: str | None
    last_seen_ts: int | None
    last_seen_ip: str | None


class Seen(NamedTuple):
    """A device was in use: `ts` milliseconds, `ip` and `user_agent` of the last request."""

    user_id: str
    device_id: str
    ts: int
    ip: str
    user_agent: str


def ensure(tx: Transaction, user_id: str, device_id: str, display_name: str | None, now: int) -> bool:
    """True if the device is new; the display name of a known one stays."""
    if get(tx, user_id, device_id) is not None:
        return False
    # A device of the same name may have been sent messages as it was deleted.
    tx.execute("DELETE FROM to_device_message WHERE user_id = ? AND device_id = ?", [user_id, device_id])
    tx.insert(
        "device",
        ("user_id", "device_id", "display_name", "created_ts"),
        [(user_id, device_id, display_name, now)],
    )
    tx.announce("device", data=user_id)
    return True


def get(tx: Transaction, user_id: str, device_id: str) -> Device | None:
    row = tx.one(
        "SELECT device_id, display_name, last_seen_ts, last_seen_ip FROM device"
        " WHERE user_id = ? AND device_id = ?",
        [user_id, device_id],
    )
    return None if row is None else Device(*row)


def of_user(tx: Transaction, user_id: str) -> list[Device]:
    rows = tx.all(
        "SELECT device_id, display_name, last_seen_ts, last_seen_ip FROM device"
        " WHERE user_id = ? ORDER BY device_id",
        [user_id],
    )
    return [Device(*row) for row in rows]


def rename(tx: Transaction, user_id: str, device_id: str, display_name: str) -> bool:
    return tx.execute(
        "UPDATE device SET display_name = ? WHERE user_id = ? AND device_id = ?",
        [display_name, user_id, device_id],
    ) == 1


def delete(tx: Transaction, user_id: str, device_ids: Sequence[str]) -> None:
    tx.announce("device", data=user_id)
    tx.execute(
        f"DELETE FROM device WHERE user_id = ? AND {tx.any('device_id')}", [user_id, tx.array(device_ids)]
    )


def last_seen(tx: Transaction, user_id: str) -> list[Seen]:
    rows = tx.all(
        "SELECT user_id, device_id, last_seen_ts, last_seen_ip, last_seen_user_agent FROM device"
        " WHERE user_id = ? AND last_seen_ts IS NOT NULL ORDER BY device_id",
        [user_id],
    )
    return [Seen(user_id, device_id, ts, ip or "", agent or "") for _, device_id, ts, ip, agent in rows]


def write_seen(tx: Transaction, seen: Iterable[Seen]) -> None:
    for each in seen:
        tx.execute(
            "UPDATE device SET last_seen_ts = ?, last_seen_ip = ?, last_seen_user_agent = ?"
            " WHERE user_id = ? AND device_id = ?",
            [each.ts, each.ip, each.user_agent, each.user_id, each.device_id],
        )
