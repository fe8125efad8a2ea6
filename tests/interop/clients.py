"""Running other people's Matrix clients as child processes, and doing what they ask for.

A client script prints JSON lines: `{"ask": "restart"}` to have the server restarted (it waits for a line on
its stdin), and last `{"done": ...}`. The test fails with all it printed if it ends in any other way.
"""

import json
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from tests.processes import ServerProcess


def run_client(
    command: Sequence[str], server: ServerProcess, directory: Path, seconds: float = 120
) -> object:
    """What the script said it did; `server` is restarted in between if it asks for that."""
    deadline = time.monotonic() + seconds
    with tempfile.TemporaryFile() as errors:
        client = subprocess.Popen(
            command,
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert client.stdin is not None and client.stdout is not None
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=_pump, args=(client.stdout, lines), daemon=True).start()
        printed: list[str] = []
        try:
            while True:
                line = lines.get(timeout=max(0.1, deadline - time.monotonic()))
                printed.append(line)
                said = json.loads(line) if line.startswith("{") else {}
                if "done" in said:
                    return said["done"]
                if said.get("ask") == "restart":
                    server.kill()
                    server.start()
                    client.stdin.write("restarted\n")
                    client.stdin.flush()
                if not line:
                    raise AssertionError(_failure("The client gave up", printed, errors, server))
        except queue.Empty:
            raise AssertionError(_failure("The client took too long", printed, errors, server)) from None
        finally:
            client.kill()
            client.wait()


def _pump(output: IO[str], lines: "queue.Queue[str]") -> None:
    for line in output:
        lines.put(line)
    lines.put("")


def _failure(what: str, printed: list[str], errors: IO[bytes], server: ServerProcess) -> str:
    errors.seek(0)
    complaint = errors.read().decode(errors="replace")[-6000:]
    return f"{what}.\n{''.join(printed)[-2000:]}{complaint}\nThe server's log:\n{server.log_tail()}"
