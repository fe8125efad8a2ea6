"""The figures, as a table for people and as plain data for programs."""

import math
import statistics
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol

from benchmarks.load import Cpu, Sample, percentile
from benchmarks.waiting import Waited


class Measured(Hashable, Protocol):
    """What a line of the table is about. `target`: how many times better than Synapse we promise to be."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def target(self) -> float: ...
    @property
    def less_is_better(self) -> bool: ...


Samples = dict[Measured, dict[str, list[Sample]]]


def median(samples: Sequence[Sample]) -> float:
    return statistics.median(sample.value for sample in samples) if samples else math.nan


def ratio(workload: Measured, ours: float, theirs: float) -> float:
    """How many times better; NaN if either was not measured."""
    return theirs / ours if workload.less_is_better else ours / theirs


def speed_lines(samples: Samples, servers: Sequence[str]) -> list[str]:
    rows = [["", *servers, "ratio", "promised"]]
    for workload, by_server in samples.items():
        medians = {name: median(by_server[name]) for name in servers}
        better = ratio(workload, medians.get("hearth", math.nan), medians.get("synapse", math.nan))
        row = [workload.title, *(figure(medians[name], workload.unit) for name in servers)]
        kept = "" if math.isnan(better) else (" kept" if better >= workload.target else " MISSED")
        row += ["-" if math.isnan(better) else f"{better:.1f} ×", f"{workload.target:g} ×{kept}"]
        rows.append(row)
    rows.append([])
    rows.append(["p50 / p99 latency; CPU per operation:", *servers])
    rows.append(["server + PostgreSQL + load generator"])
    for workload, by_server in samples.items():
        rows.append([workload.title, *(details(by_server[name]) for name in servers)])
    return aligned(rows)


def details(samples: Sequence[Sample]) -> str:
    latencies = [latency for sample in samples for latency in sample.latencies]
    cpu = sum((sample.cpu for sample in samples), Cpu())
    each = 1000 / (sum(sample.operations for sample in samples) or 1)
    p50, p99 = (1000 * percentile(latencies, share) for share in (0.5, 0.99))
    spent = f"{each * cpu.server:.2f} + {each * cpu.database:.2f} + {each * cpu.load:.2f} ms"
    return f"{p50:.1f} / {p99:.1f} ms, {spent}"


def figure(value: float, unit: str) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:,.{0 if value >= 100 else 1 if value >= 1 else 3}f}{unit}"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    columns = max(len(row) for row in rows)
    widths = [max((len(row[n]) for row in rows if len(row) > n), default=0) for n in range(columns)]
    lines = []
    for row in rows:
        cells = [cell.ljust(widths[n]) if n == 0 else cell.rjust(widths[n]) for n, cell in enumerate(row)]
        lines.append("  ".join(cells).rstrip())
    return lines


def results(samples: Samples, waited: Mapping[str, Waited]) -> dict[str, Any]:
    """For a file: every round's value, and the medians."""
    speed = {
        workload.name: {
            name: {"median": median(rounds), "rounds": [sample.value for sample in rounds]}
            for name, rounds in by_server.items()
        }
        for workload, by_server in samples.items()
    }
    waiting = {name: {"bytes": each.resident_bytes, "p99": each.seconds} for name, each in waited.items()}
    return {"workloads": speed, "waiting": waiting}
