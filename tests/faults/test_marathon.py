"""Every device that should read a message has read it, and messages from device to device come once.

Users with two devices and more, at two servers, speak in encrypted rooms while users join and leave, devices
come and go, and either server is stopped, killed and cut off at random. HEARTH_MARATHON_SEEDS and
HEARTH_MARATHON_MESSAGES say how often and how long.
"""

import faulthandler
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults.marathon.chaos import Chaos
from tests.faults.marathon.world import World
from tests.federation.cabled import two_places
from tests.processes import synapse_python

SEEDS = range(1, 1 + int(os.environ.get("HEARTH_MARATHON_SEEDS", "1")))
MESSAGES = int(os.environ.get("HEARTH_MARATHON_MESSAGES", "2000"))
BETWEEN = 200
"""Messages from one time of peace to the next."""


def run(directory: Path, seed: str, messages: int, between: int = BETWEEN, **options: Any) -> None:
    faulthandler.cancel_dump_traceback_later()  # pytest's: this takes as long as it takes
    began = time.monotonic()
    with two_places(directory, **options) as places:
        chaos = Chaos(places, seed)
        world = World(places, chaos, seed)
        world.settle()
        with chaos:
            quiet = 0
            while world.said < messages:
                world.step()
                if world.said - quiet >= between:
                    world.settle()
                    quiet = world.said
            world.settle()
        world.last_round()
    seconds = time.monotonic() - began
    print(f"seed {seed}: {world.said} messages, {world.readings} readings, {len(world.post.taken)} to-device"
          f" messages, {world.acts}, {len(chaos.done)} disturbances, {seconds:.0f} s")


def test_a_short_one(tmp_path: Path) -> None:
    run(tmp_path, "short", 40, 40)


@pytest.mark.interop
@pytest.mark.parametrize("seed", SEEDS)
def test_with_another_hearth(tmp_path: Path, seed: int) -> None:
    run(tmp_path, f"hearth {seed}", MESSAGES)


@pytest.mark.interop
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.skipif(not synapse_python().exists(), reason="Synapse is not installed: make peers")
def test_with_synapse(tmp_path: Path, seed: int) -> None:
    run(tmp_path, str(seed), MESSAGES, synapse=True)
