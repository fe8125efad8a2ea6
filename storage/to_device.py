"""To-device messages that wait: for our devices until they are acknowledged, for other servers until sent.

https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging

All messages of one request share a position: a device gets at most one message of a request, so position
and device still name a message.
"""

from collections.abc import Collection, Mapping, Sequence

from storage.transaction import Transaction

Device = tuple[str, str]
"""User and device."""
Message = tuple[str, str, bytes]
"""User, device, event."""


def add(tx: Transaction, messages: Sequence[Message]) -> int:
    """Appends the messages and wakes the users. Only for devices that are known to exist."""
    users = tuple({user_id for user_id, _, _ in messages})
    position = tx.announce("to_device", users=users, data=messages)
    tx.buffer_all(
        "to_device_message",
        ("user_id", "device_id", "position", "message"),
        [(user_id, device_id, position, message) for user_id, device_id, message in messages],
    )
    return position


def known_devices(tx: Transaction, user_ids: Collection[str]) -> list[tuple[str, str]]:
    """(user, device) of all devices of these users, keys or none."""
    if not user_ids:
        return []
    return tx.all(f"SELECT user_id, device_id FROM device WHERE {tx.any('user_id')}", [tx.array(user_ids)])


def messages_after(
    tx: Transaction, user_id: str, device_id: str, after: int, limit: int
) -> list[tuple[int, bytes]]:
    """The oldest messages that came after this position: (position, event)."""
    return tx.all(
        "SELECT position, message FROM to_device_message"
        " WHERE user_id = ? AND device_id = ? AND position > ? ORDER BY position LIMIT ?",
        [user_id, device_id, after, limit],
    )


def delete_up_to(tx: Transaction, acknowledged: Mapping[Device, int]) -> None:
    """These devices have what came up to these positions."""
    rows = [(*device, position) for device, position in acknowledged.items()]
    if tx.engine == "sqlite":  # which joins nothing to a DELETE, but has no round trips to save
        for row in rows:
            tx.execute(
                "DELETE FROM to_device_message WHERE user_id = ? AND device_id = ? AND position <= ?", row
            )
        return
    for start in range(0, len(rows), 1000):
        some = rows[start : start + 1000]
        tx.execute(
            "DELETE FROM to_device_message m"
            f" USING (VALUES {tx.values(3, len(some))}) AS has (user_id, device_id, position)"
            " WHERE m.user_id = has.user_id AND m.device_id = has.device_id AND m.position <= has.position",
            [value for row in some for value in row],
        )


def forget_devices(tx: Transaction, user_id: str, device_ids: Collection[str]) -> None:
    deleted = tx.execute(
        f"DELETE FROM to_device_message WHERE user_id = ? AND {tx.any('device_id')}",
        [user_id, tx.array(device_ids)],
    )
    if deleted:
        tx.announce("to_device_forgotten", data=[(user_id, device_id) for device_id in device_ids])


def add_to_outbox(tx: Transaction, edus: Sequence[tuple[str, str, bytes]], now_ms: int) -> int:
    """Keeps (destination, message ID, content of the EDU) until federation has delivered it."""
    position = tx.announce("outbox_to_device", data=tuple({destination for destination, _, _ in edus}))
    for destination, message_id, edu in edus:
        tx.buffer(
            "outbox_to_device",
            ("destination", "position", "message_id", "edu", "ts"),
            (destination, position, message_id, edu, now_ms),
        )
    return position


def outbox(tx: Transaction, destination: str, limit: int) -> list[tuple[int, str, bytes]]:
    """The oldest undelivered: (position, message ID, content of the EDU)."""
    return tx.all(
        "SELECT position, message_id, edu FROM outbox_to_device"
        " WHERE destination = ? ORDER BY position, message_id LIMIT ?",
        [destination, limit],
    )


def delete_from_outbox(tx: Transaction, destination: str, message_ids: Collection[str]) -> None:
    tx.execute(
        f"DELETE FROM outbox_to_device WHERE destination = ? AND {tx.any('message_id')}",
        [destination, tx.array(message_ids)],
    )


def expire_outbox(tx: Transaction, before_ms: int, limit: int) -> int:
    """Gives up what was sent before that time and is not delivered; how many."""
    return tx.execute(
        "DELETE FROM outbox_to_device WHERE (destination, position, message_id) IN"
        " (SELECT destination, position, message_id FROM outbox_to_device WHERE ts < ? LIMIT ?)",
        [before_ms, limit],
    )
