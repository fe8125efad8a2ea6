"""What was acknowledged survives `kill -9` at any moment, and nobody hears anything twice or not at all.

https://spec.matrix.org/v1.19/client-server-api/#syncing and #transaction-identifiers
"""

import asyncio
import random

import pytest

from tests.faults.witnesses import Listener, Speaker, check_room, read_whole, together
from tests.processes import SHARED_SECRET, ServerProcess
from tests.wire import Wire

ROOMS, SPEAKERS = 3, 6
TIMELINE_LIMITS = (1000, 4)  # one listener gets whole timelines, the other fills the gaps


def test_killed_under_load(homeserver: ServerProcess) -> None:
    asyncio.run(kill_again_and_again(homeserver, 2))


@pytest.mark.interop
def test_killed_under_load_fifty_times(homeserver: ServerProcess) -> None:
    asyncio.run(kill_again_and_again(homeserver, 50))


async def kill_again_and_again(server: ServerProcess, times: int) -> None:
    seed = random.randrange(1 << 32)
    print(f"random seed: {seed}")
    moments = random.Random(seed)
    rooms, speakers, listeners = await set_the_scene(server)
    reader = listeners[0].wire
    for _ in range(times):
        crowd = [witness.speak() for witness in speakers] + [witness.listen() for witness in listeners]
        load = asyncio.create_task(together(*crowd))
        await asyncio.sleep(moments.uniform(0.02, 0.8))
        assert not load.done(), load.result()
        server.kill()
        await load
        await asyncio.to_thread(server.start)
        await check_last_words(reader, speakers)
    for speaker in speakers:
        speaker.stopping = True
    await together(*(speaker.speak() for speaker in speakers))
    assert not any(speaker.pending for speaker in speakers)
    for listener in listeners:
        while await listener.hear():
            pass
    for room_id in rooms:
        backward = await read_whole(reader, room_id, "b")
        check_room(room_id, backward, await read_whole(reader, room_id, "f"), speakers, listeners)
    check_everything_was_asked(rooms, speakers, listeners)


async def set_the_scene(server: ServerProcess) -> tuple[list[str], list[Speaker], list[Listener]]:
    wires = [Wire(server.port) for _ in range(SPEAKERS + len(TIMELINE_LIMITS))]
    for number, wire in enumerate(wires):
        await wire.register(f"witness{number}", SHARED_SECRET)
    power = {"state_default": 0}
    rooms = [
        await wires[0].create_room(preset="public_chat", power_level_content_override=power)
        for _ in range(ROOMS)
    ]
    for room_id in rooms:
        for wire in wires[1:]:
            await wire.join(room_id)
    listeners = [Listener(wire, limit) for wire, limit in zip(wires[SPEAKERS:], TIMELINE_LIMITS, strict=True)]
    for listener in listeners:
        await listener.hear()
    speakers = [Speaker(f"s{n}", wire, rooms, listeners) for n, wire in enumerate(wires[:SPEAKERS])]
    return rooms, speakers, listeners


async def check_last_words(reader: Wire, speakers: list[Speaker]) -> None:
    """The last acknowledged text of everyone is there as soon as the server is."""
    for speaker in speakers:
        if speaker.said:
            text, event_id = list(speaker.said.items())[-1]
            room_id = speaker.rooms[int(text.split()[1]) % len(speaker.rooms)]
            event = await reader.event(room_id, event_id)
            assert event["content"]["body"] == text


def check_everything_was_asked(rooms: list[str], speakers: list[Speaker], listeners: list[Listener]) -> None:
    """Texts that were acknowledged are in some room; to-device messages came once, in order."""
    for listener in listeners:
        heard = {event["event_id"] for room_id in rooms for event in listener.heard[room_id]}
        for speaker in speakers:
            assert set(speaker.said.values()) <= heard
            knocks = [text for text in listener.knocks if text.split()[0] == speaker.name]
            assert knocks == speaker.knocks, f"to-device messages of {speaker.name} are lost or doubled"
    assert listeners[1].gaps, "the load was too small to cut a timeline short"
