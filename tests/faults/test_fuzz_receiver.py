"""Whatever is sent as an event, the receiver has an answer, and the rooms of those who live here stay whole.

https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu

Hypothesis chooses what is sent and how it is changed. A case is one event, other than all before it, that
went through the receiver; they come in transactions as from any server.

HEARTH_FUZZ_CASES=100000 is the full run (pytest -s -o faulthandler_timeout=0 shows how far it is),
HEARTH_FUZZ_SEED repeats one.
"""

import json
import os
import random
import time
from collections.abc import Coroutine
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread, deferToThread

from homeserver.protocol import canonical_json
from homeserver.protocol.canonical_json import NotCanonical
from homeserver.protocol.events import Event, InvalidEvent
from homeserver.protocol.room_versions import ROOM_VERSIONS
from tests.faults.in_process import InProcess
from tests.faults.mutations import Mutator
from tests.federation.synthetic_room import SyntheticRoom

CASES = int(os.environ.get("HEARTH_FUZZ_CASES", "600"))
SEED = int(os.environ.get("HEARTH_FUZZ_SEED", str(random.randrange(2**32))))
A_TRANSACTION = 50
TAPE = 150
TAMED_SIZE = 400
PROGRESS = 1000


class FuzzReceiver(InProcess):
    def test_mutated_events(self) -> Any:
        print(f"HEARTH_FUZZ_SEED={SEED}")
        return deferToThread(self.fuzz)

    def fuzz(self) -> None:
        """In a thread beside the reactor."""
        self.alice = self.wait(self.register("alice"))
        self.rooms: dict[str, SyntheticRoom] = {}
        self.seen: set[bytes] = set()
        self.turns = 0
        self.started = time.monotonic()
        tape = st.binary(min_size=TAPE, max_size=TAPE)

        # What a transaction does depends on those before it, so there is nothing to shrink or to try again.
        @settings(
            max_examples=2 * CASES // A_TRANSACTION, phases=[Phase.generate], database=None, deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @seed(SEED)
        @given(st.lists(tape, min_size=A_TRANSACTION, max_size=A_TRANSACTION))
        def drive(tapes: list[bytes]) -> None:
            if len(self.seen) < CASES:
                self.turn(tapes)

        drive()
        assert len(self.seen) >= CASES

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return blockingCallFromThread(reactor, Deferred.fromCoroutine, work)

    def turn(self, tapes: list[bytes]) -> None:
        """A transaction of mutants into a room of the next version, and a look at what it left."""
        version = list(ROOM_VERSIONS)[self.turns % len(ROOM_VERSIONS)]
        self.turns += 1
        room = self.rooms.get(version)
        if room is None or len(room.events) > TAMED_SIZE:
            room = self.rooms[version] = self.new_room(version)
        before = len(self.seen)
        self.transact(tapes, room)
        if len(self.seen) // PROGRESS > before // PROGRESS:
            print(f"{len(self.seen)} cases in {time.monotonic() - self.started:.0f} s", flush=True)
        if not self.wait(self.check(room)):
            del self.rooms[version]

    def new_room(self, version: str) -> SyntheticRoom:
        room = self.remote.make_room(version, f"v{version}x{self.turns}", members=4)
        path = f"/join/{quote(room.room_id, safe='')}"
        self.wait(self.ask(self.alice, "POST", path, {}, via=self.remote.name))
        if len(self.remote.rooms) > 30:
            self.remote.rooms.pop(next(iter(self.remote.rooms)))
        return room

    def transact(self, tapes: list[bytes], room: SyntheticRoom) -> None:
        people = [f"@member{number}:{self.remote.name}" for number in range(4)]
        pdus: list[bytes] = []
        for tape in tapes:
            mutator = Mutator(self.remote, tape)
            mutant = mutator.mutate(room, mutator.valid(room, people))
            try:
                pdus.append(canonical_json.encode_lax(mutant))
            except NotCanonical:
                continue  # such JSON cannot be signed by the request
            # Those that are events are known at the remote, as a server knows what it sent.
            try:
                event = Event.parse(mutant, room.version)
                event.json.decode()
            except (InvalidEvent, TypeError, KeyError, AttributeError):
                continue
            if event.room_id == room.room_id and event.event_id not in room.events:
                room.events[event.event_id] = event
                room.state_after[event.event_id] = room.state
        body = self.remote.transaction(pdus)
        status, answer = self.wait(self.transaction(f"t{self.turns}", body))
        assert status == 200, (status, answer)
        assert set(answer) == {"pdus"}, answer
        assert all(set(result) <= {"error"} for result in answer["pdus"].values()), answer
        self.seen.update(sha256(pdu).digest() for pdu in pdus)

    async def check(self, room: SyntheticRoom) -> bool:
        """What clients read of the room is well-formed, and a valid event has its result.

        False if a mutant has thrown us out, which is within the rules.
        """
        hello = room.say(f"c{self.turns}")
        status, answer = await self.transaction(f"c{self.turns}", self.remote.transaction([hello]))
        assert status == 200, answer
        assert hello.event_id in answer["pdus"], answer
        path = f"/rooms/{quote(room.room_id, safe='')}"
        joined = await self.ask(self.alice, "GET", "/joined_rooms")
        if room.room_id not in joined["joined_rooms"]:
            return False
        state = await self.ask(self.alice, "GET", f"{path}/state")
        keys = [(each["type"], each["state_key"]) for each in state]
        assert len(set(keys)) == len(keys)
        assert ("m.room.create", "") in keys and ("m.room.member", self.alice) in keys
        page = await self.ask(self.alice, "GET", f"{path}/messages", dir="b", limit=30)
        ids = [each["event_id"] for each in page["chunk"]]
        assert len(set(ids)) == len(ids)
        only = json.dumps({"room": {"rooms": [room.room_id]}})
        await self.ask(self.alice, "GET", "/sync", timeout=0, filter=only)
        return True
