"""What the tests of hostile servers have in common: a Hearth with people, and a remote that may do anything.

`Bystander` is somebody in a room of her own who must notice nothing: she sends and reads all the time, and
knows how long it took, and how large the server grew meanwhile.
"""

import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from tests.federation.authority import Authority
from tests.federation.processes import federate
from tests.federation.synthetic import Synthetic
from tests.federation.synthetic_room import SyntheticRoom
from tests.harness import Client, HearthServer, Json, joined, ok, room_path
from tests.waiting import until

MEGABYTE = 2**20
# The machine is shared with other tests; what is meant is one second.
ANSWERED_WITHIN = 2.0
MOST_PAGES = 100


@dataclass
class Bystander:
    client: Client
    room_id: str
    server: HearthServer
    latencies: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    before: int = 0
    peak: int = 0

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            started = time.monotonic()
            try:
                event_id = self.client.send(self.room_id, "undisturbed")
                ok(self.client.get(f"{room_path(self.room_id)}/event/{quote(event_id, safe='')}"))
            except (AssertionError, httpx.HTTPError) as error:
                self.failures.append(repr(error))
            self.latencies.append(time.monotonic() - started)
            self.peak = max(self.peak, self.server.process.resident_bytes())
            stop.wait(0.05)


@dataclass
class Scene:
    """Hearth as `name`, and `remote`, with which nobody shares a room yet."""

    authority: Authority
    hearth: HearthServer
    name: str
    remote: Synthetic

    def join(self, room: SyntheticRoom, client: Client | None = None) -> Client:
        """Somebody of Hearth's joins a room of the remote's."""
        client = client or self.hearth.register("guest")
        ok(self.try_to_join(room, client))
        return client

    def try_to_join(self, room: SyntheticRoom, client: Client, *via: str) -> httpx.Response:
        return client.post(f"/join/{quote(room.room_id, safe='')}", {}, via=list(via) or [self.remote.name])

    @contextmanager
    def undisturbed(self, megabytes: int = 100, seconds: float = 60) -> Iterator[Bystander]:
        """Whatever happens in here takes no longer, costs no more memory, and a bystander notices nothing."""
        client = self.hearth.register("bystander")
        bystander = Bystander(client, client.create_room(), self.hearth)
        bystander.before = bystander.peak = self.hearth.process.resident_bytes()
        stop = threading.Event()
        thread = threading.Thread(target=bystander.run, args=(stop,))
        started = time.monotonic()
        thread.start()
        try:
            yield bystander
        finally:
            stop.set()
            thread.join()
        assert not bystander.failures, bystander.failures[:3]
        assert max(bystander.latencies) < ANSWERED_WITHIN, sorted(bystander.latencies)[-5:]
        grown = (bystander.peak - bystander.before) // MEGABYTE
        assert grown < megabytes, f"grew by {grown} MB"
        assert time.monotonic() - started < seconds


@contextmanager
def scene(directory: Path, engine: str = "sqlite", postgres: Any = None, **settings: Any) -> Iterator[Scene]:
    authority = Authority(directory)
    hearth = HearthServer(engine, directory / "hearth", postgres)
    options = {"ip_range_whitelist": ["127.0.0.0/8", "::1"], **settings}
    name = federate(hearth.process, authority, **options)
    with hearth, Synthetic(authority) as remote:
        yield Scene(authority, hearth, name, remote)


class DeadEnd:
    """A port on which whoever connects waits for ever. `most`: how many did at the same time."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("0.0.0.0", 0), backlog=1000)
        self.port: int = self._socket.getsockname()[1]
        self.most = 0
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        waiting: set[socket.socket] = set()
        while not self._closing.is_set():
            for key, _ in self._selector.select(0.1):
                if key.fileobj is self._socket:
                    client, _ = self._socket.accept()
                    waiting.add(client)
                    self._selector.register(client, selectors.EVENT_READ)
                else:
                    self._hear(waiting, key.fileobj)
            self.most = max(self.most, len(waiting))
        for each in (self._socket, *waiting):
            each.close()

    def _hear(self, waiting: set[socket.socket], client: Any) -> None:
        try:
            gone = not client.recv(65_536)
        except OSError:
            gone = True
        if gone:
            self._selector.unregister(client)
            waiting.discard(client)
            client.close()


def sees(client: Client, room_id: str, event_id: str) -> bool:
    return client.get(f"{room_path(room_id)}/event/{quote(event_id, safe='')}").status_code == 200


def wait_to_see(client: Client, room_id: str, event_id: str, seconds: float = 20) -> Json:
    until(lambda: sees(client, room_id, event_id), seconds, f"{event_id} can be read")
    return ok(client.get(f"{room_path(room_id)}/event/{quote(event_id, safe='')}"))


def synced(client: Client, room_id: str, condition: Callable[[list[Json]], Any], seconds: float = 20) -> Any:
    """The timeline as `/sync` tells it piece by piece, until `condition` holds of all of it."""
    heard: list[Json] = []

    def listen() -> Any:
        heard.extend(joined(client.sync(timeout=500), room_id).get("timeline", {}).get("events", []))
        return condition(heard)

    return until(listen, seconds)


def bodies(events: list[Json]) -> list[str]:
    return [each["content"]["body"] for each in events if "body" in each["content"]]


def read_back(client: Client, room_id: str) -> list[Json]:
    """The whole room by paging, oldest first."""
    events: list[Json] = []
    start: str | None = ""
    for _ in range(MOST_PAGES):
        query = {"from": start} if start else {}
        page = ok(client.get(f"{room_path(room_id)}/messages", dir="b", limit=100, **query))
        events += page["chunk"]
        start = page.get("end")
        if start is None:
            return events[::-1]
    raise AssertionError(f"paging does not end; last at {start} with {page['chunk']}")
