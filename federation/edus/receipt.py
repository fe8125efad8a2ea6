"""m.receipt: how far remote users have read.

https://spec.matrix.org/v1.19/server-server-api/#receipts

One EDU holds receipts of many users in many rooms, and one that is wrong spoils none of the others. Public
receipts only: any other type is nobody's business but the user's, so no server should send it.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from federation.edus.reading import InvalidEdu, Recipients, is_user_of, read, room_open_to
from homeserver.protocol.ids import is_valid_event_id
from homeserver.rooms.room import Room
from homeserver.sync.receipts import RemoteReceipt
from storage.receipts import MAIN, READ

MAX_ROOMS = 200
MAX_USERS = 1000
MAX_EVENTS = 10
MAX_TS = 2**53 - 1


class Data(msgspec.Struct):
    ts: int
    thread_id: str | None = None


class UserReceipt(msgspec.Struct):
    event_ids: list[str]
    data: Data


async def receive(here: Recipients, origin: str, content: dict[str, Any]) -> None:
    for room_id, by_type in list(content.items())[:MAX_ROOMS]:
        by_user = by_type.get(READ) if isinstance(by_type, dict) else None
        if not isinstance(by_user, dict):
            continue
        room = await room_open_to(here, origin, room_id)
        if room is not None:
            receipts = [
                receipt
                for user_id, given in list(by_user.items())[:MAX_USERS]
                if _may_read(room, origin, user_id)
                for receipt in _receipts(user_id, given)
            ]
            if receipts:
                await here.receipts.receive(room_id, receipts)


def _may_read(room: Room, origin: str, user_id: str) -> bool:
    return is_user_of(origin, user_id) and room.membership(user_id) == "join"


def _receipts(user_id: str, given: Any) -> Iterator[RemoteReceipt]:
    try:
        receipt = read(given, UserReceipt)
    except InvalidEdu:
        return
    ts, thread_id = receipt.data.ts, receipt.data.thread_id
    if not 0 <= ts <= MAX_TS or not (thread_id in (None, MAIN) or is_valid_event_id(thread_id or "")):
        return
    for event_id in receipt.event_ids[:MAX_EVENTS]:
        if is_valid_event_id(event_id):
            yield RemoteReceipt(user_id, event_id, ts, thread_id)
