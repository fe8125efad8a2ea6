"""Requests with a transaction ID that were carried out, so that repeating one does nothing twice.

https://spec.matrix.org/v1.19/client-server-api/#transaction-identifiers

It is remembered in the transaction of the effect: either both are there after a crash or neither.
An ID belongs to a device, not to an access token, so it survives refreshing the token.
"""

from collections.abc import Sequence

from storage.transaction import Transaction

Request = tuple[str, str, str, str]
"""User, device (empty where a token has none), endpoint, transaction ID."""


def remember(tx: Transaction, requests: Sequence[Request], now_ms: int) -> None:
    """Fails the transaction, as a duplicate, if one of them is known."""
    tx.buffer_all(
        "client_transaction",
        ("user_id", "device_id", "endpoint", "txn_id", "response", "ts"),
        [(*request, b"{}", now_ms) for request in requests],
    )


def is_known(tx: Transaction, request: Request) -> bool:
    sql = (
        "SELECT 1 FROM client_transaction WHERE user_id = ? AND device_id = ? AND endpoint = ? AND txn_id = ?"
    )
    return tx.value(sql, request) is not None


def forget_before(tx: Transaction, ts: int) -> int:
    """Deletes what is older than `ts`; the number of requests forgotten."""
    return tx.execute("DELETE FROM client_transaction WHERE ts < ?", [ts])


def forget_device(tx: Transaction, user_id: str, device_id: str) -> None:
    tx.execute("DELETE FROM client_transaction WHERE user_id = ? AND device_id = ?", [user_id, device_id])
