"""Reading: first syncs, syncs with one new event, pages of history, the list of public rooms."""

import asyncio
import functools
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import orjson
import psycopg2
from psycopg2.extras import execute_values

from benchmarks.load import Sample, closed_loop, in_parallel
from benchmarks.world import LAZY, Workload, World
from tests.wire import CLIENT, Wire, room_path, sync_path

SETTLED_ROOMS = 200
SAID_IN_EACH = 10
FILTER = {"room": {"timeline": {"limit": 20}, "state": {"lazy_load_members": True}}}
"""As Element's."""
PAGE = 100
PAGES = 5
PUBLIC_ROOMS = 5_000
TEXT = "Somebody said something here, about as long as such things are, and nobody minded much. "


# Sync


async def prepare_settled(world: World) -> None:
    """Somebody in 200 rooms, each with a name and some talk."""
    if world.settled:
        return
    [settled] = await world.accounts("settled", 1)
    world.settled = [settled, *(Wire(settled.port, settled.token) for _ in range(7))]

    async def settle(wire: Wire, numbers: range) -> None:
        for number in numbers:
            room = await wire.create_room(preset="private_chat", name=f"Room {number}")
            for _ in range(SAID_IN_EACH):
                await wire.send(room, TEXT)

    shares = [range(first, SETTLED_ROOMS, 8) for first in range(8)]
    pairs = zip(world.settled, shares, strict=True)
    await in_parallel([functools.partial(settle, wire, numbers) for wire, numbers in pairs], 8)


