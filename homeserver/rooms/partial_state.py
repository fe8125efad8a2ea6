"""Rooms joined with part of their state: the members come later.

https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2send_joinroomideventid (`omit_members`)

A join of a room with thousands of members answers at once: the state is there but for member events, local
users read and send, and events from elsewhere are judged by the member events that they name themselves.
Meanwhile the whole state is fetched. The subtle idea is how it enters: all states since the join are deltas
on the one before it, so the missing members are added to that bottom layer and every later state has them.
Then what was let in meanwhile is judged once more.

It is asked for at once: a server that let us in may be gone, or have left the room, a moment later.
"""

from collections.abc import Collection, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from homeserver.errors import NotFound, RemoteError
from homeserver.protocol.auth_rules import AuthError
from homeserver.rooms import judgement
from homeserver.rooms.gaps import entries_of
from homeserver.rooms.head import MEMBER, StateCompleted, local_users, membership_row
from homeserver.rooms.outliers import Outliers
from homeserver.rooms.placement import Known
from homeserver.rooms.registry import Registry
from homeserver.rooms.remote import RemoteRooms
from homeserver.rooms.room import Batch, Room, RoomMovedOn
from homeserver.rooms.state import RoomState, StateEntry
from homeserver.rooms.turns import Turns
from storage import events as event_rows
from storage import graph, snapshots, state_at
from storage import memberships as membership_rows
from storage.database import Transaction
from storage.events import SOFT_FAILED, StoredEvent
from storage.memberships import Membership

log = Logger()

FIRST_WAIT = 2.0
LONGEST_WAIT = 600.0
LONGEST_PATIENCE = 60.0
MOST_SERVERS = 5
JUDGED_AT_ONCE = 500


