"""Events in the shape a filter asks for: client or federation format, whole or some fields only.

https://spec.matrix.org/v1.19/client-server-api/#filtering
"""

from collections.abc import Collection, Sequence
from typing import Any

import orjson

from homeserver.rooms.aggregations import NO_BUNDLES, Aggregations, Bundles
from homeserver.rooms.serialize import Serializer, View
from homeserver.sync.request import SyncRequest
from homeserver.sync.room_parts import Timeline
from storage.events import StoredEvent


class EventFormat:
    def __init__(self, serializer: Serializer, aggregations: Aggregations) -> None:
        self._serializer = serializer
        self._aggregations = aggregations

    async def prepare(self, stored: Collection[StoredEvent]) -> None:
        """For the events of many rooms, so that what they speak of is read at once."""
        await self._serializer.prepare(stored)

    async def timeline(
        self, request: SyncRequest, timeline: Timeline, left_at: int | None = None
    ) -> list[Any]:
        """The timeline of a room that the reader is joined to, or was until `left_at`.

        Only a timeline with a gap brings along what relates to its events: without one, the client has
        seen or is being told it all.
        """
        bundles = NO_BUNDLES
        if timeline.limited:
            bundles = await self._aggregations.of(
                timeline.events, request.user_id, joined=left_at is None, arrived_upto=left_at
            )
        return await self.events(request, timeline.events, timeline, bundles)

    async def events(
        self,
        request: SyncRequest,
        stored: Sequence[StoredEvent],
        view: View | None,
        bundles: Bundles = NO_BUNDLES,
    ) -> list[Any]:
        """JSON to embed, mostly without room_id: sync names the room once."""
        if not stored:
            return []
        wanted = request.filter
        client = await self._serializer.client_events(
            stored, request.user_id, request.device_id, view, request.room_ids, bundles
        )
        if wanted.event_format == "federation":
            return [
                wanted.project(_federation_form(each, fragment))
                for each, fragment in zip(stored, client, strict=True)
            ]
        if wanted.event_fields is None:
            return client
        return [wanted.project(orjson.loads(orjson.dumps(fragment))) for fragment in client]


def _federation_form(stored: StoredEvent, client: orjson.Fragment) -> dict[str, Any]:
    unsigned = orjson.loads(orjson.dumps(client)).get("unsigned", {})
    return {**stored.event.pdu, "event_id": stored.event_id, "unsigned": unsigned}
