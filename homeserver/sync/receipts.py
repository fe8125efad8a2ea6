"""Read receipts and the fully read marker.

https://spec.matrix.org/v1.19/client-server-api/#receipts
https://spec.matrix.org/v1.19/client-server-api/#fully-read-markers

The subtle idea: three markers (public receipt, private receipt, fully read) move through one door, in one
transaction, and none of them moves back. Only the public receipt is news for other people: a private one
is announced to its owner alone, and the fully read marker is account data.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

import orjson

from homeserver.clock import Clock
from homeserver.errors import InvalidParam, NotFound
from homeserver.protocol.ids import is_valid_event_id
from storage import account_data
from storage import receipts as store
from storage.database import Database, Transaction
from storage.receipts import FULLY_READ, MAIN, PRIVATE, READ

RECEIPT_TYPES = (READ, PRIVATE, FULLY_READ)


class RemoteReceipt(NamedTuple):
    """A public receipt of another server's user, as that server tells it."""

    user_id: str
    event_id: str
    ts: int
    thread_id: str | None = None


class Receipts:
    """`require_joined(room_id, user_id)` raises Forbidden for those who are not in the room."""

    def __init__(
        self, db: Database, clock: Clock, require_joined: Callable[[str, str], Awaitable[object]]
    ) -> None:
        self._db = db
        self._clock = clock
        self._require_joined = require_joined

    async def mark(
        self, user_id: str, room_id: str, markers: Mapping[str, str], thread_id: str | None = None
    ) -> None:
        """Moves markers, receipt type -> event ID. All are checked before any of them moves."""
        for receipt_type in markers:
            _check_thread(receipt_type, thread_id)
        await self._require_joined(room_id, user_id)
        for event_id in markers.values():
            if not is_valid_event_id(event_id):
                raise NotFound("No such event in this room.")
        if markers:
            await self._db.write(_mark, user_id, room_id, dict(markers), thread_id, self._clock.now_ms())

    async def receive(self, room_id: str, receipts: Sequence[RemoteReceipt]) -> None:
        """Receipts of remote users who are joined to the room.

        They may be ahead of us and point at events that have not come yet. Which thread an event is in, the
        sender's server knows as well as we do.
        """
        now = self._clock.now_ms()
        await self._db.write(_receive, room_id, [each._replace(ts=min(each.ts, now)) for each in receipts])


def _receive(tx: Transaction, room_id: str, receipts: Sequence[RemoteReceipt]) -> None:
    for each in receipts:
        place = store.event_place(tx, room_id, each.event_id)
        position = place.position if place is not None else None
        store.add_receipt(tx, room_id, each.user_id, READ, each.thread_id, each.event_id, position, each.ts)


def _check_thread(receipt_type: str, thread_id: str | None) -> None:
    if receipt_type not in RECEIPT_TYPES:
        raise InvalidParam(f"The receipt type must be one of {', '.join(RECEIPT_TYPES)}.")
    if thread_id is None:
        return
    if receipt_type == FULLY_READ:
        raise InvalidParam("m.fully_read has no threads.")
    if thread_id != MAIN and not is_valid_event_id(thread_id):
        raise InvalidParam("thread_id must be 'main' or the ID of a thread's root event.")


def _mark(
    tx: Transaction, user_id: str, room_id: str, markers: dict[str, str], thread_id: str | None, now: int
) -> None:
    places: dict[str, store.Place] = {}
    for event_id in set(markers.values()):
        place = store.event_place(tx, room_id, event_id)
        if place is None:
            raise NotFound("No such event in this room.")
        if thread_id is not None and not place.is_in(event_id, thread_id):
            raise InvalidParam("The event is not in this thread.")
        places[event_id] = place
    for receipt_type, event_id in markers.items():
        position = places[event_id].position
        if receipt_type == FULLY_READ:
            _mark_fully_read(tx, user_id, room_id, event_id, position)
        else:
            store.add_receipt(tx, room_id, user_id, receipt_type, thread_id, event_id, position, now)


def _mark_fully_read(tx: Transaction, user_id: str, room_id: str, event_id: str, position: int) -> None:
    if before := account_data.get_account_data(tx, user_id, room_id, FULLY_READ):
        old = store.event_place(tx, room_id, orjson.loads(before)["event_id"])
        if old is not None and position <= old.position:
            return
    content = orjson.dumps({"event_id": event_id})
    account_data.set_account_data(tx, user_id, room_id, FULLY_READ, content)
