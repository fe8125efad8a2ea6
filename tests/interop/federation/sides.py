"""Hearth and a real Synapse with a cable between them, and people on both sides.

`Rooms` are made on one side (`home`) and joined from the other (`away`), in a room version: what every test
here asks for, so that each runs in both directions.
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.federation.authority import Authority
from tests.federation.processes import federate, tls_port
from tests.federation.proxy import Proxy
from tests.federation.synthetic import V1, Synthetic
from tests.harness import PASSWORD, Client, HearthServer, Json, joined, ok, room_path
from tests.processes import ServerProcess, Synapse, free_port
from tests.waiting import until

_numbers = itertools.count(1)


@dataclass
class Side:
    process: ServerProcess
    name: str
    proxy: Proxy
    clients: list[Client] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return self.process.name

    def register(self, name: str) -> Client:
        client = Client(self.process.url)
        if self.kind == "synapse":
            client.http.event_hooks = {}  # is not ours to judge
        self.clients.append(client)
        body = {"username": f"{name}{next(_numbers)}", "password": PASSWORD,
                "auth": {"type": "m.login.dummy"}}
        client.adopt(ok(client.post("/register", body)))
        return client


@dataclass
class Sides:
    authority: Authority
    hearth: Side
    synapse: Side
    server: HearthServer
    observer: Synthetic
    """A third server, in no room, that sees what both say."""

    def cut(self) -> None:
        for side in (self.hearth, self.synapse):
            side.proxy.pull()

    def mend(self) -> None:
        for side in (self.hearth, self.synapse):
            side.proxy.plug()


@contextmanager
def both_sides(directory: Path, engine: str = "sqlite", postgres: Any = None) -> Iterator[Sides]:
    authority = Authority(directory)
    server, synapse = HearthServer(engine, directory / "hearth", postgres), Synapse(directory / "synapse")
    shown = {"allow_public_rooms_over_federation": True, "presence": {"enabled": True}}
    theirs = {
        "room_list_publication_rules": [{"action": "allow"}],
        "user_directory": {"enabled": True, "search_all_users": False},
        # It would wait ten minutes after its first failure.
        "federation": {
            "destination_min_retry_interval": "1s", "destination_max_retry_interval": "2s",
            "destination_retry_multiplier": 1, "client_timeout": "20s",
        },
    }
    ports = free_port(), free_port()
    names = [
        federate(server.process, authority, public_port=ports[0], **shown),
        federate(synapse, authority, public_port=ports[1], **shown, **theirs),
    ]
    proxies = [Proxy(ports[0], tls_port(server.process)), Proxy(ports[1], tls_port(synapse))]
    hearth_side = Side(server.process, names[0], proxies[0])
    synapse_side = Side(synapse, names[1], proxies[1])
    with server, synapse, Synthetic(authority) as observer:
        yield Sides(authority, hearth_side, synapse_side, server, observer)
        for client in (*hearth_side.clients, *synapse_side.clients):
            client.http.close()
        for proxy in proxies:
            proxy.close()


@dataclass
class Direction:
    """Rooms are made at `home`, and `away` comes to them."""

    sides: Sides
    home: Side
    away: Side
    version: str

    def room(self, owner: Client, **options: Any) -> str:
        options = {"preset": "public_chat", "room_version": self.version, **options}
        return owner.create_room(**options)

    def join(self, guest: Client, room_id: str) -> str:
        answer = guest.post(f"/join/{quote(room_id, safe='')}", {}, server_name=self.home.name,
                            via=self.home.name)
        return str(ok(answer)["room_id"])

    def shared(self, **options: Any) -> "Shared":
        """A room with somebody from either side in it."""
        owner, guest = self.home.register("owner"), self.away.register("guest")
        room_id = self.room(owner, **options)
        self.join(guest, room_id)
        until(lambda: membership(owner, room_id, guest.user_id) == "join", 20, "the owner sees the guest")
        return Shared(self, room_id, owner, guest)


@dataclass
class Shared:
    direction: Direction
    room_id: str
    owner: Client
    guest: Client

    @property
    def both(self) -> tuple[Client, Client]:
        return self.owner, self.guest

    def say(self, sender: Client, text: str) -> str:
        """Said, and heard on the other side."""
        event_id = sender.send(self.room_id, text)
        for client in self.both:
            event = wait_for(client, self.room_id, event_id)
            assert (event["sender"], event["content"]["body"]) == (sender.user_id, text)
        return event_id

    def talk(self) -> None:
        self.say(self.owner, "from the owner")
        self.say(self.guest, "from the guest")

    def agree(self, seconds: float = 30) -> dict[tuple[str, str], str]:
        """Both sides come to have the same state; it."""

        def difference() -> set[Any]:
            ours, theirs = (states(client, self.room_id).items() for client in self.both)
            return set(ours ^ theirs)

        until(lambda: not difference(), seconds, "the sides have the same state")
        return states(self.owner, self.room_id)

    def extremities(self, side: Side) -> set[str]:
        """What the next event would follow, as that side tells a stranger who wants to join."""
        observer = self.direction.sides.observer
        path = f"{V1}/make_join/{quote(self.room_id, safe='')}/{quote('@observer:' + observer.name)}"
        template = observer.get(side.name, path, ver=self.direction.version)["event"]
        return set(template["prev_events"])


def states(client: Client, room_id: str) -> dict[tuple[str, str], str]:
    answer = client.get(f"{room_path(room_id)}/state")
    assert answer.status_code == 200, answer.text
    return {(each["type"], each["state_key"]): each["event_id"] for each in answer.json()}


def state(client: Client, room_id: str, kind: str, key: str = "") -> Json | None:
    answer = client.state(room_id, kind, key)
    return answer.json() if answer.status_code == 200 else None


def membership(client: Client, room_id: str, user_id: str) -> str | None:
    found = state(client, room_id, "m.room.member", user_id)
    return None if found is None else str(found["membership"])


def wait_for(client: Client, room_id: str, event_id: str, seconds: float = 20) -> Json:
    path = f"{room_path(room_id)}/event/{quote(event_id, safe='')}"
    until(lambda: client.get(path).status_code == 200, seconds, f"{event_id} comes to {client.user_id}")
    return ok(client.get(path))


def wait_for_invite(client: Client, room_id: str) -> list[Json]:
    """The stripped state."""
    invite = client.sync_until(lambda sync: sync.get("rooms", {}).get("invite", {}).get(room_id))
    events: list[Json] = invite["invite_state"]["events"]
    return events


def wait_for_leave(client: Client, room_id: str) -> Json:
    left: Json = client.sync_until(lambda sync: sync.get("rooms", {}).get("leave", {}).get(room_id))
    return left


def wait_for_ephemeral(client: Client, room_id: str, kind: str, seen: Any) -> Json:
    def look(sync: Json) -> Any:
        events = joined(sync, room_id).get("ephemeral", {}).get("events", [])
        return next((each for each in events if each["type"] == kind and seen(each["content"])), None)

    found: Json = client.sync_until(look)
    return found


def history(client: Client, room_id: str, limit: int = 100, pages: int = 100) -> list[Json]:
    """All events by paging, oldest first."""
    events: list[Json] = []
    start: str | None = ""
    for _ in range(pages):
        page = ok(client.get(f"{room_path(room_id)}/messages", dir="b", limit=limit,
                             **({"from": start} if start else {})))
        events += page["chunk"]
        start = page.get("end")
        if start is None:
            return events[::-1]
    raise AssertionError("paging does not end")


def bodies(events: list[Json]) -> list[str]:
    return [each["content"]["body"] for each in events if "body" in each["content"]]
