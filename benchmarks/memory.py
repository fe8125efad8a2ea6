"""How much a server weighs while thousands of syncs wait on it."""

import asyncio
import functools
import resource

from benchmarks.load import in_parallel
from tests.processes import SHARED_SECRET, ServerProcess
from tests.wire import Wire, sync_path

MEMBERS = 400


async def waiting_syncs(server: ServerProcess, count: int, settle: float = 3.0) -> int:
    """Resident bytes of the server while `count` connections wait: 400 members of a room, each on several."""
    allow_files(count + 500)
    members = [Wire(server.port) for _ in range(min(MEMBERS, count))]
    jobs = [functools.partial(wire.register, f"waiter{n}", SHARED_SECRET) for n, wire in enumerate(members)]
    await in_parallel(jobs, 8)
    room = await members[0].create_room(preset="public_chat")
    await in_parallel([functools.partial(wire.join, room) for wire in members[1:]], 16)
    since = (await members[-1].sync(sync_filter={"room": {"timeline": {"limit": 1}}}))["next_batch"]

    wires = [Wire(server.port, members[n % len(members)].token) for n in range(count)]
    await in_parallel([wire.connect for wire in wires], 64)
    waiting = [asyncio.create_task(wire.request("GET", sync_path(since, 120_000))) for wire in wires]
    await asyncio.sleep(settle + count / 400)
    early = sum(task.done() for task in waiting)
    weight = server.resident_bytes()
    text = "wake up"
    await members[0].send(room, text)
    answers = await asyncio.gather(*waiting)
    for wire in [*wires, *members]:
        wire.close()
    assert not early, f"{early} of {count} syncs did not wait"
    assert all(answer.status == 200 and text.encode() in answer.body for answer in answers)
    return max(weight, server.resident_bytes())


def allow_files(count: int) -> None:
    """Raise the soft limit of open files; children started from now on inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (count if hard == resource.RLIM_INFINITY else min(count, hard), hard)
        )
