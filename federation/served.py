"""Answers made of stored events: their bytes are joined, never parsed and written again.

A room's state may be tens of thousands of events, so this runs where the events are read: on a database
thread.
"""

from collections.abc import Iterable
from typing import Any

import orjson


def array(events: Iterable[bytes]) -> bytes:
    return b"[" + b",".join(events) + b"]"


def answer(**members: bytes) -> bytes:
    """A JSON object of members that are JSON already."""
    return b"{" + b",".join(b'"%b":%b' % (name.encode(), json) for name, json in members.items()) + b"}"


def transaction(origin: str, now_ms: int, events: Iterable[bytes]) -> bytes:
    """Events in the form of a transaction, which is how single events and pages of history travel."""
    return answer(origin=encode(origin), origin_server_ts=b"%d" % now_ms, pdus=array(events))


def encode(value: Any) -> bytes:
    return orjson.dumps(value)
