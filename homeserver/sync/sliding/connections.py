"""Connections: what each of them was sent, remembered compactly and across restarts.

https://github.com/matrix-org/matrix-spec-proposals/pull/4186 (Connections)

The subtle idea: a room that the connection has everything of, up to its position, is `live` and has no
position of its own. The position is in the client's token, so as long as all that is new is also sent,
nothing has to be written down, however many messages pass. A new version of the state is stored only when
a room is sent for the first time, falls behind (it had news while out of sight), or is asked for
differently. A token names the version it goes with; a repeated request finds that version again.
"""

import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import orjson
from immutables import Map
from twisted.logger import Logger

from homeserver.clock import Clock
from homeserver.errors import InvalidParam, MatrixError
from homeserver.sync.sliding.request import SlidingRequest
from homeserver.sync.sliding.required_state import Required
from storage import sliding_sync as store
from storage.database import Change, Database, Transaction

log = Logger()

LAYERS = 8
"""How many differences lead to a state before they are folded into one."""
EXPIRE_MS = 14 * 24 * 3600 * 1000
USED_MS = 24 * 3600 * 1000
SWEEP_MS = 3600 * 1000
MOST_WISHES_BYTES = 256 * 1024


class UnknownPos(MatrixError):
    errcode = "M_UNKNOWN_POS"

    def __init__(self) -> None:
        super().__init__("The connection is not known any more; please start again without pos.")


class Sent(NamedTuple):
    """What a connection has of a room: everything `upto` a position (None: live), under which wishes."""

    upto: int | None
    limit: int
    required: str
    is_dm: bool


@dataclass(frozen=True, slots=True)
class State:
    """`required`: the wishes `rooms` speak of, by name. `extensions`: those sent, and for which rooms."""

    rooms: "Map[str, Sent]"
    required: "Map[str, Required]"
    extensions: frozenset[str]

    def with_rooms(
        self, changes: dict[str, Sent], wishes: dict[str, Required], extensions: frozenset[str]
    ) -> "State":
        """The same object where nothing changes."""
        changes = {room_id: sent for room_id, sent in changes.items() if self.rooms.get(room_id) != sent}
        if not changes and extensions == self.extensions:
            return self
        rooms = self.rooms.update(changes)
        new = {sent.required: wishes[sent.required] for sent in changes.values() if sent.required in wishes}
        required = self.required.update(new)
        if len(required) > len(self.required):
            used = {sent.required for sent in rooms.values()}
            required = Map({name: each for name, each in required.items() if name in used})
            size = len(orjson.dumps([each.as_json() for each in required.values()]))
            if size > MOST_WISHES_BYTES:
                raise InvalidParam("The lists and subscriptions ask for too much different state.")
        return replace(self, rooms=rooms, required=required, extensions=extensions)

    def difference(self, before: "State") -> bytes:
        rooms = {
            room_id: tuple(sent)
            for room_id, sent in self.rooms.items()
            if before.rooms.get(room_id) is not sent
        }
        required = {
            name: each.as_json() for name, each in self.required.items() if name not in before.required
        }
        return orjson.dumps({"r": rooms, "q": required, "e": sorted(self.extensions)})

    def and_then(self, difference: bytes) -> "State":
        value: dict[str, Any] = orjson.loads(difference)
        rooms = {room_id: Sent(*sent) for room_id, sent in value["r"].items()}
        required = {name: Required.from_json(each) for name, each in value["q"].items()}
        return State(
            self.rooms.update(rooms), self.required.update(required), frozenset(value["e"])
        )


EMPTY = State(Map(), Map(), frozenset())


_Key = tuple[str, str, str]


class Connection:
    """`confirmed`: the version the client is known to have; `states` holds it and what was issued since.

    `answered`: the latest position from which it was answered. `begins_as`: it is not stored yet.
    """

    __slots__ = (
        "answered", "asked", "begins_as", "confirmed", "layers", "newest", "number",
        "settled", "states", "used_ms",
    )  # fmt: skip

    def __init__(self, number: int, states: dict[int, State], layers: int, used_ms: int) -> None:
        self.number = number
        self.states = states
        self.confirmed = max(states)
        self.newest = self.confirmed
        self.layers = layers
        self.used_ms = used_ms
        self.answered = 2**63
        self.begins_as: _Key | None = None
        # The last request and what it found settled: see `homeserver.sync.sliding.service`.
        self.asked: SlidingRequest | None = None
        self.settled: Any = None

    @property
    def weight(self) -> int:
        return max((len(state.rooms) for state in self.states.values()), default=0) + 10


