"""One server under load, with the accounts and rooms made on it, and what a workload is."""

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from benchmarks.load import Sample, in_parallel
from tests.processes import SHARED_SECRET, ServerProcess
from tests.wire import Wire

SENDERS = 32
LAZY = {"room": {"timeline": {"limit": 5}, "state": {"lazy_load_members": True}}}


@dataclass
class World:
    """One server with the accounts and rooms that the workloads made on it."""

    server: ServerProcess
    crowd_size: int = 400
    senders: list[Wire] = field(default_factory=list)
    crowd: list[Wire] = field(default_factory=list)
    rooms: list[str] = field(default_factory=list)
    common_room: str = ""
    crowded_room: str = ""
    busy: list[Wire] = field(default_factory=list)
    settled: list[Wire] = field(default_factory=list)
    paths: dict[str, list[str]] = field(default_factory=dict)
    """What the readers ask for, by workload."""
    tokens: dict[Wire, str] = field(default_factory=dict)
    """Where each one's sync stands."""

    async def accounts(self, name: str, count: int) -> list[Wire]:
        wires = [Wire(self.server.port) for _ in range(count)]
        jobs = [
            functools.partial(wire.register, f"{name}{number}", SHARED_SECRET)
            for number, wire in enumerate(wires)
        ]
        await in_parallel(jobs, 8)
        return wires

    async def need_senders(self) -> None:
        if not self.senders:
            self.senders = await self.accounts("sender", SENDERS)

    async def need_crowd(self) -> None:
        await self.need_senders()
        if not self.crowd:
            self.crowd = await self.accounts("member", self.crowd_size)

    async def need_common_room(self) -> None:
        await self.need_senders()
        if not self.common_room:
            self.common_room = await self.senders[0].create_room(preset="public_chat")
            for wire in self.senders[1:]:
                await wire.join(self.common_room)

    async def catch_up(self, wire: Wire) -> None:
        """Sync until there is no news."""
        while True:
            answer = await wire.sync(self.tokens.get(wire, ""), sync_filter=LAZY)
            self.tokens[wire] = answer["next_batch"]
            if not answer.get("rooms", {}).get("join"):
                return

    def close(self) -> None:
        for wire in [*self.senders, *self.crowd, *self.busy, *self.settled]:
            wire.close()


@dataclass(frozen=True)
class Workload:
    name: str
    title: str
    unit: str
    prepare: Callable[[World], Awaitable[None]]
    run: Callable[[World, float], Awaitable[Sample]]
    target: float
    """How many times better than Synapse we promise to be."""
    less_is_better: bool = False
    before_round: Callable[[World], Awaitable[None]] | None = None
    """What each round needs and does not measure."""
    warm_up: bool = True
    bare: bool = True
    """Whether the bare server's answers are as good as real ones."""
