"""Telling other servers: it follows the stream and hands each server what is for it.

https://spec.matrix.org/v1.19/server-server-api/#transactions

A server has a queue (`federation.sending.destination_queue`) only while something waits for it. The subtle
idea is what is stored: one position up to which everybody was told everything, and a row for each server
that lags behind it. It is written now and then, so what was delivered shortly before a crash may be
delivered again; events and messages have IDs, by which the others notice.
"""

import secrets
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults
from twisted.logger import Logger

from federation.client import FederationClient
from federation.destinations import Destinations
from federation.sending.destination_queue import DestinationQueue
from federation.sending.shared import Shared
from federation.whitelist import Whitelist
from homeserver.clock import Clock, Timer
from homeserver.protocol.ids import server_of
from homeserver.rooms.head import Committed, Head
from homeserver.sync.presence import OFFLINE, PresenceState
from storage import outgoing, to_device
from storage.database import Change, Database
from storage.outgoing import Lag
from storage.receipts import READ, Receipt

log = Logger()

AT_ONCE = 50
"""So many servers are tried at a time of those of which nothing was heard yet, or that did not answer."""
WOKEN_A_TURN = 10
GATHER_SECONDS = 0.25
SAVE_SECONDS = 5.0
GRACE_SECONDS = 2.0
"""What is on its way when the server stops may arrive: it would be sent again otherwise."""
PRUNE_MS = 3600 * 1000
PRUNED_A_TIME = 10_000
TO_DEVICE_KEPT_MS = 30 * 24 * 3600 * 1000
"""A message for a device that could not be delivered so long never will be: many servers do not exist."""
TYPING_AGAIN_MS = 30_000
PRESENCE_AGAIN_MS = 20 * 60 * 1000
"""Other servers forget after a while that somebody types, or is online."""


@dataclass(frozen=True, slots=True)
class DestinationStatus:
    """`waiting`: it is not its turn. `lag`: up to where it was told events and the rest."""

    server_name: str
    waiting: bool
    held: int
    lag: Lag


