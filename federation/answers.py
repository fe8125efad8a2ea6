"""What other servers answer about rooms, read without believing it: the shapes, and how much of them.

https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events

An answer may be a hundred megabytes of events. They are not parsed here: the reading only finds where each
begins and ends (`msgspec.Raw`), which takes a tenth of the time, and threads parse them later.
"""

from typing import Annotated, Any, TypeVar

import msgspec

from federation.errors import BadAnswer

A = TypeVar("A")
Raws = list[msgspec.Raw]
EventId = Annotated[str, msgspec.Meta(min_length=2, max_length=255, pattern=r"^\$[^\x00]+$")]

# A list of many tiny values takes fifty times its size in memory. Events hold a value in each 25 bytes.
UNSUSPICIOUS_SIZE = 1024 * 1024
LEAST_BYTES_A_VALUE = 12


class Transaction(msgspec.Struct):
    """Of /backfill and /event."""

    pdus: Raws


class MissingEvents(msgspec.Struct):
    events: Raws


class State(msgspec.Struct):
    pdus: Raws
    auth_chain: Raws


class StateIds(msgspec.Struct):
    pdu_ids: list[EventId]
    auth_chain_ids: list[EventId]


class EventAt(msgspec.Struct):
    event_id: EventId
    origin_server_ts: int


class AuthChain(msgspec.Struct):
    auth_chain: Raws


class SendJoin(msgspec.Struct):
    """`event` is empty where it is missing."""

    state: Raws
    auth_chain: Raws
    event: msgspec.Raw = msgspec.Raw()
    members_omitted: Any = False
    servers_in_room: Any = None


class Made(msgspec.Struct):
    """Of /make_join and its like."""

    event: msgspec.Raw
    room_version: str | None = None


class Knocked(msgspec.Struct):
    """What the room looks like is an extra: a knock without it was a knock."""

    knock_room_state: Any = None


class Invited(msgspec.Struct):
    event: dict[str, Any]


def read(server: str, body: bytes | bytearray, shape: type[A]) -> A:
    """Raises BadAnswer."""
    if is_suspicious(body):
        raise BadAnswer(f"{server} answered a suspicious number of small values.")
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadAnswer(f"{server} answered something else: {error}") from error


def is_suspicious(body: bytes | bytearray) -> bool:
    """Whether it is large and made of values too small to mean anything."""
    if len(body) <= UNSUSPICIOUS_SIZE:
        return False
    # At least as many as there are: each follows a comma or stands first in a list or object.
    values = body.count(b",") + body.count(b"[") + body.count(b"{")
    return values > len(body) // LEAST_BYTES_A_VALUE


def read_v1(server: str, body: bytes | bytearray, shape: type[A]) -> A:
    """The old form, `[200, {…}]`."""
    _, content = read(server, body, tuple[int, shape])  # type: ignore[valid-type]
    return content