async def initial_sync(world: World, seconds: float) -> Sample:
    """Four at once. Each asks for another timeout, which means nothing here: Synapse keeps its answers."""
    different = itertools.count(time.time_ns() // 1_000_000 % 1_000_000_000)

    async def sync(wire: Wire) -> None:
        answer = await wire.request("GET", sync_path("", next(different), FILTER))
        assert answer.status == 200, answer
        assert answer.body.count(b'"prev_batch"') == SETTLED_ROOMS, "not all the rooms"

    started = time.perf_counter()
    latencies: list[float] = []
    while not latencies or time.perf_counter() - started < seconds:
        latencies += await in_parallel([functools.partial(sync, wire) for wire in world.settled[:4]], 4)
    return Sample(len(latencies) / (time.perf_counter() - started), latencies, len(latencies))


async def prepare_news(world: World) -> None:
    await world.need_common_room()
    await in_parallel([functools.partial(world.catch_up, wire) for wire in world.senders], 8)


async def sync_with_news(world: World, seconds: float) -> Sample:
    """A message, then the syncs of the 32 who are in its room; the time is that of the syncs."""
    latencies: list[float] = []
    elapsed = 0.0
    while elapsed < seconds:
        text = f"news {time.time_ns()}"
        await world.senders[0].send(world.common_room, text)
        started = time.perf_counter()
        syncs = [functools.partial(_hear, world, wire, text) for wire in world.senders]
        latencies += await in_parallel(syncs, len(syncs))
        elapsed += time.perf_counter() - started
    return Sample(len(latencies) / elapsed, latencies, len(latencies))


async def _hear(world: World, wire: Wire, text: str) -> None:
    answer = await wire.request("GET", sync_path(world.tokens[wire], 0, LAZY))
    assert answer.status == 200 and text.encode() in answer.body, answer
    world.tokens[wire] = orjson.loads(answer.body)["next_batch"]


# History


async def prepare_history(world: World) -> None:
    """Messages of all the senders in one room, and where its newest pages begin."""
    await world.need_common_room()
    if "messages" in world.paths:
        return

    async def talk(wire: Wire) -> None:
        for _ in range(-(-PAGE * (PAGES + 1) // len(world.senders))):
            await wire.send(world.common_room, TEXT)

    await asyncio.gather(*(talk(wire) for wire in world.senders))
    base = f"{room_path(world.common_room)}/messages?dir=b&limit={PAGE}"
    world.paths["messages"] = paths = [base]
    while len(paths) < PAGES:
        page = await world.senders[0].call("GET", paths[-1])
        assert len(page["chunk"]) == PAGE
        paths.append(f"{base}&from={quote(page['end'])}")


async def read_history(world: World, seconds: float) -> Sample:
    return await _ask_in_turn(world, "messages", seconds)


# Public rooms


async def prepare_public_rooms(world: World) -> None:
    """Of Synapse, which would take a quarter of an hour to create them, they are just what it lists from."""
    await world.need_senders()
    if "public" in world.paths:
        return
    if world.server.name == "synapse":
        _insert_public_rooms(world.server.configuration["database"]["args"])
    else:
        shares = [range(first, PUBLIC_ROOMS, 16) for first in range(16)]
        pairs = zip(world.senders[:16], shares, strict=True)
        await in_parallel([functools.partial(_publish, wire, numbers) for wire, numbers in pairs], 16)
    base = f"{CLIENT}/publicRooms?limit={PAGE}"
    world.paths["public"] = paths = [base]
    seen = 0
    while True:
        page = await world.senders[0].call("GET", paths[-1])
        seen += len(page["chunk"])
        if "next_batch" not in page:
            break
        paths.append(f"{base}&since={quote(page['next_batch'])}")
    assert seen >= PUBLIC_ROOMS, f"{seen} rooms are listed"


def _described(number: int) -> dict[str, str]:
    return {"name": f"Public room {number}", "topic": f"Number {number}. {TEXT}"}


async def _publish(wire: Wire, numbers: range) -> None:
    for number in numbers:
        await wire.create_room(preset="public_chat", visibility="public", **_described(number))


def _insert_public_rooms(arguments: dict[str, Any]) -> None:
    rooms = [(f"!public{number}:localhost", _described(number)) for number in range(PUBLIC_ROOMS)]
    with psycopg2.connect(**arguments) as connection, connection.cursor() as cursor:
        execute_values(
            cursor,
            "INSERT INTO rooms (room_id, is_public, creator, room_version) VALUES %s",
            [(room_id, True, "@sender0:localhost", "10") for room_id, _ in rooms],
        )
        execute_values(
            cursor,
            "INSERT INTO room_stats_state (room_id, name, topic, join_rules, history_visibility,"
            " guest_access, is_federatable) VALUES %s",
            [
                (room_id, told["name"], told["topic"], "public", "shared", "forbidden", True)
                for room_id, told in rooms
            ],
        )
        execute_values(
            cursor,
            "INSERT INTO room_stats_current (room_id, current_state_events, joined_members, invited_members,"
            " left_members, banned_members, local_users_in_room, completed_delta_stream_id, knocked_members)"
            " VALUES %s",
            [(room_id, 9, 1, 0, 0, 0, 1, 0, 0) for room_id, _ in rooms],
        )
        cursor.execute("ANALYZE")


async def list_public_rooms(world: World, seconds: float) -> Sample:
    return await _ask_in_turn(world, "public", seconds)


async def search_public_rooms(world: World, seconds: float) -> Sample:
    """Each for another number, which a few rooms have in their names."""
    numbers = itertools.count()

    async def search(wire: Wire) -> None:
        term = f"room {next(numbers) % 90 + 10}"
        body = orjson.dumps({"limit": PAGE, "filter": {"generic_search_term": term}})
        answer = await wire.request("POST", f"{CLIENT}/publicRooms", body)
        assert answer.status == 200 and term.encode() in answer.body, answer

    return await closed_loop([functools.partial(search, wire) for wire in world.senders[:8]], seconds)


async def _ask_in_turn(world: World, name: str, seconds: float) -> Sample:
    """8 at once, each another of the prepared paths."""
    turn = itertools.cycle(world.paths[name])

    async def ask(wire: Wire) -> None:
        answer = await wire.request("GET", next(turn))
        assert answer.status == 200, answer

    workers: list[Callable[[], Awaitable[None]]] = [
        functools.partial(ask, wire) for wire in world.senders[:8]
    ]
    return await closed_loop(workers, seconds)


WORKLOADS = [
    Workload("initial", "first syncs of 200 rooms", "/s", prepare_settled, initial_sync, 15, bare=False),
    Workload("news", "syncs with one new message", "/s", prepare_news, sync_with_news, 10, bare=False),
    Workload("messages", "pages of 100 messages", "/s", prepare_history, read_history, 10, bare=False),
    Workload(
        "public", "pages of public rooms", "/s", prepare_public_rooms, list_public_rooms, 10, bare=False
    ),
    Workload(
        "public-search",
        "searches in 5,000 public rooms",
        "/s",
        prepare_public_rooms,
        search_public_rooms,
        10,
        bare=False,
    ),
]
