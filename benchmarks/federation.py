"""What other servers cost: receiving events, joining their rooms, resolving forks.

The other server is the synthetic one of the tests (`tests/federation/synthetic.py`): it makes up rooms of any
size, signs every event and answers the specification's operations, so both servers under test have the same
to fetch, to check and to store. It shares the machine with them, which favours the slower one.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from benchmarks.load import Sample
from benchmarks.table import Samples
from tests.federation.authority import Authority
from tests.federation.processes import federate
from tests.federation.synthetic import Synthetic
from tests.federation.synthetic_room import SyntheticRoom
from tests.processes import Hearth, ServerProcess, Synapse

LONGEST = 600.0
PASSWORD = "correct horse battery staple"


@dataclass(frozen=True)
class Feat:
    """What is measured, for the table of results. Less is better throughout."""

    name: str
    title: str
    target: float
    unit: str = " s"
    less_is_better: bool = True


RECEIVE = Feat("receive", "receiving events over federation, until the last is read", 10)
JOIN = Feat("join-answer", "joining a remote room, until the join is answered", 1)
READABLE = Feat("join-readable", "joining a remote room, until its messages are read", 10)
COMPLETE = Feat("join-complete", "joining a remote room, until all members are listed", 5)
MEMBERS = Feat("members", "the members of that room of 5,000, asked for again", 10)
RESOLVE = Feat("resolve", "a fork of ten thousand state entries, until it is resolved", 10)


@dataclass(frozen=True)
class Sizes:
    members: int = 5_000
    events: int = 5_000
    entries: int = 5_000


class Guest:
    """Somebody on the server under test, who joins and reads."""

    def __init__(self, server: ServerProcess, name: str, remote: Synthetic) -> None:
        self._name = name
        self._remote = remote
        self._http = httpx.Client(base_url=server.url, timeout=LONGEST)
        account = {"username": "guest", "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
        made = self._http.post("/_matrix/client/v3/register", json=account)
        self._http.headers["Authorization"] = f"Bearer {made.json()['access_token']}"

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, **query: Any) -> Mapping[str, Any]:
        answer = self._http.get(f"/_matrix/client/v3{path}", params=query)
        answer.raise_for_status()
        found: Mapping[str, Any] = answer.json()
        return found

    def join(self, room: SyntheticRoom) -> None:
        query = {"server_name": self._remote.name, "via": self._remote.name}
        self._http.post(f"/_matrix/client/v3/join/{quote(room.room_id)}", params=query).raise_for_status()

    def newest(self, room: SyntheticRoom, limit: int = 1) -> list[str]:
        page = self.get(f"/rooms/{quote(room.room_id)}/messages", dir="b", limit=limit)
        return [event["event_id"] for event in page["chunk"]]

    def members(self, room: SyntheticRoom) -> int:
        return len(self.get(f"/rooms/{quote(room.room_id)}/joined_members")["joined"])

    def ask_for_members(self, room: SyntheticRoom) -> float:
        """The median of five requests for all the member events, in seconds."""
        times = []
        for _ in range(5):
            started = time.perf_counter()
            self._http.get(f"/_matrix/client/v3/rooms/{quote(room.room_id)}/members").raise_for_status()
            times.append(time.perf_counter() - started)
        return statistics.median(times)

    def wait(self, seen: Callable[[], bool], started: float) -> float:
        """Seconds since `started` when it was first seen."""
        while not seen():
            if time.perf_counter() - started > LONGEST:
                raise TimeoutError
            time.sleep(0.02)
        return time.perf_counter() - started

    def receive(self, room: SyntheticRoom, events: Sequence[Any]) -> float:
        """Sends them to the server under test, until the guest reads the last."""
        started = time.perf_counter()
        self._remote.send(self._name, events)
        last = events[-1].event_id
        return self.wait(lambda: last in self.newest(room), started)


@dataclass
class Rounds:
    """One server's figures."""

    found: dict[Feat, list[float]] = field(default_factory=dict)

    def note(self, feat: Feat, seconds: float) -> None:
        self.found.setdefault(feat, []).append(seconds)


def one_round(guest: Guest, remote: Synthetic, sizes: Sizes, rounds: Rounds) -> None:
    room = remote.make_room("10", members=sizes.members)
    room.chat(20)
    started = time.perf_counter()
    guest.join(room)
    rounds.note(JOIN, time.perf_counter() - started)
    wanted = list(room.events)[-10]
    rounds.note(READABLE, guest.wait(lambda: wanted in guest.newest(room, 20), started))
    everybody = len(room.joined())
    rounds.note(COMPLETE, guest.wait(lambda: guest.members(room) == everybody, started))
    rounds.note(MEMBERS, guest.ask_for_members(room))
    rounds.note(RECEIVE, guest.receive(room, room.chat(sizes.events)))


def fork(guest: Guest, remote: Synthetic, sizes: Sizes, rounds: Rounds) -> None:
    """Half of the state's entries differ between the branches, of which the guest's server knows one."""
    room = remote.make_room("10", members=2)
    for number in range(sizes.entries):
        room.send("org.example.entry", {"number": number}, f"common{number}")
    root = list(room.extremities)
    room.fork(1, sizes.entries)
    guest.join(room)
    guest.wait(lambda: guest.members(room) == len(room.joined()), time.perf_counter())
    here = list(room.extremities)
    room.extremities = root
    room.fork(1, sizes.entries)
    there = room.say("on the other branch")
    room.extremities = [*here, there.event_id]
    rounds.note(RESOLVE, guest.receive(room, [there]))


def measure(
    directory: Path, database: Callable[[], Mapping[str, Any]], names: Sequence[str], rounds: int, quick: bool
) -> Samples:
    """The figures of all rounds, in the shape of the other workloads'."""
    sizes = Sizes(500, 500, 300) if quick else Sizes()
    authority = Authority(directory)
    samples: Samples = {}
    for name in names:
        kind = Hearth if name == "hearth" else Synapse
        server: ServerProcess = kind(directory / name, {"name": "psycopg2", "args": database()})
        server_name = federate(server, authority)
        figures = Rounds()
        with Synthetic(authority) as remote, server:
            guest = Guest(server, server_name, remote)
            for number in range(rounds):
                one_round(guest, remote, sizes, figures)
                print(f"federation, round {number + 1}: {name}", flush=True)
            fork(guest, remote, sizes, figures)
            guest.close()
        for feat, seconds in figures.found.items():
            of_feat = samples.setdefault(feat, defaultdict(list))
            of_feat[name] = [Sample(value, [value], 1) for value in seconds]
    return samples
