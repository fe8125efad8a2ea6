"""Events as clients see them, made once and shared by all who read them.

https://spec.matrix.org/v1.19/client-server-api/#room-event-format

The bytes up to `unsigned` are the same for everybody and kept with the event. `unsigned` has three parts:
what the event's own history says (replaces_state, redacted_because), what the clock says (age), and what
only this reader may know (transaction_id, membership, prev_content). Nothing a remote server wrote there is
passed on.
"""

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any, Protocol

import orjson

from homeserver.clock import Clock
from homeserver.protocol import canonical_json
from homeserver.protocol.events import Event
from homeserver.rooms.aggregations import NO_BUNDLES, Bundle, Bundles, content_of
from homeserver.rooms.event_store import EventStore
from storage.events import StoredEvent

DELAYED = "delayed event"
"""The device that delayed events are sent from; their transaction ID is the `delay_id`."""


class View(Protocol):
    """What depends on the history visibility; `homeserver.rooms.sight` knows."""

    def membership_of(self, stored: StoredEvent) -> str | None: ...

    def sees_replaced(self, stored: StoredEvent) -> bool:
        """Whether they may see the state event that this one replaced."""
        ...


class Serializer:
    def __init__(self, events: EventStore, clock: Clock) -> None:
        self._events = events
        self._clock = clock

    async def client_events(
        self,
        stored: Sequence[StoredEvent],
        reader: str,
        device_id: str | None = None,
        view: View | None = None,
        room_id: bool = True,
        bundles: Bundles = NO_BUNDLES,
    ) -> list[orjson.Fragment]:
        """The client form of each event, as JSON to embed. `room_id=False` leaves that field out (sync).

        `view`: of the reader; without it neither membership nor prev_content are told. `bundles`: what
        relates to the events (see `aggregations`).
        """
        await self.prepare(stored)
        now = self._clock.now_ms()
        return [
            orjson.Fragment(
                self.client_event(
                    each,
                    now,
                    reader,
                    device_id,
                    view.membership_of(each) if view is not None else None,
                    room_id,
                    bundles.get(each.event_id) if bundles else None,
                    view is not None and each.replaces is not None and view.sees_replaced(each),
                )
            )
            for each in stored
        ]

    async def prepare(self, stored: Collection[StoredEvent]) -> None:
        """Has at hand what `unsigned` speaks of: replaced states and redactions."""
        missing = [
            other
            for each in stored
            for other in (each.replaces, each.redacted_by)
            if other is not None and self._events.cached(other) is None
        ]
        if missing:
            await self._events.many(missing)

    def client_event(
        self,
        stored: StoredEvent,
        now_ms: int,
        reader: str,
        device_id: str | None,
        membership: str | None,
        room_id: bool,
        bundle: Bundle | None = None,
        sees_replaced: bool = False,
    ) -> bytes:
        """One event; what `prepare` was not asked for is left out of `unsigned`."""
        prefix = stored.client_prefix
        if prefix is None:
            prefix = stored.client_prefix = _prefix(stored)
        event = stored.event
        age = now_ms - event.origin_server_ts
        if age < 0:
            age = 0
        if (
            bundle is None
            and stored.replaces is None
            and stored.redacted_by is None
            and (stored.txn_id is None or event.sender != reader)
        ):
            end = _end(membership, event.room_id if room_id else None)
            return b'%s,"unsigned":{"age":%d%s' % (prefix, age, end)
        unsigned = self._unsigned(stored, sees_replaced)
        if bundle is not None:

            def child(stored: StoredEvent, membership: str | None, bundle: Bundle | None) -> orjson.Fragment:
                return orjson.Fragment(
                    self.client_event(stored, now_ms, reader, device_id, membership, room_id, bundle)
                )

            unsigned["m.relations"] = content_of(bundle, child)
        if membership is not None:
            unsigned["membership"] = membership
        if stored.txn_id is not None and event.sender == reader:
            if stored.device_id == DELAYED:
                unsigned["org.matrix.msc4140.delay_id"] = stored.txn_id
            elif stored.device_id == device_id:
                unsigned["transaction_id"] = stored.txn_id
        rest = b"," + orjson.dumps(unsigned)[1:] if unsigned else b"}"
        end = b",%s}" % _room_id(event.room_id) if room_id else b"}"
        return b'%s,"unsigned":{"age":%d%s%s' % (prefix, age, rest, end)

    def _unsigned(self, stored: StoredEvent, sees_replaced: bool) -> dict[str, Any]:
        unsigned: dict[str, Any] = {}
        if stored.replaces is not None:
            unsigned["replaces_state"] = stored.replaces
            replaced = self._events.cached(stored.replaces) if sees_replaced else None
            if replaced is not None:
                unsigned["prev_content"] = _embeddable(replaced.event, replaced.event.content)
                unsigned["prev_sender"] = replaced.event.sender
        if stored.redacted_by is not None:
            redaction = self._events.cached(stored.redacted_by)
            if redaction is not None:
                unsigned["redacted_because"] = _full(redaction)
        return unsigned


def _prefix(stored: StoredEvent) -> bytes:
    """The client form without room_id, unsigned and the closing brace."""
    return orjson.dumps(_fields(stored))[:-1]


def _fields(stored: StoredEvent) -> dict[str, Any]:
    event = stored.event
    content: Any = _embeddable(event, event.content)
    fields: dict[str, Any] = {
        "content": content,
        "event_id": event.event_id,
        "origin_server_ts": event.origin_server_ts,
        "sender": event.sender,
        "type": event.type,
    }
    if event.state_key is not None:
        fields["state_key"] = event.state_key
    if event.redacts is not None:  # both places, whatever the room version: clients read either
        fields["redacts"] = event.redacts
        fields["content"] = _embeddable(event, {**event.content, "redacts": event.redacts})
    return fields


def _embeddable(event: Event, content: dict[str, Any]) -> Any:
    """Old rooms hold numbers of any size, which orjson does not write."""
    return content if event.version.strict_json else orjson.Fragment(canonical_json.write(content))


def _full(stored: StoredEvent) -> dict[str, Any]:
    return {**_fields(stored), "room_id": stored.event.room_id}


@lru_cache(maxsize=2_000)
def _end(membership: str | None, room_id: str | None) -> bytes:
    """What follows the age where nothing but the reader's membership is told besides."""
    inner = b"" if membership is None else b',"membership":%s' % orjson.dumps(membership)
    return inner + (b"}}" if room_id is None else b"},%s}" % _room_id(room_id))


def _room_id(room_id: str) -> bytes:
    return b'"room_id":' + orjson.dumps(room_id)
