"""The full conflicted set: what a resolution must order and check again.

https://spec.matrix.org/v1.19/rooms/v12/#definitions

Chains are walked from the *conflicted* events only, which are few and whose chains are short. Unconflicted
state is in every set, so its chain can only take events out of the auth difference; it is walked when
there is something to take out, and no further than that. An event counts as part of its own chain here,
as in other implementations. Event IDs of room version 2 are not hashes, so a hostile graph may hold
cycles: every walk remembers where it was.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from homeserver.protocol.events import StateKey
from homeserver.protocol.state_resolution.source import EventSource


def auth_difference(
    state_sets: Sequence[Mapping[StateKey, str]],
    conflicted: Collection[str],
    unconflicted: Mapping[StateKey, str],
    source: EventSource,
) -> set[str]:
    """The events, besides the conflicted ones, that are not in every set's auth chain."""
    conflicted = set(conflicted)
    chains = [chain(conflicted.intersection(state.values()), source) for state in state_sets]
    in_all = set.intersection(*chains)
    candidates = set.union(*chains) - in_all - conflicted
    candidates.difference_update(unconflicted.values())
    if not candidates:
        return candidates
    # Power levels and join rules first: they reach most of what can be reached.
    members = {event_id for (kind, _), event_id in unconflicted.items() if kind == "m.room.member"}
    for seeds in (set(unconflicted.values()) - members, members):
        _discard_reachable(seeds, candidates, in_all, source)
    return candidates


def conflicted_subgraph(conflicted: Collection[str], source: EventSource) -> set[str]:
    """The events on paths of the auth graph between conflicted events, ends included."""
    children: dict[str, list[str]] = {}
    for event_id in chain(conflicted, source):
        for auth_id in source.auth_events(event_id):
            children.setdefault(auth_id, []).append(event_id)
    subgraph = set(conflicted)
    queue = list(subgraph)
    while queue:
        for child in children.get(queue.pop(), ()):
            if child not in subgraph:
                subgraph.add(child)
                queue.append(child)
    return subgraph


def chain(event_ids: Iterable[str], source: EventSource) -> set[str]:
    """The events and all that their auth events lead to."""
    seen = set(event_ids)
    frontier = seen
    while frontier:
        source.load_edges(frontier)
        frontier = {auth_id for event_id in frontier for auth_id in source.auth_events(event_id)} - seen
        seen |= frontier
    return seen


def _discard_reachable(
    seeds: Collection[str], candidates: set[str], known: Collection[str], source: EventSource
) -> None:
    """Take out of `candidates` what `seeds` lead to; `known` leads to no candidate."""
    seen = set(seeds)
    frontier = seen.difference(known)
    while frontier and candidates:
        source.load_edges(frontier)
        frontier = {auth_id for event_id in frontier for auth_id in source.auth_events(event_id)} - seen
        seen |= frontier
        candidates -= frontier
        frontier = frontier.difference(known)
