"""This server enters a room that others are in: its state is taken over from the server that let it in.

https://spec.matrix.org/v1.19/server-server-api/#joining-rooms

Everything is judged before anything counts: each event of the state by the events that authorise it, the
join by the state. The events are stored first, in portions, as outliers, which mean nothing by themselves;
the room, its state, its members and the join then come in one write. What lies before the join is missing
(`missing_event`) and fetched when somebody reads there.

A room may come with part of its state (`partial`): see `partial_state`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from immutables import Map

from homeserver.errors import RemoteError
from homeserver.protocol.auth_rules import AuthError
from homeserver.protocol.events import Event
from homeserver.protocol.ids import server_of
from homeserver.protocol.power_levels import PowerLevels
from homeserver.rooms import judgement
from homeserver.rooms.gaps import entries_of
from homeserver.rooms.head import (
    BEFORE_CREATION,
    CREATE,
    MEMBER,
    POWER_LEVELS,
    Committed,
    Head,
    MemberCounts,
    count_members,
    local_users,
    membership_row,
)
from homeserver.rooms.outliers import Outliers
from homeserver.rooms.registry import Registry
from homeserver.rooms.remote import RemoteJoin
from homeserver.rooms.room import Batch, Room
from homeserver.rooms.state import EMPTY, NewSnapshot, RoomState, StateEntry, StateKey
from storage import graph
from storage import memberships as membership_rows
from storage import rooms as room_rows
from storage.database import Identifiers, Transaction
from storage.events import REJECTED, StoredEvent
from storage.memberships import Membership
from storage.rooms import Append


async def begin(registry: Registry, outliers: Outliers, join: RemoteJoin) -> None:
    """Raises RemoteError where what the other server gave is no room that the join is allowed in."""
    event = join.event
    nid = await _number(registry, join)
    found = await outliers.add(nid, event.room_id, [*join.state, *join.auth_chain])
    known = await registry.events.get(event.event_id)
    number = known.nid if known is not None else registry.db.ids.event()
    # What fifty thousand members take a second for happens on a thread.
    own = registry.identity.server_name
    taken = await registry.db.read(_take_over, registry.db.ids, join, found, number, own)
    stored = StoredEvent(
        event, number, nid, None, taken.before.snapshot, taken.after.snapshot, replaces=taken.replaces
    )
    await _enter(registry, join, taken, stored, known=known is not None)


async def _number(registry: Registry, join: RemoteJoin) -> int:
    """The room's number in the database, where it is at least a stub from now on."""
    room_id, version = join.event.room_id, join.event.version.id
    await registry.db.write(room_rows.add_stub, registry.db.ids.room(), room_id, version)
    known = await registry.db.read(room_rows.number_of, room_id)
    if known is None or known[1] != version:
        raise RemoteError(f"{join.server} gave a room of another version.")
    return known[0]


@dataclass(frozen=True, slots=True)
class TakenOver:
    """The state before the join and after it, its events but for rejected ones, and what follows from them.

    `rows` are the memberships of all others; `local` those among them that are users of ours.
    """

    before: RoomState
    after: RoomState
    new_snapshots: list[NewSnapshot]
    events: Mapping[str, Event]
    create: Event
    counted: MemberCounts
    rows: list[Membership]
    local: list[Membership]
    replaces: str | None

    def state_event(self, key: StateKey) -> Event | None:
        entry = self.before.entries.get(key)
        return self.events.get(entry.event_id) if entry is not None else None


