"""`python -m benchmarks`: Hearth and Synapse side by side, the same load in turns, a table with the ratio.

Both keep their data on one throw-away PostgreSQL with its default settings (fsync on), each in its own
database, and both stay up all the time; but only one is driven at any moment. Figures are medians of the
rounds. The bare Twisted server shows what an HTTP server that does nothing would reach here.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from benchmarks import federation
from benchmarks.load import Cpu
from benchmarks.servers import SERVERS, make_server, print_profile
from benchmarks.table import Samples, results, speed_lines
from benchmarks.waiting import waiting_syncs
from benchmarks.workloads import WORKLOADS
from benchmarks.world import Workload, World
from tests.postgres import PostgresServer, postgres
from tests.processes import ServerProcess, StartFailed, synapse_python

FEDERATION = "federation"
WAITING = "waiting"


def main() -> int:
    options = parse(sys.argv[1:])
    if "synapse" in options.servers and not synapse_python().exists():
        print(f"Without Synapse: {synapse_python()} is not there (`make interop` installs it).")
        options.servers.remove("synapse")
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hearth-bench-")))
        database_server = stack.enter_context(postgres(settings={}))
        servers: list[ServerProcess] = []
        for name in options.servers:
            database = {"name": "psycopg2", "args": database_server.create_database()}
            if options.sqlite and name == "hearth":
                database = {}
            server = make_server(name, directory / name, database, options.profile)
            try:
                stack.enter_context(server)
            except StartFailed as problem:
                print(problem)
                return 1
            servers.append(server)
        samples = asyncio.run(drive(servers, database_server, options))
        if options.federation:
            names = [name for name in options.servers if name != "bare"]
            databases = database_server.create_database
            there = directory / "federation"
            there.mkdir()
            samples |= federation.measure(there, databases, names, options.rounds, options.quick)
        waited = {}
        if options.waiting:
            for server in servers:
                if server.name == "hearth" or server.name == options.only:
                    waited[server.name] = asyncio.run(waiting_syncs(server, options.waiting))
    print()
    print("\n".join(speed_lines(samples, [server.name for server in servers])))
    print("\n".join(each.line(name) for name, each in waited.items()))
    if options.json:
        options.json.write_text(json.dumps(results(samples, waited), indent=2))
    if options.profile:
        print_profile(options.profile)
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    names = [*(workload.name for workload in WORKLOADS), WAITING, FEDERATION]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n\n")[0])
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"{', '.join(names)} (default: all)")
    parser.add_argument("--only", help="one server: hearth, synapse or bare")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of a round (default: 8)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each workload (default: 3)")
    parser.add_argument("--crowd", type=int, default=400, help="who joins and listens (default: 400)")
    parser.add_argument("--waiting", type=int, default=10_000, metavar="N", help="syncs that wait (10,000)")
    parser.add_argument("--quick", action="store_true", help="one round of 2 seconds, a crowd of 50")
    parser.add_argument("--sqlite", action="store_true", help="Hearth on SQLite instead of PostgreSQL")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file as well")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="profile Hearth's main thread into FILE")
    options = parser.parse_args(arguments)
    unknown = set(options.workloads) - set(names)
    if unknown or (options.only and options.only not in SERVERS):
        parser.error(f"there is no {', '.join(unknown) or options.only}")
    if options.workloads and WAITING not in options.workloads:
        options.waiting = 0
    options.federation = not options.workloads or FEDERATION in options.workloads
    options.workloads = [one for one in WORKLOADS if not options.workloads or one.name in options.workloads]
    options.servers = [options.only] if options.only else list(SERVERS)
    if options.quick:
        options.seconds, options.rounds, options.crowd = 2.0, 1, 50
        options.waiting //= 20
    return options


async def drive(
    servers: list[ServerProcess], database_server: PostgresServer, options: argparse.Namespace
) -> Samples:
    """Every workload on every server in turn, once to warm up and then for the rounds."""
    samples: Samples = defaultdict(lambda: defaultdict(list))
    worlds = [World(server, options.crowd) for server in servers]
    for workload in options.workloads:
        able = [world for world in worlds if workload.bare or world.server.name != "bare"]
        for world in able:
            await workload.prepare(world)
            if workload.warm_up:
                await workload.run(world, min(1.0, options.seconds))
        for number in range(options.rounds):
            for world in able:
                await measure(world, workload, options.seconds, database_server, samples)
                newest = samples[workload][world.server.name][-1]
                print(
                    f"{workload.title}, round {number + 1}: {world.server.name} "
                    f"{newest.value:,.3f}{workload.unit}",
                    flush=True,
                )
    for world in worlds:
        world.close()
    return samples


async def measure(
    world: World, workload: Workload, seconds: float, database_server: PostgresServer, samples: Samples
) -> None:
    def cpu() -> Cpu:
        return Cpu(world.server.cpu_seconds(), database_server.cpu_seconds(), time.process_time())

    if workload.before_round:
        await workload.before_round(world)
    before = cpu()
    sample = await workload.run(world, seconds)
    samples[workload][world.server.name].append(dataclasses.replace(sample, cpu=cpu() - before))


if __name__ == "__main__":
    sys.exit(main())
