"""Servers with a cable between them that can be pulled out."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.federation.authority import Authority
from tests.federation.processes import federate, tls_port
from tests.federation.proxy import Proxy
from tests.processes import Hearth, ServerProcess, Synapse, free_port


class HastyHearth(Hearth):
    """Tries a server that did not answer again after a second, not after ten."""

    def command(self) -> list[str]:
        program = (
            "from federation import destinations; from homeserver.app.main import main;"
            " destinations.FIRST_MS, destinations.MOST_MS = 500, 1000; main()"
        )
        return [sys.executable, "-c", program, "run", "-c", str(self.config_path)]


@dataclass
class Place:
    """A server, and its end of the cable."""

    process: ServerProcess
    name: str
    proxy: Proxy


UNLIMITED = {"window_size": 10, "sleep_limit": 100_000, "sleep_delay": 1, "reject_limit": 100_000,
             "concurrent": 100}  # fmt: skip
SYNAPSE: dict[str, Any] = {
    "rc_federation": UNLIMITED,
    # It would wait ten minutes after its first failure.
    "federation": {
        "destination_min_retry_interval": "1s", "destination_max_retry_interval": "2s",
        "destination_retry_multiplier": 1, "client_timeout": "20s",
    },
}  # fmt: skip


@contextmanager
def two_places(directory: Path, database: Any = None, *, synapse: bool = False) -> Iterator[list[Place]]:
    """A Hearth, and another or a Synapse."""
    authority = Authority(directory)
    one = HastyHearth(directory / "one", database)
    other = Synapse(directory / "other") if synapse else HastyHearth(directory / "other")
    places = []
    for process in (one, other):
        port = free_port()
        settings = SYNAPSE if process.name == "synapse" else {}
        name = federate(process, authority, public_port=port, **settings)
        places.append(Place(process, name, Proxy(port, tls_port(process))))
    with one, other:
        yield places
    for place in places:
        place.proxy.close()
