"""Headless Chromium runs a script of tests/interop/browser, bundled with esbuild, against a server.

The page is served from here, so that CORS is what it is in real life, and says how it ended by posting
`{"done": ...}` or `{"failed": stack}` to where it came from. Nothing drives the browser from outside.
"""

import functools
import json
import os
import queue
import shutil
import signal
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.processes import PEERS

MODULES = PEERS / "browser" / "node_modules"
SCRIPTS = Path(__file__).with_name("browser")
BROWSERS = ("chromium", "chromium-headless-shell", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",  # we may be root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--remote-debugging-port=0",  # without it the shell leaves when the page is loaded
    "--enable-logging=stderr",
)
PAGE = """<!doctype html><meta charset="utf-8"><title>Hearth</title>
<script type="module" src="page.js"></script>"""


def run_page(script: str, url: str, directory: Path, seconds: float = 120) -> Any:
    """What `script` said it did with the server at `url`."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("there is no Chromium: on Debian, apt-get install chromium")
    if not MODULES.exists():
        pytest.skip(f"matrix-js-sdk is not at {MODULES}: run `make interop`")
    site = directory / "site"
    _bundle(script, site)
    said: queue.Queue[dict[str, Any]] = queue.Queue()
    served = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Site, said, directory=str(site)))
    threading.Thread(target=served.serve_forever, daemon=True).start()
    console = directory / "chromium.log"
    page = f"http://127.0.0.1:{served.server_address[1]}/?{url}"
    with console.open("wb") as log:
        command = [browser, *FLAGS, f"--user-data-dir={directory / 'profile'}", page]
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        answer = said.get(timeout=seconds)
    except queue.Empty:
        answer = {"failed": "The page took too long."}
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # Debian's command is a shell script
        process.wait()
        served.shutdown()
        served.server_close()
    if "done" not in answer:
        printed = [line for line in console.read_text(errors="replace").splitlines() if "CONSOLE" in line]
        raise AssertionError("\n".join([str(answer.get("failed")), "The browser's console:", *printed[-60:]]))
    return answer["done"]


def _bundle(script: str, site: Path) -> None:
    site.mkdir()
    (site / "index.html").write_text(PAGE)
    # The crypto's WebAssembly is fetched from beside the script.
    (site / "pkg").symlink_to(MODULES / "@matrix-org" / "matrix-sdk-crypto-wasm" / "pkg")
    subprocess.run(
        [
            MODULES / ".bin" / "esbuild",
            SCRIPTS / script,
            "--bundle",
            "--format=esm",
            "--define:global=globalThis",
            "--log-level=error",
            f"--alias:matrix-js-sdk={MODULES / 'matrix-js-sdk'}",
            f"--outfile={site / 'page.js'}",
        ],
        check=True,
    )


class _Site(SimpleHTTPRequestHandler):
    def __init__(self, said: "queue.Queue[dict[str, Any]]", *args: Any, **keywords: Any) -> None:
        self.said = said
        super().__init__(*args, **keywords)

    def do_POST(self) -> None:
        self.said.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Pages and scripts that were served are no news."""
