"""Auth chains: the auth events of some events, theirs in turn, and so on down to the room's creation.

https://spec.matrix.org/v1.19/server-server-api/#pdus (auth chain)

The walk goes by layers, one statement each, over the stored bytes: of an event's JSON nothing but
`auth_events` is read, and the bytes are what other servers are answered with.
"""

from collections.abc import Collection, Iterable

import msgspec

from homeserver.errors import TooLarge
from storage.transaction import Transaction

MOST_EVENTS = 250_000


class _Hashed(msgspec.Struct):
    auth_events: list[str]


class _Paired(msgspec.Struct):
    """Room versions 1 and 2: an event ID with its hashes."""

    auth_events: list[tuple[str, msgspec.Raw]]


_HASHED = msgspec.json.Decoder(_Hashed)
_PAIRED = msgspec.json.Decoder(_Paired)


def auth_event_ids(json: bytes, hashed: bool) -> list[str]:
    """The auth events of a stored event; `hashed`: of a room version with hashes for event IDs."""
    if hashed:
        return _HASHED.decode(json).auth_events
    return [event_id for event_id, _ in _PAIRED.decode(json).auth_events]


def auth_chain(
    tx: Transaction, room: int, events: Iterable[bytes], hashed: bool, without: Collection[str] = ()
) -> dict[str, bytes]:
    """The chain of these events (as stored JSON) as event ID → JSON; they are in it only if they are in
    one another's chains.

    What is in `without` is left out of the answer, but what stands behind it is not. Raises TooLarge where
    the chain has more events than anybody could want at once.
    """
    chain: dict[str, bytes] = {}
    seen: set[str] = set()
    layer = _next_layer(events, hashed, seen)
    while layer:
        if len(seen) > MOST_EVENTS:
            raise TooLarge("The auth chain has too many events.")
        rows = tx.all(
            f"SELECT event_id, json FROM event WHERE {tx.any('event_id')} AND room = ?",
            [tx.array(layer), room],
        )
        found = {event_id: bytes(json) for event_id, json in rows}
        chain.update(found)
        layer = _next_layer(found.values(), hashed, seen)
    for event_id in without:
        chain.pop(event_id, None)
    return chain


def _next_layer(events: Iterable[bytes], hashed: bool, seen: set[str]) -> list[str]:
    """The auth events of these that were not seen before; they are seen now."""
    layer = {event_id for json in events for event_id in auth_event_ids(json, hashed)} - seen
    seen |= layer
    return list(layer)