def _take_over(
    tx: Transaction,
    ids: Identifiers,
    join: RemoteJoin,
    found: Mapping[str, StoredEvent],
    number: int,
    own: str,
) -> TakenOver:
    event = join.event
    state = [found[each.event_id] for each in join.state if each.event_id in found]
    entries = entries_of(join.server, event.room_id, state)
    events = {stored.event_id: stored.event for stored in found.values() if stored.status != REJECTED}
    create = events[entries[CREATE].event_id]
    if str(create.content.get("room_version", "1")) != event.version.id:
        raise RemoteError(f"{join.server} gave a room of another version.")
    _judge(join, entries, events, create)
    before, first = EMPTY.changed_to(entries, ids.snapshot())
    key = event.key or (MEMBER, event.sender)
    after, second = before.with_event(key, StateEntry(number, event.event_id, "join"), ids.snapshot())

    def state_event(key: StateKey) -> Event | None:
        entry = entries.get(key)
        return events.get(entry.event_id) if entry is not None else None

    rows = [
        membership_row(events[entry.event_id], None, state_event)
        for (type, user_id), entry in entries.items()
        if type == MEMBER and user_id != event.state_key
    ]
    return TakenOver(
        before=before,
        after=after,
        new_snapshots=[new for new in (first, second) if new is not None],
        events=events,
        create=create,
        counted=count_members(after),
        rows=rows,
        local=[row for row in rows if server_of(row.user_id) == own],
        replaces=entries[key].event_id if key in entries else None,
    )


def _judge(
    join: RemoteJoin, entries: Mapping[StateKey, StateEntry], events: Mapping[str, Event], create: Event
) -> None:
    auth_events = [events[auth_id] for auth_id in join.event.auth_events if auth_id in events]
    if len(auth_events) < len(join.event.auth_events):
        raise RemoteError(f"{join.server} did not give what authorises the join.")
    unknown_members = auth_events if join.partial else ()
    try:
        judgement.by_auth_events(join.event, auth_events, create)
        judgement.by_state(join.event, entries, events.get, create, unknown_members)
    except AuthError as error:
        raise RemoteError(f"The state that {join.server} gave does not allow the join: {error}") from None


async def _enter(
    registry: Registry, join: RemoteJoin, taken: TakenOver, stored: StoredEvent, *, known: bool
) -> None:
    event, nid, own = join.event, stored.room, registry.identity.server_name
    power = PowerLevels.of(event.version, taken.create, taken.state_event(POWER_LEVELS))
    joined, invited, servers = taken.counted
    if join.partial:
        servers = Map({**dict.fromkeys(join.servers, 1), **servers})
    head = Head(
        taken.after, (event.event_id,), event.depth, taken.create, power, joined, invited, servers
    )
    was = (await registry.memberships.of(event.sender)).get(event.room_id)
    own_row = membership_row(event, was.membership if was is not None else None, taken.state_event)
    rows = taken.rows
    room = Room(nid, event.room_id, event.version, BEFORE_CREATION, 0)
    room.partial = join.partial
    stored.notify, stored.thread, push = registry.outcomes(event, head)
    others = [server for server in servers if server != own]
    append = Append(
        stored=stored,
        room_id=event.room_id,
        version=event.version.id,
        snapshot=taken.after.snapshot,
        depth=event.depth,
        extremities=head.extremities,
        new_snapshots=taken.new_snapshots,
        memberships=[*rows, own_row],
        users=local_users([*taken.local, own_row], own),
        redacts=None,
        push=push,
        announced=Committed(stored, head, own_row, push, changed=rows, previous_servers=servers),
        known=known,
        missing=event.prev_events,
    )

    def also(tx: Transaction, room_id: str) -> None:
        position = stored.position or 0
        graph.change_servers(tx, nid, position, others, graph.servers(tx, nid).difference(others))
        if join.partial:
            graph.set_partial(tx, nid, event.event_id, list(dict.fromkeys([join.server, *join.servers])))
        else:
            graph.set_whole(tx, nid)
            membership_rows.end_others(tx, room_id, [row.user_id for row in (*rows, own_row)], position)

    registry.adopt(room, [row.user_id for row in taken.local if row.membership == "join"])
    events, states = {event.event_id: stored}, {event.event_id: taken.after}
    await registry.submit(room, Batch(head, [append], events=events, states=states), also)


def servers_to_ask(room: Room, own: str) -> list[str]:
    """The other servers in a room, those with most members first."""
    others = [server for server in room.head.servers if server not in (own, "")]
    return sorted(others, key=lambda server: -room.head.servers[server])

