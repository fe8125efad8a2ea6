"""The servers that are compared: Hearth, Synapse, and bare Twisted as the limit."""

import pstats
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.processes import Hearth, ServerProcess, Synapse


class ProfiledHearth(Hearth):
    """Hearth under cProfile. The figures are then worth nothing, but their proportions are."""

    def __init__(self, directory: Path, database: Mapping[str, Any] | None, profile: Path) -> None:
        self.profile = profile.resolve()
        super().__init__(directory, database)

    def command(self) -> list[str]:
        python, *rest = super().command()
        return [python, "-m", "cProfile", "-o", str(self.profile), *rest]


class BareTwisted(ServerProcess):
    name = "bare"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "benchmarks.bare_twisted", str(self.config_path)]


SERVERS = {"hearth": Hearth, "synapse": Synapse, "bare": BareTwisted}


def make_server(
    name: str, directory: Path, database: Mapping[str, Any], profile: Path | None = None
) -> ServerProcess:
    if name == "hearth" and profile is not None:
        return ProfiledHearth(directory, database, profile)
    return SERVERS[name](directory, database)


def print_profile(file: Path) -> None:
    pstats.Stats(str(file)).sort_stats("tottime").print_stats(45)
