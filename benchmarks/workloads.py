"""The workloads: what is asked of every server, word for word the same.

A workload prepares its users and rooms once for each server, and is then run for several rounds. Each
round starts from whatever the rounds before left, as a server that has been up for a while would.
"""

import asyncio
import functools
import itertools
import time
from collections.abc import Iterator, Sequence

import orjson

from benchmarks import reading
from benchmarks.load import Sample, closed_loop, in_parallel, percentile
from benchmarks.world import LAZY, Workload, World
from tests.wire import CLIENT, Wire, sync_path

MANY_ROOMS = 500
SLIDING_SYNC = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"


# Messages


async def prepare_rooms(world: World) -> None:
    await world.need_senders()
    if not world.rooms:
        world.rooms = [await wire.create_room(preset="private_chat") for wire in world.senders]


async def send_to_rooms(world: World, seconds: float) -> Sample:
    pairs = zip(world.senders, world.rooms, strict=True)
    return await closed_loop([functools.partial(wire.send, room, "hello") for wire, room in pairs], seconds)


async def send_to_common_room(world: World, seconds: float) -> Sample:
    workers = [functools.partial(wire.send, world.common_room, "hello") for wire in world.senders]
    return await closed_loop(workers, seconds)


# Sync


async def prepare_sync(world: World) -> None:
    await prepare_rooms(world)
    await world.need_common_room()


async def empty_sync(world: World, seconds: float) -> Sample:
    for wire in world.senders:
        await world.catch_up(wire)

    async def sync(wire: Wire) -> None:
        answer = await wire.request("GET", sync_path(world.tokens[wire]))
        assert answer.status == 200, answer

    return await closed_loop([functools.partial(sync, wire) for wire in world.senders], seconds)


# Sliding sync

# What Element X asks for when it starts, and as it goes on.
ROOM_LIST = orjson.dumps({
    "conn_id": "room-list",
    "lists": {
        "all_rooms": {
            "ranges": [[0, 19]],
            "timeline_limit": 1,
            "required_state": [
                ["m.room.name", ""],
                ["m.room.encryption", ""],
                ["m.room.member", "$LAZY"],
                ["m.room.member", "$ME"],
                ["m.room.topic", ""],
                ["m.room.avatar", ""],
                ["m.room.canonical_alias", ""],
                ["m.room.power_levels", ""],
                ["org.matrix.msc3401.call.member", "*"],
                ["m.room.join_rules", ""],
                ["m.room.tombstone", ""],
                ["m.room.create", ""],
                ["m.room.history_visibility", ""],
            ],
            "filters": {"not_room_types": ["m.space"]},
        }
    },
    "extensions": {
        "account_data": {"enabled": True},
        "receipts": {"enabled": True, "rooms": ["*"]},
        "typing": {"enabled": True},
    },
})  # fmt: skip


async def prepare_many_rooms(world: World) -> None:
    if world.busy:
        return
    [busy] = await world.accounts("busy", 1)
    world.busy = [busy, *(Wire(busy.port, busy.token) for _ in range(7))]

    async def create(wire: Wire, numbers: range) -> None:
        for number in numbers:
            await wire.create_room(preset="private_chat", name=f"Room {number}")

    shares = [range(first, MANY_ROOMS, 8) for first in range(8)]
    pairs = zip(world.busy, shares, strict=True)
    await in_parallel([functools.partial(create, wire, numbers) for wire, numbers in pairs], 8)


async def sliding_sync(wire: Wire, pos: str = "") -> str:
    path = f"{SLIDING_SYNC}?timeout=0" + (f"&pos={pos}" if pos else "")
    answer = await wire.request("POST", path, ROOM_LIST)
    assert answer.status == 200, answer
    body = orjson.loads(answer.body)
    assert pos or (body["lists"]["all_rooms"]["count"], len(body["rooms"])) == (MANY_ROOMS, 20)
    position: str = body["pos"]
    return position


async def first_sliding_sync(world: World, seconds: float) -> Sample:
    return await closed_loop([functools.partial(sliding_sync, world.busy[0])], seconds)


async def empty_sliding_sync(world: World, seconds: float) -> Sample:
    position = await sliding_sync(world.busy[0])

    async def again() -> None:
        nonlocal position
        position = await sliding_sync(world.busy[0], position)

    await again()
    return await closed_loop([again], seconds)


# Joins and rooms


