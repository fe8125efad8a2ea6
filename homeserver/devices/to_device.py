"""Messages from device to device, not kept in any room.

https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging

Storing the messages, waking the receivers and remembering the transaction ID are one transaction, so a
request that is repeated after a lost answer delivers nothing twice.
"""

import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from homeserver.clock import Clock
from homeserver.devices import opaque
from homeserver.devices.known_devices import KnownDevices
from homeserver.devices.remote import by_server
from homeserver.errors import InvalidParam, TooLarge
from homeserver.protocol import canonical_json
from storage import to_device, transactions
from storage.database import Database
from storage.to_device import Message
from storage.transaction import Transaction

ALL_DEVICES = "*"
MAX_MESSAGE_BYTES = 65_536
# Other servers refuse an EDU that is larger, and would never get what waits behind it.
MAX_EDU_BYTES = 60_000
MAX_TYPE = 255
# How long a request may be repeated, and how often older ones are forgotten.
MEMORY_MS = 24 * 3600 * 1000
SWEEP_MS = 3600 * 1000
MOST_RECENT = 10_000

Messages = Mapping[str, Mapping[str, Mapping[str, Any]]]


class _Sent(NamedTuple):
    """One request to store: `request` is what it is remembered by, `edus` are for other servers."""

    request: transactions.Request
    local: Sequence[Message]
    edus: Sequence[tuple[str, str, bytes]]
    now_ms: int


class ToDevice:
    """`federates` says whether a server is to be sent to; messages for others are dropped."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        server_name: str,
        *,
        federates: Callable[[str], bool] = lambda domain: False,
        new_id: Callable[[], str] = lambda: secrets.token_urlsafe(16),
    ) -> None:
        self._db = db
        self._devices = KnownDevices(db)
        self._clock = clock
        self._server_name = server_name
        self._federates = federates
        self._new_id = new_id
        # Those that may be known: storing one twice fails what is committed together with it, once for all.
        self._recent: OrderedDict[transactions.Request, None] = OrderedDict()
        self._swept_ts = 0

    async def send(
        self, sender: str, device_id: str | None, event_type: str, messages: Messages, txn_id: str
    ) -> None:
        """`messages`: user → device or `*` → content. Devices that do not exist get nothing."""
        if len(event_type) > MAX_TYPE or len(txn_id) > MAX_TYPE:
            raise InvalidParam("The event type or transaction ID is too long.")
        servers = by_server(messages)
        local = await self._for_known_devices(sender, event_type, servers.pop(self._server_name, {}))
        edus = [
            (server, *edu)
            for server, users in servers.items()
            if self._federates(server)
            for edu in self._edus(sender, event_type, users)
        ]
        request = (sender, device_id or "", f"sendToDevice/{event_type}", txn_id)
        await self._write(request, local, edus)

    async def receive(
        self, sender: str, event_type: str, messages: Messages, origin: str, message_id: str
    ) -> None:
        """Messages of a remote server for our users; a message ID is taken once."""
        ours = by_server(messages).get(self._server_name, {})
        local = await self._for_known_devices(sender, event_type, ours)
        request = (origin, "", "m.direct_to_device", message_id)
        await self._write(request, local, [])

    async def _for_known_devices(self, sender: str, event_type: str, messages: Messages) -> list[Message]:
        """Each message as sync serves it. One for a device by name comes before one for all: it gets one."""
        devices = await self._devices.of(messages)
        rest = b',"sender":%b,"type":%b}' % (opaque.to_bytes(sender), opaque.to_bytes(event_type))
        found = []
        for user_id, by_device in messages.items():
            events = {}
            for device_id, content in by_device.items():
                event = events[device_id] = b'{"content":%b%b' % (opaque.to_bytes(content), rest)
                if len(event) > MAX_MESSAGE_BYTES:
                    raise TooLarge("A message is larger than 64 KiB.")
            for device_id in devices[user_id]:
                message = events.get(device_id) or events.get(ALL_DEVICES)
                if message is not None:
                    found.append((user_id, device_id, message))
        return found

    async def _write(
        self, request: transactions.Request, local: Sequence[Message], edus: Sequence[tuple[str, str, bytes]]
    ) -> None:
        now = self._clock.now_ms()
        if request in self._recent and await self._db.read(transactions.is_known, request):
            return
        self._recent[request] = None
        if len(self._recent) > MOST_RECENT:
            self._recent.popitem(last=False)
        try:
            await self._db.write_together(_store, _Sent(request, local, edus, now))
        except Exception as error:
            if not self._db.is_duplicate(error):
                raise
        if now - self._swept_ts > SWEEP_MS:
            self._swept_ts = now
            await self._db.write(transactions.forget_before, now - MEMORY_MS)

    def _edus(
        self, sender: str, event_type: str, users: Mapping[str, Mapping[str, Mapping[str, Any]]]
    ) -> Iterator[tuple[str, bytes]]:
        """(message ID, content) of as few EDUs as fit."""
        batch: dict[str, dict[str, Any]] = {}
        size = 0
        for user_id, by_device in users.items():
            for device, content in by_device.items():
                added = len(opaque.to_bytes(content)) + len(sender) + len(event_type)
                if added > MAX_EDU_BYTES:
                    raise TooLarge("A message is larger than other servers take.")
                if batch and size + added > MAX_EDU_BYTES:
                    yield self._edu(sender, event_type, batch)
                    batch, size = {}, 0
                batch.setdefault(user_id, {})[device] = content
                size += added
        if batch:
            yield self._edu(sender, event_type, batch)

    def _edu(self, sender: str, event_type: str, messages: dict[str, dict[str, Any]]) -> tuple[str, bytes]:
        message_id = self._new_id()
        content = {"message_id": message_id, "messages": messages, "sender": sender, "type": event_type}
        # Signed as it is when it is sent, whatever numbers are in it.
        return message_id, canonical_json.encode_lax(content)


def _store(tx: Transaction, items: Sequence[_Sent]) -> list[None]:
    new = {item.request: item for item in items}
    transactions.remember(tx, list(new), items[-1].now_ms)
    for item in new.values():
        if item.local:
            to_device.add(tx, item.local)
        if item.edus:
            to_device.add_to_outbox(tx, item.edus, item.now_ms)
    return [None] * len(items)
