"""State resolution: one room state out of several that disagree.

https://spec.matrix.org/v1.19/server-server-api/#room-state-resolution

Pure and synchronous: events come through `fetch`, which may block, so callers run `resolve` off the
reactor. The same inputs give the same state on every server; nothing may depend on the order of
`state_sets`, of mappings or of what `fetch` returns.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.room_versions import RoomVersion
from homeserver.protocol.state_resolution import v1, v2
from homeserver.protocol.state_resolution.source import AuthEdges, EventSource, Fetch

__all__ = ["AuthEdges", "Fetch", "resolve"]


def resolve(
    version: RoomVersion,
    state_sets: Sequence[Mapping[StateKey, str]],
    fetch: Callable[[Collection[str]], Mapping[str, Event]],
    auth_edges: AuthEdges | None = None,
) -> dict[StateKey, str]:
    """The resolved state, as event IDs.

    `fetch` returns the events it has, rejected ones marked as such, and leaves out the others.
    `auth_edges`, given event IDs, returns their auth event IDs; without it whole events are fetched to
    walk auth chains.
    """
    distinct: list[Mapping[StateKey, str]] = []
    for state in state_sets:
        if not any(state is other or state == other for other in distinct):
            distinct.append(state)
    if not distinct:
        return {}
    if len(distinct) == 1:
        return dict(distinct[0])
    source = EventSource(fetch, auth_edges)
    if version.state_resolution == "v1":
        return v1.resolve(distinct, source)
    return v2.resolve(version, distinct, source)
