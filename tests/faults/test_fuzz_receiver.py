"""Whatever is sent as an event, the receiver has an answer, and the rooms of those who live here stay whole.

https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu

HEARTH_FUZZ_CASES=100000 is the full run (some minutes: pytest -o faulthandler_timeout=7200), HEARTH_FUZZ_SEED
repeats one.
"""

import os
import random
import time
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred

from homeserver.protocol import canonical_json
from homeserver.protocol.canonical_json import NotCanonical
from homeserver.protocol.events import Event, InvalidEvent
from homeserver.protocol.room_versions import ROOM_VERSIONS
from tests.faults.in_process import InProcess
from tests.faults.mutations import Mutator
from tests.federation.synthetic_room import SyntheticRoom

CASES = int(os.environ.get("HEARTH_FUZZ_CASES", "600"))
SEED = int(os.environ.get("HEARTH_FUZZ_SEED", str(random.randrange(2**32))))
A_TRANSACTION = 25
TAMED_SIZE = 400


class FuzzReceiver(InProcess):
    def test_mutated_events(self) -> Any:
        return Deferred.fromCoroutine(self.fuzz(CASES, SEED))

    async def fuzz(self, cases: int, seed: int) -> None:
        print(f"HEARTH_FUZZ_SEED={seed}")
        mutator = Mutator(self.remote, seed)
        self.alice = await self.register("alice")
        rooms = {version: await self.new_room(version, 0) for version in ROOM_VERSIONS}
        done = 0
        while done < cases:
            for version in ROOM_VERSIONS:
                if len(rooms[version].events) > TAMED_SIZE:
                    rooms[version] = await self.new_room(version, done)
                room = rooms[version]
                await self.transact(f"t{done}", mutator, room)
                done += A_TRANSACTION
                if not await self.check(room, f"c{done}"):
                    rooms[version] = await self.new_room(version, done)

    async def new_room(self, version: str, number: int) -> SyntheticRoom:
        room = self.remote.make_room(version, f"v{version}x{number}", members=4)
        await self.ask(
            self.alice, "POST", f"/join/{quote(room.room_id, safe='')}", {}, via=self.remote.name
        )
        if len(self.remote.rooms) > 30:
            self.remote.rooms.pop(next(iter(self.remote.rooms)))
        return room

    async def transact(self, txn: str, mutator: Mutator, room: SyntheticRoom) -> None:
        people = [f"@member{number}:{self.remote.name}" for number in range(4)]
        pdus: list[Any] = []
        for _ in range(A_TRANSACTION):
            mutant = mutator.mutate(room, mutator.valid(room, people))
            pdus.append(mutant)
            # Those that are events are known at the remote, as a server knows what it sent.
            try:
                event = Event.parse(mutant, room.version)
                event.json.decode()
            except (InvalidEvent, TypeError, KeyError, AttributeError):
                continue
            if event.room_id == room.room_id and event.event_id not in room.events:
                room.events[event.event_id] = event
                room.state_after[event.event_id] = room.state
        body = {"origin": self.remote.name, "origin_server_ts": int(time.time() * 1000), "pdus": pdus}
        try:
            content = canonical_json.encode_lax(body)
        except NotCanonical:
            await self.transact(txn, mutator, room)
            return
        status, answer = await self.transaction(txn, content)
        assert status == 200, (status, answer)
        assert set(answer) == {"pdus"}, answer
        assert all(set(result) <= {"error"} for result in answer["pdus"].values()), answer

    async def check(self, room: SyntheticRoom, txn: str) -> bool:
        """What clients read of the room is well-formed, and a valid event has its result.

        False if a mutant has thrown us out, which is within the rules.
        """
        hello = room.say(txn)
        status, answer = await self.transaction(txn, self.remote.transaction([hello]))
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
        await self.ask(self.alice, "GET", "/sync", timeout=0)
        return True
