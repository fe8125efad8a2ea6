"""Thousands of syncs that wait on one process: what it weighs, and how soon all of them have a message."""

import asyncio
import functools
import resource
import time
from dataclasses import dataclass

import orjson

from benchmarks.load import in_parallel, percentile
from tests.processes import SHARED_SECRET, ServerProcess
from tests.wire import Wire, sync_path

MEMBERS = 400
MESSAGES = 3
PROMISED_BYTES = 512e6
PROMISED_SECONDS = 3.0
"""For 10,000 of them."""


@dataclass(frozen=True)
class Waited:
    count: int
    resident_bytes: int
    seconds: float
    """From sending until each has it, 99th percentile."""

    def line(self, name: str) -> str:
        weight, delivery = f"{self.resident_bytes / 1e6:.0f} MB", f"{self.seconds:.2f} s"
        if self.count >= 10_000:
            weight += f" (promised: 512 MB, {_kept(self.resident_bytes < PROMISED_BYTES)})"
            delivery += f" (promised: 3 s, {_kept(self.seconds < PROMISED_SECONDS)})"
        return (
            f"{name}, {self.count:,} waiting syncs: {weight} resident,"
            f" a message to all of them within {delivery} at the 99th percentile"
        )


async def waiting_syncs(server: ServerProcess, count: int, settle: float = 3.0) -> Waited:
    """`count` connections wait: 400 members of a room, each on several. All are told of a few messages."""
    allow_files(count + 500)
    members = [Wire(server.port) for _ in range(min(MEMBERS, count))]
    jobs = [functools.partial(wire.register, f"waiter{n}", SHARED_SECRET) for n, wire in enumerate(members)]
    await in_parallel(jobs, 8)
    room = await members[0].create_room(preset="public_chat")
    await in_parallel([functools.partial(wire.join, room) for wire in members[1:]], 16)
    since = (await members[-1].sync(sync_filter={"room": {"timeline": {"limit": 1}}}))["next_batch"]

    # All have had a message before: the first one after a start has the server read their unread counts.
    await members[0].send(room, "hello")
    await in_parallel([functools.partial(wire.sync, since) for wire in members], 8)
    since = (await members[-1].sync(since))["next_batch"]

    wires = [Wire(server.port, members[n % len(members)].token) for n in range(count)]
    await in_parallel([wire.connect for wire in wires], 64)
    weight, latencies = 0, []
    for number in range(MESSAGES):
        waiting = [asyncio.create_task(wire.request("GET", sync_path(since, 120_000))) for wire in wires]
        await asyncio.sleep(settle + count / 400)
        early = sum(task.done() for task in waiting)
        assert not early, f"{early} of {count} syncs did not wait"
        weight = max(weight, server.resident_bytes())
        text = f"wake up {number}"
        sent = time.perf_counter()
        await members[0].send(room, text)
        answers = await asyncio.gather(*waiting)
        latencies += [answer.at - sent for answer in answers]
        assert all(answer.status == 200 and text.encode() in answer.body for answer in answers)
        since = orjson.loads(answers[0].body)["next_batch"]
        weight = max(weight, server.resident_bytes())
    for wire in [*wires, *members]:
        wire.close()
    return Waited(count, weight, percentile(latencies, 0.99))


def allow_files(count: int) -> None:
    """Raise the soft limit of open files; children started from now on inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (count if hard == resource.RLIM_INFINITY else min(count, hard), hard)
        )


def _kept(kept: bool) -> str:
    return "kept" if kept else "MISSED"
