"""The newest events of rooms that people look back in, in topological order, so that nothing need be read.

https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmessages

Whoever opens a room reads its last pages, and most of them were read a moment before, or were just sent.
The subtle idea: only places are remembered, the events are those in memory anyway; and a room's past is good
as long as its stamp is the same, with the messages added that have followed since.
"""

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from homeserver.rooms.event_store import EventStore
from homeserver.rooms.room import Room
from homeserver.rooms.sight import Stamp
from storage.events import StoredEvent
from storage.timeline import Place, Window, place_of

MOST_ROOMS, MOST_EVENTS = 500, 500


@dataclass(slots=True)
class _Past:
    """All events of a room from the first place on, oldest first. `whole`: there is nothing before them."""

    stamp: Stamp
    position: int
    places: list[Place]
    event_ids: list[str]
    whole: bool

    def trim(self) -> None:
        if len(self.places) > MOST_EVENTS:
            surplus = len(self.places) - MOST_EVENTS * 3 // 4
            del self.places[:surplus], self.event_ids[:surplus]
            self.whole = False


class RecentPast:
    def __init__(self, events: EventStore) -> None:
        self._events = events
        self._pasts: OrderedDict[int, _Past] = OrderedDict()

    def page(
        self, room: Room, window: Window, limit: int, ignored: frozenset[str]
    ) -> tuple[list[StoredEvent], bool] | None:
        """The newest events of the window and whether there are more; None where memory does not tell.

        It is for who may see all events of the room but messages of those they ignore.
        """
        past = self._of(room)
        if past is None or limit < 1 or window.arrived_after is not None:
            return None
        found: list[StoredEvent] = []
        newest = len(past.places) if window.upto is None else bisect_right(past.places, window.upto)
        for index in range(newest - 1, -1, -1):
            place = past.places[index]
            if window.above is not None and place <= window.above:
                return found, False
            if window.arrived_upto is not None and place.position > window.arrived_upto:
                continue
            stored = self._events.cached(past.event_ids[index])
            if stored is None or stored.position != place.position:
                return None
            if stored.event.state_key is None and stored.event.sender in ignored:
                continue
            if len(found) == limit:
                return found, True
            found.append(stored)
        return (found, False) if past.whole else None

    def learn(
        self, room: Room, read_at: tuple[Stamp, int], window: Window, rows: Sequence[StoredEvent], more: bool
    ) -> None:
        """Takes in all rows of a window's newer end, newest first.

        `read_at`: the room's stamp and position before they were read.
        """
        stamp, position = read_at
        if (room.stamp, room.position) != read_at or not rows:
            return
        if window.arrived_after is not None or window.above is not None:
            return
        if window.arrived_upto is not None and window.arrived_upto < position:
            return
        older = [stored for stored in reversed(rows) if (stored.position or 0) <= position]
        past = self._of(room)
        if past is None:
            if window.upto is not None or not older:
                return
            past = self._pasts[room.nid] = _Past(stamp, position, [], [], False)
            if len(self._pasts) > MOST_ROOMS:
                self._pasts.popitem(last=False)
        elif past.places:
            first = past.places[0]
            if window.upto is not None and window.upto < Place(first.depth, first.position - 1):
                return
            older = older[: bisect_left(older, first, key=place_of)]
        past.places[:0] = map(place_of, older)
        past.event_ids[:0] = [stored.event_id for stored in older]
        past.whole = past.whole or not more
        self._events.share(older)
        past.trim()

    def _of(self, room: Room) -> _Past | None:
        past = self._pasts.get(room.nid)
        if past is None:
            return None
        if past.stamp == room.stamp and self._catch_up(past, room):
            self._pasts.move_to_end(room.nid)
            return past
        del self._pasts[room.nid]
        return None

    def _catch_up(self, past: _Past, room: Room) -> bool:
        if past.position == room.position:
            return True
        news = room.since(past.position, room.position)
        if news is None:
            return False
        for stored in news:
            if past.places and place_of(stored) < past.places[-1]:
                return False
            past.places.append(place_of(stored))
            past.event_ids.append(stored.event_id)
        past.position = room.position
        past.trim()
        return True