class Sender:
    """`heads(room)` is the head of a room in memory, `local_members(room)` are our users in such a one."""

    def __init__(
        self,
        server_name: str,
        db: Database,
        clock: Clock,
        client: FederationClient,
        destinations: Destinations,
        whitelist: Whitelist,
        *,
        heads: Callable[[str], Head | None],
        joined_rooms: Callable[[str], Awaitable[Collection[str]]],
        local_members: Callable[[str], Collection[str]] = lambda room_id: (),
        presence_of: Callable[[str], PresenceState | None] = lambda user_id: None,
    ) -> None:
        self._own = server_name
        self._db = db
        self._clock = clock
        self._destinations = destinations
        self._whitelist = whitelist
        self._heads = heads
        self._joined_rooms = joined_rooms
        self._local_members = local_members
        self._presence_of = presence_of
        # Transaction IDs differ from those before a restart, too.
        self._txn_prefix = f"{clock.now_ms()}.{secrets.token_hex(3)}."
        self._txn_count = 0
        self._shared = Shared(
            server_name,
            db,
            clock,
            client,
            destinations,
            DeferredSemaphore(AT_ONCE),
            lambda: self._position,
            self._new_txn_id,
        )
        self._position = db.position
        self._queues: dict[str, DestinationQueue] = {}
        self._woken: dict[DestinationQueue, None] = {}
        self._waking: Timer | None = None
        self._typing_told: dict[tuple[str, str], int] = {}
        self._presence_told: dict[str, int] = {}
        self._presence_timer: Timer | None = None
        # Positions of changes whose servers are being looked up.
        self._unsorted: list[int] = []
        self._early: list[Change] | None = []
        self._saved_position = 0
        self._saved: dict[str, Lag] = {}
        self._saving: Timer | None = None
        self._pruned_ts = 0
        self._stopped = False
        destinations.on_recovered.append(self._recovered)

    async def start(self) -> None:
        """Goes on where the last run ended."""
        self._early = []
        upto = self._position
        since, lags = await self._db.read(outgoing.progress)
        self._saved_position, self._saved = since, dict(lags)
        names = await self._db.read(outgoing.servers_with_news, self._own, since, upto)
        with_messages = await self._db.read(outgoing.to_device_destinations)
        failing = await self._destinations.all_failing()
        now = self._clock.now_ms()
        for name in sorted({*lags, *names, *with_messages}):
            queue = self._queue(name)
            if queue is None:
                continue
            if name in lags or name in names:
                queue.restore(lags.get(name, Lag(since, since)))
            if name in with_messages:
                queue.to_device_added()
            if name in failing and failing[name].retry_at > now:
                queue.sleep_until(failing[name].retry_at)
            else:
                self._wake(queue)
        early, self._early = self._early, None
        self._sort(early)

    async def stop(self) -> None:
        """Ends what is under way and stores how far everybody is."""
        self._stopped = True
        for timer in (self._waking, self._saving, self._presence_timer):
            if timer is not None and timer.active():
                timer.cancel()
        stopping = [queue.stop(GRACE_SECONDS) for queue in list(self._queues.values())]
        await gatherResults([Deferred.fromCoroutine(each) for each in stopping])
        if self._early is None:
            await self._save()

    def status(self) -> list[DestinationStatus]:
        """Of all servers for which something waits."""
        return [
            DestinationStatus(queue.name, queue.waiting, queue.held, queue.lag(self._position))
            for queue in self._queues.values()
        ]

    # What there is to tell

    def follow(self, changes: Sequence[Change]) -> None:
        if self._early is not None:
            self._early.extend(changes)
        elif not self._stopped:
            self._sort(changes)
        self._position = changes[-1].position

    def typing(self, room_id: str, user_id: str, typing: bool) -> None:
        if server_of(user_id) != self._own or not self._is_on:
            return
        now, key = self._clock.now_ms(), (room_id, user_id)
        told = self._typing_told.get(key)
        if typing:
            if told is not None and now - told < TYPING_AGAIN_MS:
                return
            self._typing_told[key] = now
        elif self._typing_told.pop(key, None) is None:
            return

        def tell(servers: Collection[str]) -> None:
            for queue in self._queues_of(servers):
                queue.add_typing(room_id, user_id, typing)
                self._wake(queue)

        self._with_servers([room_id], tell)

    def presence(self, states: Sequence[PresenceState]) -> None:
        now = self._clock.now_ms()
        for state in states:
            if server_of(state.user_id) != self._own or not self._is_on:
                continue
            self._presence_told.pop(state.user_id, None)
            if state.state != OFFLINE:
                self._presence_told[state.user_id] = now  # the last one told stands at the end
            self._in_background(self._tell_presence(state))
        if self._presence_told and self._presence_timer is None:
            self._presence_timer = self._clock.call_later(PRESENCE_AGAIN_MS / 4000, self._presence_again)

    def _presence_again(self) -> None:
        self._presence_timer = None
        old = self._clock.now_ms() - PRESENCE_AGAIN_MS
        due = []
        for user_id, told in self._presence_told.items():
            if told > old:
                break
            due.append(user_id)
        for user_id in due:
            del self._presence_told[user_id]
        self.presence(self._shown(due))

    async def _tell_presence(self, state: PresenceState) -> None:
        rooms = await self._joined_rooms(state.user_id)
        self._with_servers(rooms, partial(self._add_presence, [state]))

    def _add_presence(self, states: Iterable[PresenceState], servers: Collection[str]) -> None:
        for queue in self._queues_of(servers):
            for state in states:
                queue.add_presence(state)
            queue.wake_in(GATHER_SECONDS)

    def _sort(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.stream == "event":
                if isinstance(change.data, Committed):
                    self._on_event(change.position, change.data)
            elif change.stream == "outbox_to_device":
                for queue in self._queues_of(change.data):
                    queue.to_device_added()
                    self._wake(queue)
            elif change.stream == "device_list":
                if change.data is not None and server_of(change.data) == self._own:
                    told = partial(self._devices_changed, change.position)
                    self._with_servers(change.rooms, told, change.position)
            elif change.stream == "receipt" and change.rooms:
                self._on_receipt(change.position, *change.data)

    def _on_event(self, position: int, committed: Committed) -> None:
        servers, before = committed.head.servers, committed.previous_servers
        event = committed.stored.event
        if committed.outgoing or committed.also is not None:
            told = set(servers) if committed.outgoing else set()
            if committed.outgoing and before is not servers:
                told.update(before)
            if committed.also is not None:
                told.add(committed.also)
            told.discard(server_of(event.sender))
            for queue in self._queues_of(told):
                queue.add_event(position, event.json)
                self._wake(queue)
        if before is not servers:
            self._on_meeting(position, committed)

    def _on_meeting(self, position: int, committed: Committed) -> None:
        """Servers and our users that may not have shared a room before: devices and presence are news."""
        servers = committed.head.servers
        if self._own not in servers:
            return
        come = [server for server in servers if server not in committed.previous_servers]
        room_id = committed.stored.event.room_id
        newcomers = []
        for each in (committed.membership, *committed.changed):
            joined = each is not None and each.membership == "join" and each.previous != "join"
            if each is not None and joined and server_of(each.user_id) == self._own:
                newcomers.append(each.user_id)
        if newcomers:
            self._devices_changed(position, servers)
            self._add_presence(self._shown(newcomers), servers)
        if come and self._own not in come:
            self._devices_changed(position, come)
            self._add_presence(self._shown(self._local_members(room_id)), come)

    def _shown(self, user_ids: Iterable[str]) -> list[PresenceState]:
        states = [state for each in user_ids if (state := self._presence_of(each)) is not None]
        return [state for state in states if state.state != OFFLINE]

    def _devices_changed(self, position: int, servers: Collection[str]) -> None:
        for queue in self._queues_of(servers):
            queue.devices_changed(position)
            self._wake(queue)

    def _on_receipt(
        self,
        position: int,
        room_id: str,
        user_id: str,
        receipt_type: str,
        thread_id: str | None,
        event_id: str,
    ) -> None:
        if receipt_type != READ or server_of(user_id) != self._own:
            return
        now = self._clock.now_ms()
        receipt = Receipt(room_id, user_id, READ, thread_id, event_id, now, position)

        def tell(servers: Collection[str]) -> None:
            for queue in self._queues_of(servers):
                queue.add_receipt(receipt)
                queue.wake_in(GATHER_SECONDS)

        self._with_servers([room_id], tell, position)

    # Whom to tell

    @property
    def _is_on(self) -> bool:
        return self._early is None and not self._stopped

    def _with_servers(
        self, room_ids: Collection[str], tell: Callable[[Collection[str]], None], position: int = 0
    ) -> None:
        """Calls `tell` with the servers in these rooms: at once if the rooms are in memory.

        Until then nothing from `position` on counts as delivered.
        """
        heads = [self._heads(room_id) for room_id in room_ids]
        if all(head is not None for head in heads):
            tell({server for head in heads if head is not None for server in head.servers})
            return
        if position:
            self._unsorted.append(position)
        self._in_background(self._look_up(list(room_ids), tell, position))

    async def _look_up(
        self, room_ids: Collection[str], tell: Callable[[Collection[str]], None], position: int
    ) -> None:
        servers = await self._db.read(outgoing.servers_in, room_ids)
        if not self._stopped:
            if position:
                self._unsorted.remove(position)
            tell(servers)

    def _queues_of(self, servers: Iterable[str]) -> Iterable[DestinationQueue]:
        for server in servers:
            queue = self._queues.get(server)
            if queue is None and server != self._own:
                queue = self._queue(server)
            if queue is not None:
                yield queue

    def _queue(self, server: str) -> DestinationQueue | None:
        """None for those this server does not speak with."""
        if server == self._own or not self._whitelist.allows(server):
            return None
        queue = self._queues[server] = DestinationQueue(server, self._shared, self._idle)
        return queue

    def _idle(self, queue: DestinationQueue) -> None:
        self._queues.pop(queue.name, None)
        self._woken.pop(queue, None)
        self._save_soon()

    def _recovered(self, server: str) -> None:
        queue = self._queues.get(server)
        if queue is not None:
            queue.recovered()

    def _wake(self, queue: DestinationQueue) -> None:
        """A few at a time: a message for a thousand servers must not keep its sender waiting."""
        if not queue.at_rest:
            return  # it takes what there is by itself, in its time
        self._woken[queue] = None
        if self._waking is None and not self._stopped:
            self._waking = self._clock.call_later(0, self._wake_some)

    def _wake_some(self) -> None:
        self._waking = None
        for queue in list(self._woken)[:WOKEN_A_TURN]:
            del self._woken[queue]
            queue.wake()
        if self._woken:
            self._waking = self._clock.call_later(0, self._wake_some)
        self._save_soon()

    def _new_txn_id(self) -> str:
        self._txn_count += 1
        return f"{self._txn_prefix}{self._txn_count}"

    # How far everybody is

    def _save_soon(self) -> None:
        if self._saving is None and not self._stopped:
            self._saving = self._clock.call_later(SAVE_SECONDS, self._save_now)

    def _save_now(self) -> None:
        self._saving = None
        self._in_background(self._save())

    async def _save(self) -> None:
        position = min([self._position, *(each - 1 for each in self._unsorted)])
        lagging = self._lagging(position)
        changed = {name: lag for name, lag in lagging.items() if self._saved.get(name) != lag}
        caught_up = [name for name in self._saved if name not in lagging]
        if changed or caught_up or position != self._saved_position:
            await self._db.write(outgoing.save_progress, position, changed, caught_up)
            self._saved_position, self._saved = position, lagging
        now = self._clock.now_ms()
        if now - self._pruned_ts > PRUNE_MS and not self._stopped:
            self._pruned_ts = now
            while await self._db.write(outgoing.prune, PRUNED_A_TIME) == PRUNED_A_TIME:
                pass
            old = now - TO_DEVICE_KEPT_MS
            while await self._db.write(to_device.expire_outbox, old, PRUNED_A_TIME) == PRUNED_A_TIME:
                pass

    def _lagging(self, position: int) -> dict[str, Lag]:
        lags = {name: queue.lag(position) for name, queue in self._queues.items()}
        return {name: lag for name, lag in lags.items() if lag != (position, position)}

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        running = Deferred.fromCoroutine(work)
        running.addErrback(lambda failure: log.failure("telling other servers failed", failure))
