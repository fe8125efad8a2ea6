"""Real servers as child processes: started, killed, restarted, weighed.

One configuration serves Hearth and Synapse, for Hearth keeps Synapse's option names; only what Synapse
insists on is added for it. Rate limits are lifted and presence is off on both, so that comparisons compare
the same work. Other people's software is looked for in `.cache/` (where `make interop` installs it) or
in the directory that HEARTH_PEERS names.
"""

import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from tests.postgres import PostgresServer

ROOT = Path(__file__).resolve().parent.parent
PEERS = Path(os.environ.get("HEARTH_PEERS", ROOT / ".cache"))
SHARED_SECRET = "only for tests"

UNLIMITED = {"per_second": 1_000_000, "burst_count": 1_000_000}
RATE_LIMITS: dict[str, Any] = {
    "rc_message": UNLIMITED,
    "rc_registration": UNLIMITED,
    "rc_login": {"address": UNLIMITED, "account": UNLIMITED, "failed_attempts": UNLIMITED},
    "rc_joins": {"local": UNLIMITED, "remote": UNLIMITED},
    "rc_joins_per_room": UNLIMITED,
    "rc_invites": {"per_room": UNLIMITED, "per_user": UNLIMITED, "per_issuer": UNLIMITED},
    "rc_room_creation": UNLIMITED,
    "rc_reports": UNLIMITED,
    "rc_rendezvous": UNLIMITED,
}


class StartFailed(Exception):
    """The server ended, or did not answer in time; the message carries the end of its log."""


class ServerProcess:
    """One homeserver on a free port of 127.0.0.1 with its files in `directory`.

    `database` is what stands under `database:` in the configuration, of name `psycopg2` or `sqlite3`;
    without it the server keeps SQLite in its directory. A second `start()` finds everything again.
    """

    name = ""
    start_timeout = 60.0

    def __init__(
        self,
        directory: Path,
        database: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.directory = directory
        self.port = free_port()
        self.log = directory / f"{self.name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        sqlite = {"name": "sqlite3", "args": {"database": str(directory / "homeserver.db")}}
        self.configuration = self.configure(dict(database or sqlite)) | dict(settings or {})
        self.config_path = directory / "homeserver.yaml"
        self.config_path.write_text(json.dumps(self.configuration, indent=2))

    def configure(self, database: dict[str, Any]) -> dict[str, Any]:
        key = self.directory / "test.signing.key"
        if not key.exists():
            key.write_text(f"ed25519 a_test {base64.b64encode(os.urandom(32)).decode().rstrip('=')}\n")
        listener = {
            "port": self.port,
            "bind_addresses": ["127.0.0.1"],
            "type": "http",
            "tls": False,
            "x_forwarded": False,
            "resources": [{"names": ["client"]}],
        }
        return {
            "server_name": "localhost",
            "public_baseurl": f"http://127.0.0.1:{self.port}/",
            "listeners": [listener],
            "database": database,
            "signing_key_path": str(key),
            "media_store_path": str(self.directory / "media"),
            "enable_registration": True,
            "registration_shared_secret": SHARED_SECRET,
            "presence": {"enabled": False},
            "trusted_key_servers": [],
            **RATE_LIMITS,
        }

    def command(self) -> list[str]:
        raise AssertionError("each kind of server says how it starts")

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT)}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start, and return when it answers requests."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.directory,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + self.start_timeout
        while not self._answers():
            if self.process.poll() is not None:
                raise StartFailed(f"{self.name} ended with {self.process.returncode}.\n{self.log_tail()}")
            if time.monotonic() > deadline:
                self.kill()
                raise StartFailed(f"{self.name} did not answer in time.\n{self.log_tail()}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/_matrix/client/versions")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it as an operator would."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> "ServerProcess":
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def resident_bytes(self) -> int:
        return int(psutil.Process(self.pid).memory_info().rss)

    def cpu_seconds(self) -> float:
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def log_tail(self, lines: int = 40) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


class Hearth(ServerProcess):
    name = "hearth"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "homeserver.app.main", "run", "-c", str(self.config_path)]


class Synapse(ServerProcess):
    """Synapse as its makers ship it, logging warnings only, so that the log costs it nothing."""

    name = "synapse"

    def configure(self, database: dict[str, Any]) -> dict[str, Any]:
        log_config = self.directory / "log.yaml"
        log_config.write_text(
            json.dumps(
                {
                    "version": 1,
                    "handlers": {"console": {"class": "logging.StreamHandler"}},
                    "root": {"level": "WARNING", "handlers": ["console"]},
                    "disable_existing_loggers": False,
                }
            )
        )
        return super().configure(database) | {
            "report_stats": False,
            "log_config": str(log_config),
            "pid_file": str(self.directory / "synapse.pid"),
            "enable_registration_without_verification": True,
            "bcrypt_rounds": 4,
            "suppress_key_server_warning": True,
        }

    def command(self) -> list[str]:
        return [str(synapse_python()), "-m", "synapse.app.homeserver", "-c", str(self.config_path)]

    def environment(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def synapse_python() -> Path:
    return PEERS / "synapse" / "bin" / "python"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def kind_under_test() -> type[ServerProcess]:
    """HEARTH_TEST_SERVER=synapse tests the tests: one that fails there too is wrong."""
    kinds: dict[str, type[ServerProcess]] = {"hearth": Hearth, "synapse": Synapse}
    return kinds[os.environ.get("HEARTH_TEST_SERVER", "hearth")]


def server_of_its_own(engine: str, directory: Path, postgres: PostgresServer | None) -> ServerProcess:
    """For a test that kills its server: not started yet."""
    database = None
    if engine == "postgres":
        assert postgres is not None
        database = {"name": "psycopg2", "args": postgres.create_database()}
    return kind_under_test()(directory, database)
