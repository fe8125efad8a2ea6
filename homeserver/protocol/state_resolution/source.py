"""Events on demand, each fetched at most once in a resolution."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from homeserver.protocol.events import Event

Fetch = Callable[[Collection[str]], Mapping[str, Event]]
AuthEdges = Callable[[Collection[str]], Mapping[str, Sequence[str]]]


class EventSource:
    def __init__(self, fetch: Fetch, auth_edges: AuthEdges | None) -> None:
        self._fetch = fetch
        self._auth_edges = auth_edges
        self._events: dict[str, Event | None] = {}
        self._edges: dict[str, Sequence[str]] = {}

    def load(self, event_ids: Iterable[str]) -> None:
        """Have these at hand in one fetch."""
        missing = {event_id for event_id in event_ids if event_id not in self._events}
        if missing:
            found = self._fetch(missing)
            for event_id in missing:
                self._events[event_id] = found.get(event_id)

    def get(self, event_id: str) -> Event | None:
        """None if we do not have it."""
        if event_id not in self._events:
            self.load((event_id,))
        return self._events[event_id]

    def load_edges(self, event_ids: Iterable[str]) -> None:
        missing = {event_id for event_id in event_ids if event_id not in self._edges}
        if not missing:
            return
        if self._auth_edges is not None:
            found = self._auth_edges(missing)
            self._edges.update({event_id: found.get(event_id, ()) for event_id in missing})
            return
        self.load(missing)
        for event_id in missing:
            event = self._events[event_id]
            self._edges[event_id] = () if event is None else event.auth_events

    def auth_events(self, event_id: str) -> Sequence[str]:
        if event_id not in self._edges:
            self.load_edges((event_id,))
        return self._edges[event_id]