class Connections:
    """`most`: how many rooms all connections in memory may speak of; beyond it they are read again."""

    def __init__(self, db: Database, clock: Clock, most: int = 1_000_000) -> None:
        self._db = db
        self._clock = clock
        self._most = most
        self._weight = 0
        self._known: OrderedDict[_Key, tuple[Connection, int]] = OrderedDict()
        self._swept_ms = 0

    async def open(self, request: SlidingRequest) -> tuple[Connection, State]:
        """The connection, and what the client has. Raises UnknownPos."""
        key = (request.user_id, request.device_id, request.conn_id)
        now = self._clock.now_ms()
        if request.pos is None:
            connection = Connection(secrets.randbits(53), {0: EMPTY}, 0, now)
            connection.begins_as = key
            self._keep(key, connection)
            return connection, EMPTY
        connection = await self._find(key, request.pos.connection)
        version = request.pos.version
        state = connection.states.get(version)
        if state is None:
            raise UnknownPos
        if version > connection.confirmed:
            connection.confirmed = version
            connection.layers += 1
        connection.states = {
            number: each for number, each in connection.states.items() if number >= version
        }
        if now - connection.used_ms > USED_MS:
            connection.used_ms = now
            await self._db.write(store.used, connection.number, now)
        self._keep(key, connection)
        return connection, state

    def save(self, connection: Connection, base: int, state: State) -> int:
        """Stores what the client will have once it has the answer; the version.

        Nobody waits for it: should the server die before, the client hears that the connection is not known.
        """
        before = connection.states.get(base)
        if before is None:
            raise UnknownPos
        version, added = base, None
        if before is not state:
            version = connection.newest = connection.newest + 1
            folded = None
            if connection.layers >= LAYERS:
                folded = before.difference(EMPTY)
                connection.layers = 1
            connection.states = {base: before, version: state}
            added = (connection.number, base, folded, version, state.difference(before))
        if connection.begins_as is not None:
            begin = (*connection.begins_as, connection.number, connection.used_ms)
            connection.begins_as = None
            self._write(_begin, begin, self._expire_before(connection.used_ms), added)
        elif added is not None:
            self._write(store.add, *added)
        return version

    def _write(self, fn: Callable[..., None], *args: Any) -> None:
        written = self._db.write(fn, *args)
        written.addErrback(lambda failure: log.failure("storing a connection failed", failure))

    @staticmethod
    def forget_devices(tx: Transaction, user_id: str, device_ids: Sequence[str]) -> None:
        """In the transaction that deletes the devices."""
        if store.forget_devices(tx, user_id, device_ids):
            tx.announce("sliding_sync", data=(user_id, frozenset(device_ids)))

    def follow(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.stream == "sliding_sync":
                user_id, device_ids = change.data
                for key in [key for key in self._known if key[0] == user_id and key[1] in device_ids]:
                    self._drop(key)

    async def _find(self, key: _Key, number: int) -> Connection:
        known = self._known.get(key)
        if known is not None:
            if known[0].number != number:
                raise UnknownPos
            return known[0]
        found = await self._db.read(store.load, *key, number)
        known = self._known.get(key)
        if known is not None and known[0].number == number:
            return known[0]  # another request was quicker
        if found is None:
            raise UnknownPos
        used_ms, differences = found
        states = {0: EMPTY}
        state = EMPTY
        for version, difference in differences:
            state = states[version] = state.and_then(difference)
        return Connection(number, states, len(differences), used_ms)

    def _keep(self, key: _Key, connection: Connection) -> None:
        self._drop(key)
        weight = connection.weight
        self._known[key] = (connection, weight)
        self._weight += weight
        while self._weight > self._most and len(self._known) > 1:
            self._drop(next(iter(self._known)))

    def _drop(self, key: _Key) -> None:
        known = self._known.pop(key, None)
        if known is not None:
            self._weight -= known[1]

    def _expire_before(self, now: int) -> int | None:
        """From which on to keep connections; None if that was looked at lately."""
        if now - self._swept_ms < SWEEP_MS:
            return None
        self._swept_ms = now
        return now - EXPIRE_MS


def _begin(
    tx: Transaction,
    begin: tuple[str, str, str, int, int],
    expire: int | None,
    added: tuple[int, int, bytes | None, int, bytes] | None,
) -> None:
    if expire is not None:
        store.expire(tx, expire)
    store.begin(tx, *begin)
    if added is not None:
        store.add(tx, *added)
