"""What was answered to requests with a transaction ID, so that repeating one does nothing twice.

https://spec.matrix.org/v1.19/client-server-api/#transaction-identifiers

The answer is written in the transaction of the effect: either both are there after a crash or neither.
An ID belongs to a device, not to an access token, so it survives refreshing the token.
"""

from collections.abc import Collection

from storage.transaction import Transaction


def seen(tx: Transaction, user_id: str, device_id: str | None, endpoint: str, txn_id: str) -> bytes | None:
    """The answer given before, or None for a new request."""
    response: bytes | None = tx.value(
        "SELECT response FROM client_transaction"
        " WHERE user_id = ? AND device_id = ? AND endpoint = ? AND txn_id = ?",
        [user_id, device_id or "", endpoint, txn_id],
    )
    return response


def seen_of(
    tx: Transaction, requests: Collection[tuple[str, str | None, str, str]]
) -> set[tuple[str, str, str, str]]:
    """Which of these (user, device, endpoint, transaction ID) were answered before."""
    rows = tx.all(
        "SELECT user_id, device_id, endpoint, txn_id FROM client_transaction"
        " WHERE (user_id, device_id, endpoint, txn_id)"
        f" IN (SELECT * FROM (VALUES {tx.values(4, len(requests))}) AS asked)",
        [value or "" for request in requests for value in request],
    )
    return {(user_id, device_id, endpoint, txn_id) for user_id, device_id, endpoint, txn_id in rows}


def remember(
    tx: Transaction,
    user_id: str,
    device_id: str | None,
    endpoint: str,
    txn_id: str,
    response: bytes,
    now_ms: int,
) -> None:
    tx.buffer(
        "client_transaction",
        ("user_id", "device_id", "endpoint", "txn_id", "response", "ts"),
        (user_id, device_id or "", endpoint, txn_id, response, now_ms),
        "ON CONFLICT DO NOTHING",
    )


def forget_before(tx: Transaction, ts: int) -> int:
    """Deletes what is older than `ts`; the number of requests forgotten."""
    return tx.execute("DELETE FROM client_transaction WHERE ts < ?", [ts])


def forget_device(tx: Transaction, user_id: str, device_id: str) -> None:
    tx.execute("DELETE FROM client_transaction WHERE user_id = ? AND device_id = ?", [user_id, device_id])
