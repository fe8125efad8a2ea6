"""`python -m benchmarks.search`: how long a search takes over many messages, on both engines.

The messages are made of words as common as those of a language (Zipf's law), in rooms of one user; what is
searched for runs from the commonest word to rare ones, alone, in pairs, by rank and by time, in one room and
in all. The index is filled by sending, as in life, and the time until the last message is found is told.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.servers import make_server
from tests.postgres import postgres
from tests.processes import SHARED_SECRET, ServerProcess
from tests.wire import Wire

VOCABULARY = 20_000
SENDERS = 16
RANKS = (0, 3, 10, 30, 100, 300, 1000, 3000)
"""Places in the list of words, the commonest first."""
SEARCH = "/_matrix/client/v3/search"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__.split("\n\n")[0])
    parser.add_argument("engines", nargs="*", default=["sqlite", "postgres"])
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for engine in options.engines:
        with tempfile.TemporaryDirectory(prefix="hearth-search-") as place, postgres(settings={}) as there:
            database = {}
            if engine == "postgres":
                database = {"name": "psycopg2", "args": there.create_database()}
            with make_server("hearth", Path(place), database) as hearth:
                asyncio.run(measure(engine, hearth, options.messages, options.rounds))


async def measure(engine: str, server: ServerProcess, messages: int, rounds: int) -> None:
    chance = random.Random(7)
    vocabulary = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=8)) for _ in range(VOCABULARY)]
    weights = [1 / (place + 10) for place in range(VOCABULARY)]
    wires = [Wire(server.port) for _ in range(SENDERS)]
    await wires[0].register("searcher", SHARED_SECRET)
    for wire in wires[1:]:
        wire.token, wire.user_id = wires[0].token, wires[0].user_id
    rooms = [await wire.create_room(preset="private_chat") for wire in wires]

    def text() -> str:
        return " ".join(chance.choices(vocabulary, weights, k=chance.randint(3, 25)))

    began = time.perf_counter()

    async def talk(wire: Wire, room: str) -> None:
        for _ in range(messages // SENDERS):
            await wire.send(room, text())

    await asyncio.gather(*(talk(wire, room) for wire, room in zip(wires, rooms, strict=True)))
    sent = time.perf_counter()
    await wires[0].send(rooms[0], "lastofall")
    while not (await find(wires[0], "lastofall"))["results"]:
        await asyncio.sleep(0.1)
    found = time.perf_counter()
    print(f"{engine}: {messages} messages sent in {sent - began:.0f} s, all found {found - sent:.1f} s later")
    every: list[float] = []
    for title, term, criteria in searches(vocabulary, rooms[0]):
        times = []
        for _ in range(rounds):
            await asyncio.sleep(0.11)  # as often as one user may
            started = time.perf_counter()
            answer = await find(wires[0], term, **criteria)
            times.append((time.perf_counter() - started) * 1000)
        every += times
        print(f"  {title:34} {answer['count']:6} found  median {statistics.median(times):6.1f} ms")
    every.sort()
    at = every[int(len(every) * 0.95)]
    print(f"{engine}: median {statistics.median(every):.1f} ms, 95th percentile {at:.1f} ms", flush=True)
    for wire in wires:
        wire.close()


def searches(words: list[str], room: str) -> list[tuple[str, str, dict[str, Any]]]:
    """(title, search term, criteria)"""
    here = {"filter": {"rooms": [room]}}
    context = {"event_context": {"include_profile": True}}
    found: list[tuple[str, str, dict[str, Any]]] = []
    for place in RANKS:
        found += [
            (f"word {place}", words[place], {}),
            (f"word {place}, by time, with context", words[place], {"order_by": "recent", **context}),
            (f"word {place} in one room", words[place], here),
            (f"words {place} and {place + 1}", f"{words[place]} {words[place + 1]}", {}),
        ]
    return found


async def find(wire: Wire, term: str, **criteria: Any) -> dict[str, Any]:
    body = {"search_categories": {"room_events": {"search_term": term, **criteria}}}
    answer: dict[str, Any] = await wire.call("POST", SEARCH, body)
    return answer["search_categories"]["room_events"]  # type: ignore[no-any-return]


if __name__ == "__main__":
    main()
