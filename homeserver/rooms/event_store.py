"""Events by ID, with the recently used ones in memory.

A stored event is shared by everyone who reads it, so its JSON is parsed once and its client form made once.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable

from homeserver.protocol.redaction import redact_event
from storage import events
from storage.database import Database
from storage.events import StoredEvent

REDACTIONS_REMEMBERED = 1_000


class EventStore:
    """Keeps the last `size` events that were read or written."""

    def __init__(self, db: Database, size: int) -> None:
        self._db = db
        self._size = size
        self._recent: OrderedDict[str, StoredEvent] = OrderedDict()
        self._redacted: OrderedDict[str, str] = OrderedDict()
        self._expected: OrderedDict[str, list[str]] = OrderedDict()

    def add(self, stored: StoredEvent) -> None:
        self._recent[stored.event_id] = stored
        if len(self._recent) > self._size:
            self._recent.popitem(last=False)

    def redact(self, event_id: str, redaction_id: str) -> None:
        """The redaction was committed. A read that is under way may yet bring the event as it was."""
        self._redacted[event_id] = redaction_id
        if len(self._redacted) > REDACTIONS_REMEMBERED:
            self._redacted.popitem(last=False)
        stored = self._recent.get(event_id)
        if stored is not None:
            apply_redaction(stored, redaction_id)

    def expect_redaction(self, event_id: str, redaction_id: str) -> None:
        """The redaction is about to be written. Its target may be about to be written too."""
        self._expected.setdefault(event_id, []).append(redaction_id)
        if len(self._expected) > REDACTIONS_REMEMBERED:
            self._expected.popitem(last=False)

    def expected_redactions(self, event_id: str) -> Collection[str]:
        """The last redactions from elsewhere that name the event, whether they take effect or not."""
        return self._expected.get(event_id, ())

    def share(self, loaded: Iterable[StoredEvent]) -> list[StoredEvent]:
        """The same events, each as the one object in memory."""
        result = []
        for stored in loaded:
            known = self._recent.get(stored.event_id)
            if known is None or known.position != stored.position:
                redaction_id = self._redacted.get(stored.event_id)
                if redaction_id is not None:
                    apply_redaction(stored, redaction_id)
                self.add(stored)
                known = stored
            result.append(known)
        return result

    def cached(self, event_id: str) -> StoredEvent | None:
        stored = self._recent.get(event_id)
        if stored is not None:
            self._recent.move_to_end(event_id)
        return stored

    def peek(self, event_id: str) -> StoredEvent | None:
        """For database threads: what is in memory, which counts for no use."""
        return self._recent.get(event_id)

    def known(self, loaded: Iterable[StoredEvent]) -> list[StoredEvent]:
        """The objects in memory where there are any: their client form is made already.

        Others are not kept, since nobody is likely to read the same old page again soon.
        """
        result = []
        for stored in loaded:
            known = self.cached(stored.event_id)
            result.append(known if known is not None and known.position == stored.position else stored)
        return result

    async def get(self, event_id: str) -> StoredEvent | None:
        return (await self.many([event_id])).get(event_id)

    async def many(self, event_ids: Collection[str]) -> dict[str, StoredEvent]:
        """Those that are known, by ID."""
        found = {}
        missing = []
        for event_id in event_ids:
            stored = self.cached(event_id)
            if stored is None:
                missing.append(event_id)
            else:
                found[event_id] = stored
        if missing:
            loaded = await self._db.read(events.by_id, missing)
            for stored in self.share(loaded.values()):
                found[stored.event_id] = stored
        return found


def apply_redaction(stored: StoredEvent, redaction_id: str) -> None:
    """Makes an event in memory what its row has become."""
    if stored.redacted_by is None:
        stored.event = redact_event(stored.event)
        stored.redacted_by = redaction_id
        stored.notify = 0
        stored.client_prefix = None
