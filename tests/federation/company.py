"""A whole Hearth, and a synthetic server whose rooms its users join."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.federation.authority import Authority
from tests.federation.processes import federate
from tests.federation.synthetic import Synthetic
from tests.federation.synthetic_room import SyntheticRoom
from tests.harness import Client, HearthServer, Json, joined, ok, room_path
from tests.waiting import until

DEVICE = "PHONE"


class Company:
    def __init__(self, hearth: HearthServer, name: str, remote: Synthetic) -> None:
        self.hearth = hearth
        self.name = name
        self.remote = remote

    def shared_room(self, **options: Any) -> tuple[Client, SyntheticRoom]:
        """A new user of Hearth in a new room of the remote server, with all its members; they have synced."""
        alice, room = self.hearth.register("alice"), self.remote.make_room(**options)
        ok(alice.post(f"/join/{room.room_id}", {}, server_name=self.remote.name))
        ok(alice.get(f"{room_path(room.room_id)}/joined_members"))  # waits for them
        alice.sync()
        return alice, room

    def send(self, *pdus: Any, edus: list[Json] | None = None, **options: Any) -> dict[str, Json]:
        return self.remote.send(self.name, pdus, edus or [], **options)

    def edu(self, edu_type: str, **content: Any) -> None:
        self.send(edus=[{"edu_type": edu_type, "content": content}])


@contextmanager
def company(directory: Path, **settings: Any) -> Iterator[Company]:
    authority = Authority(directory)
    hearth = HearthServer("sqlite", directory / "hearth")
    name = federate(hearth.process, authority, **settings)
    with hearth, Synthetic(authority) as remote:
        yield Company(hearth, name, remote)
        errors = hearth.internal_errors()
        assert not errors, errors


def ephemeral(alice: Client, room: SyntheticRoom, edu_type: str, **query: Any) -> list[Json]:
    """The contents of the room's new ephemeral events of a type."""
    events = joined(alice.sync(**query), room.room_id).get("ephemeral", {}).get("events", [])
    return [event["content"] for event in events if event["type"] == edu_type]


def device(user_id: str, device_id: str = DEVICE, key: str = "k") -> Json:
    return {
        "user_id": user_id, "device_id": device_id, "algorithms": ["m.olm"],
        "keys": {f"ed25519:{device_id}": key}, "signatures": {user_id: {f"ed25519:{device_id}": "s"}},
    }


def changed(alice: Client, user_id: str) -> None:
    """Syncs until the user's device list is said to have changed."""
    until(lambda: user_id in alice.sync(timeout=500).get("device_lists", {}).get("changed", []))
