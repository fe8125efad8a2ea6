"""A server that sends: rooms whose other servers a test moves in and out, and remote servers that take it.

Rooms stand in the database as the real ones do; only who builds their events is missing.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred

from federation.sender import Sender
from homeserver.protocol.canonical_json import encode_lax
from homeserver.protocol.events import Event
from homeserver.protocol.ids import server_of
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.rooms.head import BEFORE_CREATION, Committed, Head
from homeserver.sync.presence import PresenceState
from storage import events, graph, memberships
from storage.database import Change
from storage.events import StoredEvent
from storage.memberships import Membership
from tests.federation.case import FederationCase, Here
from tests.federation.remote import Asked, Remote, answer, the_reactor

ALICE = "@alice:here.test"
V10 = ROOM_VERSIONS["10"]
SEND = "/_matrix/federation/v1/send/"


class Inbox:
    """A remote server that keeps what it is sent. `refuse(transaction)` gives an error status, or None."""

    def __init__(self, case: FederationCase, origin: str = "here.test") -> None:
        self.origin = origin
        self.transactions: list[dict[str, Any]] = []
        self.txn_ids: list[str] = []
        self.refuse: Callable[[dict[str, Any]], int | None] = lambda transaction: None
        self.away = False
        self.tried = 0
        self.sizes: list[int] = []
        self.remote: Remote = case.make_remote(self._take)
        self.name = self.remote.name

    def _take(self, asked: Asked) -> bytes:
        self.tried += 1
        assert asked.method == "PUT" and asked.uri.startswith(SEND), asked
        if self.away:
            return answer({}, 503)
        transaction = asked.json
        assert transaction["origin"] == self.origin
        assert encode_lax(transaction) == asked.body  # what is signed
        assert len(transaction["pdus"]) <= 50 and len(transaction["edus"]) <= 100
        status = self.refuse(transaction)
        if status is not None:
            return answer({"errcode": "M_UNKNOWN", "error": "No."}, status)
        self.transactions.append(transaction)
        self.txn_ids.append(asked.uri.removeprefix(SEND))
        self.sizes.append(len(asked.body))
        return answer({"pdus": {}})

    @property
    def bodies(self) -> list[str]:
        """What the messages said, in the order they came."""
        pdus = [pdu for transaction in self.transactions for pdu in transaction["pdus"]]
        return [pdu["content"]["body"] for pdu in pdus if "body" in pdu["content"]]

    def edus(self, edu_type: str) -> list[Any]:
        edus = [edu for transaction in self.transactions for edu in transaction["edus"]]
        return [edu["content"] for edu in edus if edu["edu_type"] == edu_type]


class House:
    """Rooms of the server `here`, and its sender; `restart` brings one that knows only the database."""

    def __init__(self, here: Here) -> None:
        self.here = here
        self.rooms: dict[str, tuple[int, Head]] = {}
        self.in_memory = True
        self.online: dict[str, PresenceState] = {}
        self.sender = self._new_sender()
        here.db.follow(self._follow)

    def _follow(self, changes: Sequence[Change]) -> None:
        self.sender.follow(changes)

    def _new_sender(self) -> Sender:
        here = self.here
        here.destinations.on_recovered.clear()
        return Sender(
            here.name, here.db, here.clock, here.client, here.destinations, here.whitelist,
            heads=lambda room_id: self.rooms[room_id][1] if self.in_memory else None,
            joined_rooms=self._joined_rooms,
            local_members=lambda room_id: [ALICE],
            presence_of=self.online.get,
        )  # fmt: skip

    async def _joined_rooms(self, user_id: str) -> Collection[str]:
        return list(self.rooms)

    async def restart(self, *, crash: bool = False) -> None:
        if crash:
            timers: Any = self.here.clock.reactor.getDelayedCalls()
            for timer in timers:
                timer.cancel()
            self.sender._stopped = True
            for queue in list(self.sender._queues.values()):
                queue.stopped = True
                if queue._running is not None:
                    queue._running.cancel()
        else:
            await self.sender.stop()
        self.sender = self._new_sender()
        await self.sender.start()

    async def room(self, *servers: str) -> str:
        """A room of Alice in which these other servers are."""
        nid = self.here.db.ids.room()
        room_id = f"!{nid}:here.test"
        self.rooms[room_id] = nid, BEFORE_CREATION

        def put(tx: Any) -> None:
            columns = ("nid", "room_id", "version", "snapshot", "depth", "position", "extremities")
            tx.insert("room", columns, [(nid, room_id, "10", None, 1, 1, b"[]")])

        await self.here.db.write(put)
        await self.member(room_id, ALICE)
        for server in servers:
            await self.member(room_id, f"@zoe:{server}")
        return room_id

    async def member(self, room_id: str, user_id: str, membership: str = "join", sender: str = "") -> None:
        head = self.rooms[room_id][1]
        before = "join" if membership != "join" else "leave"
        row = Membership(user_id, room_id, membership, before, "", user_id, 0)
        head = head.with_member(user_id, before, membership)
        await self.post(room_id, sender=sender or user_id, row=row, head=head)

    async def say(self, room_id: str, *bodies: str) -> None:
        for body in bodies:
            await self.post(room_id, body)

    async def post(
        self,
        room_id: str,
        body: str = "",
        *,
        sender: str = ALICE,
        row: Membership | None = None,
        head: Head | None = None,
        also: str | None = None,
    ) -> None:
        nid, previous = self.rooms[room_id]
        head = head or previous
        self.rooms[room_id] = nid, head
        event = Event.build(
            V10,
            room_id=room_id,
            sender=sender,
            type="m.room.message" if row is None else "m.room.member",
            content={"body": body} if row is None else {"membership": row.membership},
            state_key=None if row is None else row.user_id,
            prev_events=[],
            auth_events=[],
            depth=1,
            origin_server_ts=self.here.db.position,
            server_name=self.here.name,
            signing_key=self.here.key,
        )
        stored = StoredEvent(event, self.here.db.ids.event(), nid, None, None, None)
        come = [server for server in head.servers if server not in previous.servers]
        gone = [server for server in previous.servers if server not in head.servers]
        shared = len(head.servers) + len(previous.servers) > 2
        outgoing = shared and (server_of(sender) == self.here.name or row is not None)
        committed = Committed(
            stored, head, row, previous_servers=previous.servers, outgoing=outgoing, also=also
        )

        def put(tx: Any) -> None:
            stored.position = tx.announce("event", rooms=(room_id,), data=committed)
            events.add(tx, stored)
            if outgoing or also:
                graph.add_outgoing(tx, stored.position, stored.nid, nid, also)
            if come or gone:
                others = [server for server in come if server != self.here.name]
                graph.change_servers(tx, nid, stored.position, others, gone)
            if row is not None:
                memberships.put(tx, replace(row, position=stored.position))

        await self.here.db.write(put)




class SendingCase(FederationCase):
    async def make_house(self, **options: Any) -> House:
        house = House(self.make_here(**options))
        await house.sender.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(house.sender.stop()))
        return house

    def set_in(self, module: Any, name: str, value: Any) -> None:
        """For the time of the test."""
        self.addCleanup(setattr, module, name, getattr(module, name))
        setattr(module, name, value)

    async def until(self, condition: Callable[[], Any], seconds: float = 10, step: float = 0.02) -> None:
        """Lets time pass, ours and the world's, until it is so."""
        for _ in range(int(seconds / 0.005)):
            if condition():
                return
            await self.passes(step)
        raise AssertionError("it did not come to that")

    async def passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        pause: Deferred[None] = Deferred()
        the_reactor.callLater(0.005, pause.callback, None)
        await pause

    async def rest(self, turns: int = 40) -> None:
        """Time for things that are not to happen."""
        for _ in range(turns):
            await self.passes(0.01)