class PartialState:
    def __init__(
        self, registry: Registry, remote: RemoteRooms, outliers: Outliers, turns: Turns, server_name: str
    ) -> None:
        self._registry = registry
        self._remote = remote
        self._outliers = outliers
        self._turns = turns
        self._server_name = server_name
        self._waiting: dict[str, list[Deferred[None]]] = {}

    async def resume(self) -> None:
        """After a start: goes on where the last run stopped."""
        db = self._registry.db
        for room_id, position in (await db.read(graph.completed_rooms)).items():
            self._registry.completed[room_id] = position
        for room_id, event_id, servers in await db.read(graph.partial_rooms):
            self.complete_later(room_id, event_id, servers)

    def complete_later(self, room_id: str, event_id: str, servers: Sequence[str]) -> None:
        """Fetches the rest of the state before the join `event_id`, for as long as it takes."""
        if room_id not in self._waiting:
            self._waiting[room_id] = []
            self._registry.partial.add(room_id)
            work = Deferred.fromCoroutine(self._complete(room_id, event_id, servers))
            work.addErrback(_failed, room_id)

    async def whole(self, room_id: str) -> None:
        """Returns when the room's state is whole, or after a while all the same."""
        waiting = self._waiting.get(room_id)
        if waiting is None:
            return
        waiter: Deferred[None] = Deferred()
        waiting.append(waiter)
        timer = self._registry.clock.call_later(LONGEST_PATIENCE, _give_up, waiting, waiter)
        await waiter
        if timer.active():
            timer.cancel()

    async def _complete(self, room_id: str, event_id: str, servers: Sequence[str]) -> None:
        wait = FIRST_WAIT
        try:
            while not await self._tried(room_id, event_id, servers):
                pause: Deferred[None] = Deferred()
                self._registry.clock.call_later(wait, pause.callback, None)
                await pause
                wait = min(2 * wait, LONGEST_WAIT)
        finally:
            self._registry.partial.discard(room_id)
            for waiter in self._waiting.pop(room_id, []):
                waiter.callback(None)

    async def _tried(self, room_id: str, event_id: str, servers: Sequence[str]) -> bool:
        """`_try`, which is not done either where our own database, say, is away."""
        try:
            return await self._try(room_id, event_id, servers)
        except Exception:
            log.failure("completing the state of {room} failed; it is tried again", room=room_id)
            return False

    async def _try(self, room_id: str, event_id: str, servers: Sequence[str]) -> bool:
        """Whether nothing is left to do."""
        try:
            room = await self._registry.get(room_id)
        except NotFound:
            return True
        if not room.is_resident(self._server_name):
            return True  # a later join will bring its own state
        if room.partial and not await self._fetch(room, event_id, servers):
            return False
        await self._judge_again(room_id, event_id)
        return True

    async def _fetch(self, room: Room, event_id: str, servers: Sequence[str]) -> bool:
        """Whether one of the servers gave the whole state."""
        room_id = room.room_id
        for server in servers[:MOST_SERVERS]:
            try:
                state, chain = await self._remote.state(server, room_id, room.version, event_id)
                async with self._turns.of(room_id):
                    found = await self._outliers.add(room.nid, room_id, [*state, *chain])
                    given = [found[each.event_id] for each in state if each.event_id in found]
                    await self._enter(server, room_id, event_id, given)
            except (RemoteError, RoomMovedOn) as error:
                log.info("{server} gives no whole state of {room}: {error}", server=server, room=room_id,
                         error=error)  # fmt: skip
                continue
            return True
        return False

    async def _enter(
        self, server: str, room_id: str, event_id: str, given: Sequence[StoredEvent]
    ) -> None:
        """Adds what is missing to the state before the join, and so to all that stand on it."""
        room = await self._registry.get(room_id)
        join = await self._registry.events.get(event_id)
        if join is None or join.state_before is None:
            raise RuntimeError(f"the join {event_id} is not in the timeline")
        held = room.held = room.held or []
        try:
            await self._registry.settled(room)
            # On a thread, for there may be very many.
            numbers, rows = await self._registry.db.read(_missing, server, room.tip.state, room_id, given)
            before = join.state_before

            def also(tx: Transaction, room_id: str) -> None:
                snapshots.add_to_roots(tx, room.nid, before, numbers)
                come = {_server(row.user_id) for row in rows if row.membership == "join"}
                told = StateCompleted(room_id, rows)
                users = local_users(rows, self._server_name)
                position = tx.announce("event", rooms=(room_id,), users=users, data=told)
                membership_rows.put_all(tx, rows, position)
                graph.set_completed(tx, room.nid, position)
                here = graph.servers(tx, room.nid)
                joined = set(membership_rows.joined_servers(tx, room_id)) - {self._server_name}
                graph.change_servers(tx, room.nid, position, (come & joined) - here, here - joined)

            await self._registry.submit(room, Batch(room.tip), also)
            # At once, or a sync could skip the room as partial and yet pass the position of its completion.
            self._registry.completed[room_id] = self._registry.db.position
            self._registry.partial.discard(room_id)
            self._registry.forget(room_id)
            log.info("{room}: the state is whole, with {count} members more", room=room_id, count=len(rows))
        finally:
            room.held = None
            for waiter in held:
                waiter.callback(None)

    async def _judge_again(self, room_id: str, event_id: str) -> None:
        """What came from elsewhere while members were missing, by the whole state."""
        async with self._turns.of(room_id):
            room = await self._registry.get(room_id)
            join = await self._registry.events.get(event_id)
            since = join.position if join is not None and join.position is not None else 0
            failed: list[StoredEvent] = []
            while True:
                some = await self._registry.db.read(
                    event_rows.timeline_from, room.nid, since, JUDGED_AT_ONCE
                )
                for stored in some:
                    theirs = _server(stored.event.sender) != self._server_name
                    if theirs and not await self._passes(room, stored):
                        failed.append(stored)
                if len(some) < JUDGED_AT_ONCE:
                    break
                since = some[-1].position or since
            if failed:
                await self._undo(room, failed)

    async def _passes(self, room: Room, stored: StoredEvent) -> bool:
        if stored.state_before is None or room.tip.create is None:
            return True
        before = await self._registry.db.read(
            state_at.entries, room.nid, stored.state_before, judgement.keys_of(stored.event)
        )
        known = Known(self._registry, room)
        await known.load([entry.event_id for entry in before.values()])
        try:
            judgement.by_state(stored.event, before, known.event, room.tip.create)
        except AuthError:
            return False
        return True

    async def _undo(self, room: Room, failed: Sequence[StoredEvent]) -> None:
        """Hides them as soft-failed, and takes what they set out of the room's state."""
        log.warn("{room}: {count} events are not allowed by the whole state", room=room.room_id,
                 count=len(failed))  # fmt: skip
        held = room.held = room.held or []
        try:
            await self._registry.settled(room)
            entries = dict(room.tip.state.entries)
            gone = {stored.event_id for stored in failed}
            for stored in failed:
                key = stored.event.key
                if key is None or key not in entries or entries[key].event_id != stored.event_id:
                    continue
                replaced = await self._last_before(stored, gone)
                if replaced is None:
                    del entries[key]
                else:
                    entries[key] = replaced
            state, new = room.tip.state.changed_to(entries, self._registry.db.ids.snapshot())
            await self._registry.submit(room, Batch(room.tip), _hiding(room, failed, state, new))
            for stored in self._registry.events.share(failed):
                stored.status = SOFT_FAILED
            self._registry.forget(room.room_id)
        finally:
            room.held = None
            for waiter in held:
                waiter.callback(None)

    async def _last_before(self, stored: StoredEvent, gone: Collection[str]) -> StateEntry | None:
        """The state event that stood before this one and stands still."""
        while stored.replaces is not None:
            replaced = await self._registry.events.get(stored.replaces)
            if replaced is None:
                return None
            if replaced.event_id not in gone:
                return StateEntry(replaced.nid, replaced.event_id, replaced.event.membership)
            stored = replaced
        return None