async def joins(world: World, _seconds: float) -> Sample:
    """One burst: the whole crowd into a new room, 16 at a time."""
    room = await world.senders[0].create_room(preset="public_chat")
    started = time.perf_counter()
    latencies = await in_parallel([functools.partial(wire.join, room) for wire in world.crowd], 16)
    elapsed = time.perf_counter() - started
    world.crowded_room = world.crowded_room or room
    return Sample(len(latencies) / elapsed, latencies, len(latencies))


async def create_rooms(world: World, seconds: float) -> Sample:
    workers = [
        functools.partial(wire.create_room, preset="private_chat", name="A room", topic="Whatever")
        for wire in world.senders[:16]
    ]
    return await closed_loop(workers, seconds)


# Delivery


async def prepare_crowded_room(world: World) -> None:
    await world.need_crowd()
    if not world.crowded_room:
        await joins(world, 0)
    await in_parallel([functools.partial(world.catch_up, wire) for wire in world.crowd], 8)


async def delivery(world: World, seconds: float) -> Sample:
    """A message to a crowd whose syncs all wait: seconds from sending until each member has it.

    As many messages as fit into the time, three at least; the value is the 99th percentile over all.
    """
    latencies: list[float] = []
    started = time.perf_counter()
    await in_parallel([functools.partial(world.catch_up, wire) for wire in world.crowd], 8)
    count = 0
    while count < 3 or time.perf_counter() - started < seconds:
        count += 1
        text = f"news {count} {started}"
        listeners = [asyncio.create_task(_hear(world, wire, text)) for wire in world.crowd]
        await asyncio.sleep(0.5 + len(listeners) / 200)  # until they wait, for the slowest server too
        sent = time.perf_counter()
        await world.senders[0].send(world.crowded_room, text)
        latencies += [at - sent for at in await asyncio.gather(*listeners)]
    return Sample(percentile(latencies, 0.99), latencies, len(latencies))


async def _hear(world: World, wire: Wire, text: str) -> float:
    """Sync until the text arrives; when it did."""
    while True:
        answer = await wire.request("GET", sync_path(world.tokens[wire], 60_000, LAZY))
        assert answer.status == 200, answer
        world.tokens[wire] = orjson.loads(answer.body)["next_batch"]
        if text.encode() in answer.body:
            return answer.at


# Encryption

DEVICES = 200
AT_ONCE = 20
KEYS_EACH = 50
MESSAGES_EACH = 50
CURVE = "signed_curve25519"

Job = tuple[Wire, str, str, bytes]
"""A request: who sends it, method, path, body; put together beforehand."""


async def prepare_devices(world: World) -> None:
    """Everybody of the crowd, up to 200, has a device with keys."""
    await world.need_crowd()
    await in_parallel([functools.partial(_upload_identity, wire) for wire in world.crowd[:DEVICES]], 8)


async def query_keys(world: World, seconds: float) -> Sample:
    """The keys of everybody, as before the first message into a large room."""
    body = orjson.dumps({"device_keys": {wire.user_id: [] for wire in world.crowd[:DEVICES]}})

    async def query(turn: Iterator[Wire]) -> None:
        answer = await next(turn).request("POST", f"{CLIENT}/keys/query", body)
        assert answer.status == 200, answer

    # Four at a time, each by another user, as no user may ask so often.
    turns = [itertools.cycle(world.senders[first::4]) for first in range(4)]
    return await closed_loop([functools.partial(query, turn) for turn in turns], seconds)


async def upload_one_time_keys(world: World) -> None:
    await in_parallel([functools.partial(_upload_one_time, wire) for wire in world.crowd[:DEVICES]], 8)


async def claim_keys(world: World, _seconds: float) -> Sample:
    """One burst: the new one-time keys of everybody, claimed by 8 at once, 20 devices in a request."""
    owners = world.crowd[:DEVICES]
    wanted = [
        {wire.user_id: {wire.device_id: CURVE} for wire in owners[start : start + AT_ONCE]}
        for _ in range(KEYS_EACH)
        for start in range(0, len(owners), AT_ONCE)
    ]
    jobs: list[Job] = [
        (world.senders[number % 8], "POST", f"{CLIENT}/keys/claim", orjson.dumps({"one_time_keys": each}))
        for number, each in enumerate(wanted)
    ]
    started = time.perf_counter()
    latencies = await _send_all(jobs)
    return Sample(KEYS_EACH * len(owners) / (time.perf_counter() - started), latencies, len(jobs))


async def catch_up_devices(world: World) -> None:
    await in_parallel([functools.partial(world.catch_up, wire) for wire in world.crowd[:DEVICES]], 8)


