"""Closed-loop load: so many workers, each with one request in flight, for so many seconds."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Cpu:
    """Seconds of CPU time of the server's process, of PostgreSQL and of the load generator."""

    server: float = 0.0
    database: float = 0.0
    load: float = 0.0

    def __add__(self, other: "Cpu") -> "Cpu":
        return Cpu(self.server + other.server, self.database + other.database, self.load + other.load)

    def __sub__(self, other: "Cpu") -> "Cpu":
        return Cpu(self.server - other.server, self.database - other.database, self.load - other.load)


@dataclass
class Sample:
    """What one round of a workload measured. `value` is what the table compares."""

    value: float
    latencies: list[float] = field(default_factory=list)
    """Seconds, one for each operation."""
    operations: int = 0
    cpu: Cpu = field(default_factory=Cpu)
    """Spent on all operations."""


async def closed_loop(workers: Sequence[Callable[[], Awaitable[Any]]], seconds: float) -> Sample:
    """Each worker repeats its operation. The rate is of those that finish within the time; the others
    (one at most for each worker) count as operations, for they cost the server as much.
    """
    latencies: list[float] = []
    operations = 0
    started = time.perf_counter()
    end = started + seconds

    async def work(operation: Callable[[], Awaitable[Any]]) -> None:
        nonlocal operations
        now = time.perf_counter()
        while now < end:
            await operation()
            operations += 1
            before, now = now, time.perf_counter()
            if now <= end:
                latencies.append(now - before)

    await asyncio.gather(*(work(operation) for operation in workers))
    return Sample(len(latencies) / seconds, latencies, operations)


async def in_parallel(
    jobs: Sequence[Callable[[], Coroutine[Any, Any, Any]]], concurrency: int
) -> list[float]:
    """Every job once, at most `concurrency` at a time; how long each took."""
    queue = iter(jobs)
    latencies: list[float] = []

    async def work() -> None:
        for job in queue:
            before = time.perf_counter()
            await job()
            latencies.append(time.perf_counter() - before)

    await asyncio.gather(*(work() for _ in range(concurrency)))
    return latencies


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` (0 to 1) of the values do not exceed; NaN of nothing."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[min(len(ordered), math.ceil(share * len(ordered))) - 1]