def _missing(
    tx: Transaction, server: str, known: RoomState, room_id: str, given: Sequence[StoredEvent]
) -> tuple[list[int], list[Membership]]:
    """The numbers of all member events that a server gave, and rows for those that the state lacks."""
    entries = entries_of(server, room_id, given)
    events = {stored.event_id: stored.event for stored in given}
    members = {key: entry for key, entry in entries.items() if key[0] == MEMBER}
    rows = [
        membership_row(events[entry.event_id], None, lambda key: None)
        for key, entry in members.items()
        if key not in known.entries
    ]
    return [entry.nid for entry in members.values()], rows


def _hiding(room: Room, failed: Sequence[StoredEvent], state: RoomState, new: Any) -> Any:
    def write(tx: Transaction, room_id: str) -> None:
        event_rows.soft_fail(tx, [stored.nid for stored in failed])
        if new is not None:
            number, parent, delta = new
            snapshots.add(tx, number, room.nid, parent, delta)
        tx.execute("UPDATE room SET snapshot = ? WHERE nid = ?", [state.snapshot, room.nid])
        for stored in failed:
            if stored.event.membership is not None:
                entry = state.entries.get((MEMBER, stored.event.state_key or ""))
                row = Membership(
                    stored.event.state_key or "", room_id, (entry and entry.membership) or "leave",
                    stored.event.membership, entry.event_id if entry else stored.event_id,
                    stored.event.sender, 0,
                )  # fmt: skip
                position = tx.announce("event", rooms=(room_id,), data=StateCompleted(room_id, [row]))
                membership_rows.put_all(tx, [row], position)

    return write


def _give_up(waiting: list["Deferred[None]"], waiter: "Deferred[None]") -> None:
    waiting.remove(waiter)
    waiter.callback(None)


def _server(user_id: str) -> str:
    return user_id.partition(":")[2]


def _failed(failure: Failure, room_id: str) -> None:
    log.failure("completing the state of {room} failed", failure, room=room_id)