async def to_device(world: World, _seconds: float) -> Sample:
    """One burst: 50 messages to each of 200 devices, 20 in a request, and syncs until all have them."""
    owners = world.crowd[:DEVICES]
    content = {"algorithm": "m.olm.v1.curve25519-aes-sha2", "ciphertext": {"key": "x" * 800}}
    jobs: list[Job] = []
    for number in range(MESSAGES_EACH):
        for start in range(0, len(owners), AT_ONCE):
            some = owners[start : start + AT_ONCE]
            messages = {wire.user_id: {wire.device_id: content} for wire in some}
            sender = world.senders[number % 8]
            path = f"{CLIENT}/sendToDevice/m.room.encrypted/{sender.transaction()}"
            jobs.append((sender, "PUT", path, orjson.dumps({"messages": messages})))
    started = time.perf_counter()
    latencies = await _send_all(jobs)
    await in_parallel([functools.partial(_receive, world, wire) for wire in owners], 8)
    return Sample(MESSAGES_EACH * len(owners) / (time.perf_counter() - started), latencies, len(jobs))


async def _send_all(jobs: Sequence[Job]) -> list[float]:
    """Each sender's jobs one after another, as a connection carries one request at a time: the latencies."""
    latencies: list[float] = []

    async def one_after_another(some: list[Job]) -> None:
        for wire, method, path, body in some:
            before = time.perf_counter()
            answer = await wire.request(method, path, body)
            assert answer.status == 200, answer
            latencies.append(answer.at - before)

    by_sender: dict[Wire, list[Job]] = {}
    for job in jobs:
        by_sender.setdefault(job[0], []).append(job)
    await asyncio.gather(*map(one_after_another, by_sender.values()))
    return latencies


async def _receive(world: World, wire: Wire) -> None:
    got = 0
    while got < MESSAGES_EACH:
        answer = await wire.sync(world.tokens[wire], sync_filter=LAZY)
        world.tokens[wire] = answer["next_batch"]
        events = answer.get("to_device", {}).get("events", ())
        if not events:  # of the bare web server; a homeserver has them all by now
            assert world.server.name not in ("hearth", "synapse"), f"{got} of {MESSAGES_EACH} messages"
            return
        got += len(events)
    await world.catch_up(wire)  # which acknowledges them


async def _upload_identity(wire: Wire) -> None:
    key_id = f"ed25519:{wire.device_id}"
    keys = {
        "user_id": wire.user_id,
        "device_id": wire.device_id,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
        "keys": {f"curve25519:{wire.device_id}": "c" * 43, key_id: "e" * 43},
        "signatures": {wire.user_id: {key_id: "s" * 86}},
    }
    await wire.call("POST", f"{CLIENT}/keys/upload", {"device_keys": keys})


async def _upload_one_time(wire: Wire) -> None:
    keys = {
        f"{CURVE}:{wire.transaction()}": {
            "key": "k" * 43,
            "signatures": {wire.user_id: {f"ed25519:{wire.device_id}": "s" * 86}},
        }
        for _ in range(KEYS_EACH)
    }
    await wire.call("POST", f"{CLIENT}/keys/upload", {"one_time_keys": keys})


WORKLOADS = [
    Workload("rooms", "messages into 32 rooms", "/s", prepare_rooms, send_to_rooms, 30),
    Workload("room", "messages into one room", "/s", World.need_common_room, send_to_common_room, 25),
    Workload("sync", "empty incremental syncs", "/s", prepare_sync, empty_sync, 5),
    *reading.WORKLOADS,
    Workload(
        "sliding",
        "sliding sync, first of 500 rooms",
        "/s",
        prepare_many_rooms,
        first_sliding_sync,
        10,
        bare=False,
    ),
    Workload(
        "sliding-empty", "sliding sync, empty", "/s", prepare_many_rooms, empty_sliding_sync, 5, bare=False
    ),
    Workload("create", "rooms created", "/s", World.need_senders, create_rooms, 15),
    Workload("joins", "joins into one room", "/s", World.need_crowd, joins, 25, warm_up=False),
    Workload("query", "keys of 200 users queried", "/s", prepare_devices, query_keys, 10),
    Workload(
        "claim",
        "one-time keys claimed",
        "/s",
        prepare_devices,
        claim_keys,
        10,
        before_round=upload_one_time_keys,
        warm_up=False,
    ),
    Workload(
        "to-device",
        "to-device messages",
        "/s",
        prepare_devices,
        to_device,
        15,
        before_round=catch_up_devices,
        warm_up=False,
    ),
    Workload(
        "delivery", "delivery, 99th percentile", " s", prepare_crowded_room, delivery, 20, True, warm_up=False
    ),
]
