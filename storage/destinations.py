"""Servers that do not answer, and when each is tried again; servers that answer have no row."""

from typing import NamedTuple

from storage.transaction import Transaction

_UPSERT = (
    "ON CONFLICT (server_name) DO UPDATE SET failing_since = excluded.failing_since,"
    " retry_at = excluded.retry_at, interval_ms = excluded.interval_ms"
)


class Failing(NamedTuple):
    """Times in milliseconds; `interval` is what the last wait was, before it was spread at random."""

    since: int
    retry_at: int
    interval: int


def failing(tx: Transaction, server_name: str) -> Failing | None:
    row = tx.one(
        "SELECT failing_since, retry_at, interval_ms FROM destination WHERE server_name = ?", [server_name]
    )
    return Failing(*row) if row is not None else None


def all_failing(tx: Transaction) -> dict[str, Failing]:
    rows = tx.all("SELECT server_name, failing_since, retry_at, interval_ms FROM destination")
    return {server_name: Failing(*rest) for server_name, *rest in rows}


def set_failing(tx: Transaction, server_name: str, state: Failing) -> None:
    columns = ("server_name", "failing_since", "retry_at", "interval_ms")
    tx.insert("destination", columns, [(server_name, *state)], _UPSERT)


def set_answering(tx: Transaction, server_name: str) -> bool:
    """Whether it was failing."""
    return tx.execute("DELETE FROM destination WHERE server_name = ?", [server_name]) > 0
