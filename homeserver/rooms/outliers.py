"""Events known for what they authorise or are state of, without a place in the timeline.

https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu

Whole rooms come this way when this server joins them: ten thousand events are judged on a database thread,
each by its own authorisation events, causes first. What names events that are neither here nor among those
given is left out; what the rules forbid is stored as rejected, for others may refer to it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from homeserver.protocol.auth_rules import AuthError
from homeserver.protocol.events import Event
from homeserver.rooms import judgement
from storage import events as event_rows
from storage.database import Database, Transaction
from storage.events import REJECTED, Aside, StoredEvent

WRITTEN_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Judged:
    """`known` were stored before; `accepted` and `rejected` are new."""

    known: Mapping[str, StoredEvent]
    accepted: Sequence[Event]
    rejected: Sequence[Event]


class Outliers:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def add(self, room: int, room_id: str, given: Sequence[Event]) -> dict[str, StoredEvent]:
        """Stores those that are new; all that are known now, rejected ones too, by ID."""
        unique = {event.event_id: event for event in given if event.room_id == room_id}
        if not unique:
            return {}
        judged = await self._db.read(_judge, unique)
        found = dict(judged.known)
        asides = []
        for event in (*judged.accepted, *judged.rejected):
            status = REJECTED if event.rejected else event_rows.ACCEPTED
            stored = StoredEvent(event, self._db.ids.event(), room, None, None, None, status)
            found[event.event_id] = stored
            asides.append(Aside(stored))
        for start in range(0, len(asides), WRITTEN_AT_ONCE):
            await self._write(asides[start : start + WRITTEN_AT_ONCE])
        return found

    async def _write(self, asides: Sequence[Aside]) -> None:
        try:
            await self._db.write(event_rows.add_asides, asides)
        except Exception as error:
            if not self._db.is_duplicate(error):
                raise
            # Some came another way meanwhile. Their numbers are others then, so those that stand win.
            ids = [aside.stored.event_id for aside in asides]
            there = await self._db.read(event_rows.by_id, ids)
            rest = [aside for aside in asides if aside.stored.event_id not in there]
            for aside in asides:
                known = there.get(aside.stored.event_id)
                if known is not None:
                    aside.stored.nid = known.nid
            if rest and len(rest) < len(asides):
                await self._write(rest)


def _judge(tx: Transaction, given: Mapping[str, Event]) -> Judged:
    known = event_rows.by_id(tx, list(given))
    outside = {
        auth_id
        for event in given.values()
        if event.event_id not in known
        for auth_id in event.auth_events
        if auth_id not in given
    }
    events: dict[str, Event] = {event_id: stored.event for event_id, stored in known.items()}
    create = _create_of(tx, given)
    if outside:
        events.update((each, stored.event) for each, stored in event_rows.by_id(tx, list(outside)).items())
    accepted, rejected = [], []
    for event in causes_first(given):
        if event.event_id in known:
            continue
        auth_events = [events[auth_id] for auth_id in event.auth_events if auth_id in events]
        if len(auth_events) < len(event.auth_events):
            continue
        try:
            judgement.by_auth_events(event, auth_events, create)
            accepted.append(event)
        except AuthError:
            event = Event(event.version, event.event_id, event.pdu, event.json, rejected=True)
            rejected.append(event)
        events[event.event_id] = event
    return Judged(known, accepted, rejected)


def _create_of(tx: Transaction, given: Mapping[str, Event]) -> Event | None:
    """The create event, where it stands in no event's auth events."""
    first = next(iter(given.values()))
    if not first.version.room_id_is_create_id:
        return None
    create_id = "$" + first.room_id[1:]
    if create_id in given:
        return given[create_id]
    stored = event_rows.by_id(tx, [create_id]).get(create_id)
    return stored.event if stored is not None else None


def causes_first(given: Mapping[str, Event]) -> list[Event]:
    """Each event after those of its authorisation events that are among them; cycles are left out."""
    waiting: dict[str, int] = {}
    dependants: dict[str, list[str]] = {}
    ready = []
    for event in given.values():
        needs = {auth_id for auth_id in event.auth_events if auth_id in given}
        waiting[event.event_id] = len(needs)
        for auth_id in needs:
            dependants.setdefault(auth_id, []).append(event.event_id)
        if not needs:
            ready.append(event)
    for event in ready:  # grows meanwhile
        for event_id in dependants.get(event.event_id, ()):
            waiting[event_id] -= 1
            if not waiting[event_id]:
                ready.append(given[event_id])
    return ready
