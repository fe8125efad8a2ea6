"""A real Hearth in a process of its own, and people who use it over HTTP.

    with HearthServer("sqlite", directory) as server:
        alice, bob = server.register("alice"), server.register("bob")
        room = alice.create_room(invite=[bob.user_id])
        bob.join(room)
        alice.send(room, "hello")

Verbs such as `create_room` expect success and return what matters of the answer; `get`, `put`, `post` and
`delete` return the `httpx.Response` whatever it is. Every answer is held against the specification's
schema for it (`tests/spec/responses.py`). Rate limits are lifted. After every test the server's log must
hold no internal error.
"""

import hashlib
import hmac
import itertools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx

from tests.postgres import PostgresServer
from tests.processes import SHARED_SECRET, ServerProcess, kind_under_test
from tests.spec.responses import check

CLIENT = "/_matrix/client/v3"
ENGINES = ("sqlite", "postgres")
PASSWORD = "correct horse battery staple"

_INTERNAL_ERROR = re.compile(
    r"Traceback \(most recent call last\)|#(?:error|critical)\]|\b(?:ERROR|CRITICAL)\b"
)

Json = dict[str, Any]


class HearthServer:
    """One server with a database of its own; `restart` and `kill` keep what was stored."""

    def __init__(
        self,
        engine: str,
        directory: Path,
        postgres: PostgresServer | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.engine = engine
        database = None
        self._postgres = postgres
        self._dbname = ""
        if engine == "postgres":
            assert postgres is not None
            args = postgres.create_database()
            self._dbname = args["dbname"]
            database = {"name": "psycopg2", "args": args}
        # Federates with nobody, and so asks no name server; `tests.federation.processes` changes that.
        settings = {"presence": {"enabled": True}, "federation_domain_whitelist": [], **(settings or {})}
        self.process: ServerProcess = kind_under_test()(directory, database, settings)
        self.clients: list[Client] = []
        self._names = itertools.count(1)
        self._log_read = 0

    @property
    def url(self) -> str:
        return self.process.url

    def start(self) -> Self:
        self.process.start()
        return self

    def stop(self) -> None:
        """As an operator would: SIGTERM, and wait."""
        self.process.stop()

    def kill(self) -> None:
        """As a power cut would: SIGKILL."""
        self.process.kill()

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        """Ends the server and drops its database."""
        for client in self.clients:
            client.http.close()
        self.stop()
        if self._postgres is not None and self._dbname:
            self._postgres.drop_database(self._dbname)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.close()

    def client(self) -> "Client":
        """Somebody who is not logged in."""
        client = Client(self.url)
        if self.process.name != "hearth":
            client.http.event_hooks = {}  # is not ours to judge
        self.clients.append(client)
        return client

    def register(self, name: str = "user", *, exact: bool = False, device_id: str | None = None) -> "Client":
        """A new account, logged in. The name gets a number, so that tests can share a server."""
        username = name if exact else f"{name}-{next(self._names)}"
        client = self.client()
        body: Json = {"username": username, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
        if device_id is not None:
            body["device_id"] = device_id
        client.adopt(ok(client.post("/register", body)))
        return client

    def register_admin(self, name: str = "admin") -> "Client":
        """A new administrator, made with the shared secret."""
        username = f"{name}-{next(self._names)}"
        client = self.client()
        nonce = ok(client.get("/_synapse/admin/v1/register"))["nonce"]
        signed = "\0".join((nonce, username, PASSWORD, "admin")).encode()
        mac = hmac.new(SHARED_SECRET.encode(), signed, hashlib.sha1).hexdigest()
        body = {"nonce": nonce, "username": username, "password": PASSWORD, "admin": True, "mac": mac}
        client.adopt(ok(client.post("/_synapse/admin/v1/register", body)))
        return client

    def login(self, user_id: str, **fields: Any) -> "Client":
        """The same person on another device."""
        client = self.client()
        identifier = {"type": "m.id.user", "user": user_id}
        body = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD, **fields}
        client.adopt(ok(client.post("/login", body)))
        return client

    def log(self) -> str:
        path = self.process.log
        return path.read_text(errors="replace") if path.exists() else ""

    def internal_errors(self) -> str:
        """The log since the last call, if there is an internal error in it."""
        text = self.log()
        new, self._log_read = text[self._log_read :], len(text)
        return new if self.process.name == "hearth" and _INTERNAL_ERROR.search(new) else ""


class Client:
    """A person at a device. Paths are relative to /_matrix/client/v3 unless they start with /_."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=40, event_hooks={"response": [check]})
        self.user_id = ""
        self.device_id = ""
        self.access_token = ""
        self.since: str | None = None
        self._transactions = itertools.count(1)

    def adopt(self, answer: Json) -> None:
        """Becomes who a login or registration answered."""
        self.user_id = answer["user_id"]
        self.device_id = answer.get("device_id", "")
        self.access_token = answer["access_token"]
        self.http.headers["Authorization"] = f"Bearer {self.access_token}"

    def get(self, path: str, **query: Any) -> httpx.Response:
        return self.http.get(_full(path), params=query)

    def put(self, path: str, body: Any = None, **query: Any) -> httpx.Response:
        return self.http.put(_full(path), json={} if body is None else body, params=query)

    def post(self, path: str, body: Any = None, **query: Any) -> httpx.Response:
        return self.http.post(_full(path), json={} if body is None else body, params=query)

    def delete(self, path: str, body: Any = None, **query: Any) -> httpx.Response:
        return self.http.request("DELETE", _full(path), json=body, params=query)

    def create_room(self, **options: Any) -> str:
        room_id: str = ok(self.post("/createRoom", options))["room_id"]
        return room_id

    def join(self, room: str) -> str:
        room_id: str = ok(self.post(f"/join/{quote(room, safe='')}"))["room_id"]
        return room_id

    def leave(self, room_id: str) -> None:
        ok(self.post(f"{room_path(room_id)}/leave"))

    def invite(self, room_id: str, user_id: str) -> None:
        ok(self.post(f"{room_path(room_id)}/invite", {"user_id": user_id}))

    def kick(self, room_id: str, user_id: str) -> None:
        ok(self.post(f"{room_path(room_id)}/kick", {"user_id": user_id}))

    def ban(self, room_id: str, user_id: str) -> None:
        ok(self.post(f"{room_path(room_id)}/ban", {"user_id": user_id}))

    def send(
        self,
        room_id: str,
        content: str | Json,
        event_type: str = "m.room.message",
        transaction_id: str | None = None,
    ) -> str:
        """Sends an event, or a text message if `content` is a text; returns the event ID."""
        if isinstance(content, str):
            content = {"msgtype": "m.text", "body": content}
        transaction_id = transaction_id or f"t{next(self._transactions)}"
        event_id: str = ok(
            self.put(f"{room_path(room_id)}/send/{quote(event_type, safe='')}/{transaction_id}", content)
        )["event_id"]
        return event_id

    def send_state(self, room_id: str, event_type: str, content: Json, state_key: str = "") -> str:
        path = f"{room_path(room_id)}/state/{quote(event_type, safe='')}/{quote(state_key, safe='')}"
        event_id: str = ok(self.put(path, content))["event_id"]
        return event_id

    def state(self, room_id: str, event_type: str, state_key: str = "") -> httpx.Response:
        return self.get(
            f"{room_path(room_id)}/state/{quote(event_type, safe='')}/{quote(state_key, safe='')}"
        )

    def sync(self, **query: Any) -> Json:
        """Everything new since the last `sync` of this client; pass `since=None` for all."""
        query = {"since": self.since, "timeout": 0, **query}
        answer = ok(self.get("/sync", **{name: value for name, value in query.items() if value is not None}))
        self.since = answer["next_batch"]
        return answer

    def sync_until(self, seen: Callable[[Json], Any], tries: int = 10, **query: Any) -> Any:
        """Syncs until `seen(answer)` is true, and returns what it returned."""
        for _ in range(tries):
            answer = self.sync(timeout=2000, **query)
            if found := seen(answer):
                return found
        raise AssertionError(f"not seen in {tries} syncs; the last was {answer}")

    def timeline(self, room_id: str, **query: Any) -> list[Json]:
        """The new timeline events of one room."""
        events: list[Json] = joined(self.sync(**query), room_id).get("timeline", {}).get("events", [])
        return events


def ok(response: httpx.Response) -> Json:
    """The body of an answer that must be 200."""
    assert response.status_code == 200, f"{response.request.method} {response.url}: {response.text}"
    body: Json = response.json()
    return body


def refused(response: httpx.Response, status: int, errcode: str) -> Json:
    """The body of an answer that must be this error."""
    body: Json = response.json()
    assert (response.status_code, body.get("errcode")) == (status, errcode), (
        f"{response.request.method} {response.url}: {response.status_code} {response.text}"
    )
    assert body.get("error")
    return body


def joined(sync: Json, room_id: str) -> Json:
    """A room's part of a sync answer; {} if it has none."""
    room: Json = sync.get("rooms", {}).get("join", {}).get(room_id, {})
    return room


def room_path(room_id: str) -> str:
    return f"/rooms/{quote(room_id, safe='')}"


def _full(path: str) -> str:
    return path if path.startswith(("/_", "/.well-known")) else CLIENT + path
