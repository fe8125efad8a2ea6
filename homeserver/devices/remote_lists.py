"""Device lists of other servers' users: kept here, and kept good by what their servers tell.

https://spec.matrix.org/v1.19/server-server-api/#device-management

A list is kept from the first time somebody asks for it who shares a room with its user, until nobody does.
Updates form a chain; one whose predecessors are not all in the list means that something was missed, and
the list is stale until it has been fetched as a whole. Local clients hear of every change in the stream
"device_list", and ask again; they never get a list that is known to be stale.

Servers tell those they share a room with as *they* see it. The end of one shared room may come here after the
beginning of the next, though there was a time between for their server, of which it told nothing: so whoever
left one of several rooms, or put our last member out of it, is asked anew.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from homeserver.clock import Clock
from homeserver.devices import remote_keys
from homeserver.devices.device_lists import JoinedRooms
from homeserver.devices.keys import KeptLists
from homeserver.devices.remote import answers_about
from homeserver.devices.resync import Resync
from homeserver.protocol.ids import domain_of
from homeserver.rooms.head import Committed
from storage import device_lists
from storage import remote_devices as store
from storage.database import Change, Database
from storage.memberships import Membership
from storage.remote_devices import KeptList
from storage.transaction import Transaction

log = Logger()
LATELY = 100
"""Positions of the stream."""
CROSS_SIGNING_FIELDS = {"master": "master_keys", "self_signing": "self_signing_keys"}


@dataclass(frozen=True, slots=True)
class DeviceUpdate:
    """One link of the chain. `keys` is None for a device that was deleted, or has none."""

    user_id: str
    device_id: str
    stream_id: int
    previous: tuple[int, ...]
    keys: bytes | None


@dataclass(frozen=True, slots=True)
class FetchedList:
    """`stream_id`: the last update it holds; None if the server did not say."""

    stream_id: int | None
    devices: KeptList


class RemoteDeviceLists(Protocol):
    async def devices(self, server: str, user_id: str) -> FetchedList | None:
        """None if the server has answered, but gives no list. Raises RemoteError."""
        ...


class RemoteLists:
    """`rooms_with(user_id, most)`: how many rooms the user shares with us, counted up to `most`."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        server_name: str,
        remote: RemoteDeviceLists,
        *,
        joined_rooms: JoinedRooms,
        rooms_with: Callable[[str, int], Awaitable[int]],
        local_members: Callable[[str], Collection[str]],
    ) -> None:
        self._db = db
        self._server_name = server_name
        self._remote = remote
        self._joined_rooms = joined_rooms
        self._rooms_with = rooms_with
        self._local_members = local_members
        self._resync = Resync(clock, self._fetch)

    async def resume(self) -> None:
        """After a start: forgets users who went while nobody looked, and goes on fetching.

        Of the last who came or went, a crash may have taken what was to follow.
        """
        without_room = await self._db.read(store.kept_without_room)
        if without_room:
            await self._db.write(store.forget, without_room)
        lately = await self._db.read(store.kept_that_moved, self._db.position - LATELY)
        if lately:
            await self._db.write(store.mark_stale, lately)
        self._resync.add(await self._db.read(store.stale_users))

    def stop(self) -> None:
        self._resync.stop()

    async def shares_room(self, user_id: str) -> bool:
        return await self._rooms_with(user_id, 1) > 0

    # what their servers tell

    async def update(self, update: DeviceUpdate) -> None:
        if await self.shares_room(update.user_id) and not await self._db.write(self._apply, update):
            self._resync.add([update.user_id], alive=True)

    async def update_signing_keys(self, user_id: str, keys: Mapping[str, bytes]) -> None:
        if await self.shares_room(user_id) and not await self._db.write(self._apply_keys, user_id, keys):
            self._resync.add([user_id], alive=True)

    def _apply(self, tx: Transaction, update: DeviceUpdate) -> bool:
        """False if the list has to be fetched."""
        user_id, device_id = update.user_id, update.device_id
        state = store.states(tx, [user_id]).get(user_id)
        if state is not None and update.stream_id in state.seen and not state.stale:
            return True
        if state is None:
            self._record(tx, user_id, [device_id])
            return True
        if state.stale or not update.previous or not set(update.previous) <= set(state.seen):
            store.mark_stale(tx, [user_id])
            self._record(tx, user_id, [device_id])
            return False
        devices = store.lists(tx, [user_id])[user_id].devices
        is_one_too_many = device_id not in devices and len(devices) >= store.MAX_DEVICES
        if devices.get(device_id) != update.keys and not is_one_too_many:
            store.put_device(tx, user_id, device_id, update.keys)
            self._record(tx, user_id, [device_id])
        store.add_seen(tx, user_id, [*state.seen, update.stream_id])
        return True

    def _apply_keys(self, tx: Transaction, user_id: str, keys: Mapping[str, bytes]) -> bool:
        """False if the list has to be fetched."""
        state = store.states(tx, [user_id]).get(user_id)
        if state is not None and not state.stale:
            kept = store.lists(tx, [user_id])[user_id].cross_signing
            new = {usage: key for usage, key in keys.items() if kept.get(usage) != key}
            if new:
                store.put_cross_signing_keys(tx, user_id, new)
                self._record(tx, user_id, [device_lists.CROSS_SIGNING])
            return True
        if state is not None:
            store.mark_stale(tx, [user_id])
        self._record(tx, user_id, [device_lists.CROSS_SIGNING])
        return state is None

    # what local users ask

    async def look_up(self, viewer: str, user_ids: Collection[str]) -> KeptLists:
        """Lists that are good, of users who share a room with the viewer; the others are to be asked for."""
        good, unkept, marks = await self._db.read(_look_up, viewer, user_ids)
        if unkept:
            states = await self._db.write(store.keep, unkept)
            marks |= {user_id: state.stale for user_id, state in states.items() if state.stale}
        return KeptLists(good, marks)

    async def fill(self, marks: Mapping[str, int], answer: Mapping[str, Any]) -> None:
        """Keeps what a server answered about all devices of these users.

        It gives no stream_id, so the next update will be a gap: fetching the list waits until then.
        """
        lists = {}
        for user_id, devices in answers_about(answer, "device_keys", marks).items():
            kept = lists[user_id] = KeptList()
            for device_id, keys in list(devices.items())[: store.MAX_DEVICES]:
                data = remote_keys.queried_device(user_id, device_id, keys)
                if data is not None:
                    kept.devices[device_id] = data
        for usage, field in CROSS_SIGNING_FIELDS.items():
            for user_id, key in answers_about(answer, field, lists).items():
                data = remote_keys.cross_signing_key(user_id, usage, key)
                if data is not None:
                    lists[user_id].cross_signing[usage] = data
        # Whose list could not be had before has somebody waiting for it.
        owed = {user_id for user_id in lists if user_id in self._resync}
        if lists:
            await self._db.write(self._fill, marks, lists, owed)
        self.fetch_later(marks.keys() - lists.keys())

    def fetch_later(self, user_ids: Collection[str]) -> None:
        """Their server did not answer: those who asked will hear of a change when it does."""
        self._resync.add(user_ids)

    def _fill(
        self, tx: Transaction, marks: Mapping[str, int], lists: Mapping[str, KeptList], owed: set[str]
    ) -> None:
        for user_id, new in lists.items():
            changed = store.replace(tx, user_id, marks[user_id], [], new)
            if changed is not None and user_id in owed:
                self._record_changed(tx, user_id, *changed)

    # fetching

    async def _fetch(self, user_id: str) -> bool:
        """Whether the list is good now, or asking again at once would be in vain."""
        state = (await self._db.read(store.states, [user_id])).get(user_id)
        if state is None or not state.stale:
            return True
        if not await self.shares_room(user_id):
            await self._db.write(store.forget, [user_id])
            return True
        fetched = await self._remote.devices(domain_of(user_id), user_id)
        return fetched is None or await self._db.write(self._replace, user_id, state.stale, fetched)

    def _replace(self, tx: Transaction, user_id: str, stale: int, fetched: FetchedList) -> bool:
        seen = [] if fetched.stream_id is None else [fetched.stream_id]
        changed = store.replace(tx, user_id, stale, seen, fetched.devices)
        if changed is None:
            return False
        self._record_changed(tx, user_id, *changed)
        return True

    def _record_changed(self, tx: Transaction, user_id: str, devices: Collection[str], keys: bool) -> None:
        self._record(tx, user_id, [*sorted(devices), *([device_lists.CROSS_SIGNING] if keys else [])])

    def _record(self, tx: Transaction, user_id: str, device_ids: Sequence[str]) -> None:
        if device_ids:
            device_lists.record(tx, user_id, device_ids, self._joined_rooms(tx, user_id))

    # who comes and goes

    def follow(self, changes: Sequence[Change]) -> None:
        """Forgets the lists of those who share no room any more. Memberships have to follow before this."""
        for change in changes:
            if isinstance(committed := change.data, Committed):
                own = [committed.membership] if committed.membership is not None else []
                self._memberships_changed([*own, *committed.changed])

    def _memberships_changed(self, rows: Sequence[Membership]) -> None:
        met: list[str] = []
        parted: list[str] = []
        for row in rows:
            joined, was_joined = row.membership == "join", row.previous == "join"
            if joined == was_joined:
                continue
            if domain_of(row.user_id) != self._server_name:
                (met if joined else parted).append(row.user_id)
            elif not joined and not self._local_members(row.room_id):
                self._soon(self._left(row.room_id, by_us=domain_of(row.sender) == self._server_name))
        if met:
            self._soon(self._met(met))
        if parted:
            self._soon(self._parted(parted))

    async def _met(self, user_ids: Sequence[str]) -> None:
        """Back in the only room they share, they may have changed their devices outside."""
        kept = await self._db.read(store.states, user_ids)
        await self._doubt([user_id for user_id in kept if await self._rooms_with(user_id, 2) < 2])

    async def _left(self, room_id: str, by_us: bool) -> None:
        await self._parted(await self._db.read(store.kept_in_room, room_id), at_once=by_us)

    async def _parted(self, user_ids: Sequence[str], at_once: bool = False) -> None:
        """`at_once`: nobody else knew of it before."""
        still: list[str] = []
        gone: list[str] = []
        for user_id in await self._db.read(store.states, user_ids):
            (still if await self.shares_room(user_id) else gone).append(user_id)
        if gone:
            await self._db.write(store.forget, gone)
        if not at_once:
            await self._doubt(still)

    async def _doubt(self, user_ids: Sequence[str]) -> None:
        if user_ids:
            await self._db.write(store.mark_stale, user_ids)
            self._resync.add(user_ids)

    def _soon(self, work: Any) -> None:
        done = Deferred.fromCoroutine(work)
        done.addErrback(lambda failure: log.failure("following who shares rooms failed", failure))


def _look_up(
    tx: Transaction, viewer: str, user_ids: Collection[str]
) -> tuple[dict[str, KeptList], set[str], dict[str, int]]:
    """Good lists; users whose lists are not kept yet; the marks of those that are stale."""
    shared = device_lists.sharing(tx, viewer, user_ids)
    states = store.states(tx, shared)
    good = [user_id for user_id, state in states.items() if not state.stale]
    marks = {user_id: state.stale for user_id, state in states.items() if state.stale}
    return store.lists(tx, good) if good else {}, shared - states.keys(), marks
