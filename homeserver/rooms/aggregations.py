"""Bundled aggregations: what relates to an event, summed up for one reader and sent along with it.

https://spec.matrix.org/v1.19/client-server-api/#aggregations-of-child-events

One statement tells what there is under all the events of a page; where there is nothing, that is all. What
there is takes a few more, however many events have it. An event that was sent a moment ago is known to be
`childless` without asking.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from homeserver.protocol.relations import REFERENCE, REPLACE, THREAD, has_rel_type, is_possible_edit
from homeserver.rooms.sight import Reader, Sight
from storage import events as event_rows
from storage import relations
from storage.database import Database
from storage.events import StoredEvent
from storage.relations import Edit, Group, Seen
from storage.transaction import Transaction


@dataclass(slots=True)
class Bundle:
    """What relates to one event. `latest` is a thread's last event, `latest_bundle` what relates to that.

    `membership`: the reader's at the latest event and at the edit, None where nobody asked.
    """

    edit: StoredEvent | None = None
    latest: StoredEvent | None = None
    latest_bundle: "Bundle | None" = None
    count: int = 0
    participated: bool = False
    references: list[str] = field(default_factory=list)
    membership: dict[str, str] = field(default_factory=dict)


Bundles = Mapping[str, Bundle]
NO_BUNDLES: Bundles = {}


class Aggregations:
    """For who has events at hand but no transaction open; `aggregate` is for who has."""

    def __init__(self, db: Database, ignored_users: Callable[[str], Awaitable[frozenset[str]]]) -> None:
        self._db = db
        self._ignored_users = ignored_users

    async def of(
        self,
        events: Sequence[StoredEvent],
        user_id: str,
        *,
        joined: bool = True,
        arrived_upto: int | None = None,
    ) -> Bundles:
        """By event ID, for events of one room that the user may see; no query if all are childless.

        `arrived_upto` bounds what somebody sees who is no longer joined.
        """
        candidates = [stored for stored in events if not stored.childless and not stored.event.is_state]
        if not candidates:
            return NO_BUNDLES
        reader = Reader(user_id, joined, await self._ignored_users(user_id))
        room = candidates[0].room

        def read(tx: Transaction) -> Bundles:
            parents = [stored.event_id for stored in candidates]
            if not relations.which_have_children(tx, [room], parents):
                return NO_BUNDLES
            return aggregate(tx, Sight(tx, room, reader), room, candidates, arrived_upto)

        return await self._db.read(read)


def aggregate(
    tx: Transaction,
    sight: Sight,
    room: int,
    events: Iterable[StoredEvent],
    arrived_upto: int | None = None,
    *,
    threads: bool = True,
) -> dict[str, Bundle]:
    """What relates to each of these events, by their IDs; those without anything are left out."""
    parents = {each.event_id: each for each in events if not each.childless and not each.event.is_state}
    if not parents:
        return {}
    found = relations.groups(tx, room, list(parents), sight.last_join, arrived_upto)
    if not found:
        return {}
    seen = sight.seen({group.stand for group in found}, arrived_upto)
    groups = [group for group in found if group.sender not in seen.ignored and group.stand in seen]
    bundles: dict[str, Bundle] = {}
    _add_references(tx, room, groups, seen, bundles)
    roots = _add_counts(sight.reader.user_id, groups, parents, bundles) if threads else []
    latest = relations.latest_in_threads(tx, room, roots, seen) if roots else {}
    times = _last_edits(groups, parents)
    edits = relations.edits_at(tx, room, times, seen) if times else []
    numbers = {*latest.values(), *(edit.child for edit in edits)}
    if not numbers:
        return bundles
    loaded = {
        each.nid: each
        for each in event_rows.select(tx, f"WHERE {tx.any('e.nid')}", [tx.array(sorted(numbers))])
    }
    for edit in edits:
        _add_edit(edit, parents[edit.parent], loaded.get(edit.child), bundles, sight)
    for root, number in latest.items():
        bundles[root].latest = loaded[number]
        bundles[root].membership[loaded[number].event_id] = sight.membership_of(loaded[number])
    if latest:
        lasts = [loaded[number] for number in latest.values()]
        inner = aggregate(tx, sight, room, lasts, arrived_upto, threads=False)
        for root, number in latest.items():
            bundles[root].latest_bundle = inner.get(loaded[number].event_id)
    return bundles


def _add_references(
    tx: Transaction, room: int, groups: Sequence[Group], seen: Seen, bundles: dict[str, Bundle]
) -> None:
    referred = {group.parent for group in groups if group.rel_type == REFERENCE}
    if referred:
        for parent, event_ids in relations.references(tx, room, referred, seen).items():
            bundles.setdefault(parent, Bundle()).references = event_ids


def _add_counts(
    user_id: str,
    groups: Sequence[Group],
    parents: Mapping[str, StoredEvent],
    bundles: dict[str, Bundle],
) -> list[str]:
    """Counts the threads; their roots. What is a child itself is the root of none."""
    roots: dict[str, bool] = {}
    for group in groups:
        if group.rel_type != THREAD:
            continue
        root = parents[group.parent]
        if group.parent not in roots:
            roots[group.parent] = not has_rel_type(root.event.content)
        if roots[group.parent]:
            bundle = bundles.setdefault(group.parent, Bundle())
            bundle.count += group.children
            bundle.participated |= user_id in (group.sender, root.event.sender)
    return [root for root, valid in roots.items() if valid]


def _last_edits(groups: Sequence[Group], parents: Mapping[str, StoredEvent]) -> dict[str, int]:
    """When the last edit of each event says it was sent: an edit by its sender, and of its type."""
    times: dict[str, int] = {}
    for group in groups:
        stored = parents[group.parent]
        event = stored.event
        if (
            group.rel_type == REPLACE
            and (group.sender, group.type) == (event.sender, event.type)
            and stored.redacted_by is None
            and not has_rel_type(event.content, REPLACE)
        ):
            times[group.parent] = max(group.last_ts, times.get(group.parent, group.last_ts))
    return times


def _add_edit(
    edit: Edit,
    parent: StoredEvent,
    child: StoredEvent | None,
    bundles: dict[str, Bundle],
    sight: Sight,
) -> None:
    """Of two edits of the same moment, the greater ID is the later one."""
    if child is None or (edit.sender, edit.type) != (parent.event.sender, parent.event.type):
        return
    if not is_possible_edit(child.event.type, child.event.content):
        return
    bundle = bundles.setdefault(edit.parent, Bundle())
    if bundle.edit is None or bundle.edit.event_id < child.event_id:
        bundle.edit = child
        bundle.membership[child.event_id] = sight.membership_of(child)


def content_of(
    bundle: Bundle, client_event: Callable[[StoredEvent, str | None, Bundle | None], Any]
) -> dict[str, Any]:
    """The value of `m.relations`. `client_event(event, membership, bundle)` makes an event's client form."""
    content: dict[str, Any] = {}
    if bundle.edit is not None:
        membership = bundle.membership.get(bundle.edit.event_id)
        content[REPLACE] = client_event(bundle.edit, membership, None)
    if bundle.latest is not None:
        membership = bundle.membership.get(bundle.latest.event_id)
        content[THREAD] = {
            "latest_event": client_event(bundle.latest, membership, bundle.latest_bundle),
            "count": bundle.count,
            "current_user_participated": bundle.participated,
        }
    if bundle.references:
        content[REFERENCE] = {"chunk": [{"event_id": event_id} for event_id in bundle.references]}
    return content
