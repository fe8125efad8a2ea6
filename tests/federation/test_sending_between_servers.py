"""Two whole servers in one room: all that is said on one is heard on the other, through outages and kills."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.federation.authority import Authority
from tests.federation.processes import federate
from tests.harness import Client, HearthServer, joined, ok, room_path
from tests.homeserver.devices.people import Device


class Pair:
    """Alice and her server, Bob and his; `room` is Alice's, and Bob has joined it."""

    def __init__(self, directory: Path) -> None:
        authority = Authority(directory)
        self.here = HearthServer("sqlite", directory / "here")
        self.there = HearthServer("sqlite", directory / "there")
        name = federate(self.here.process, authority)
        federate(self.there.process, authority)
        self.here.start()
        self.there.start()
        self.alice, self.bob = self.here.register("alice"), self.there.register("bob")
        self.room = self.alice.create_room(preset="public_chat")
        ok(self.bob.post(f"/join/{self.room}", server_name=name))
        self.bob.sync()
        self.alice.sync()

    def heard(self, prefix: str) -> list[str]:
        """What Bob's server has of Alice's messages that begin so, in order."""
        events = ok(self.bob.get(f"{room_path(self.room)}/messages", dir="b", limit=500))["chunk"]
        bodies = [event["content"].get("body", "") for event in reversed(events)]
        return [body for body in bodies if body.startswith(prefix)]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path)
    yield made
    for server in (made.here, made.there):
        server.close()
        assert not server.internal_errors()


def says(room: str, body: str) -> Callable[[Any], bool]:
    def seen(sync: Any) -> bool:
        events = joined(sync, room).get("timeline", {}).get("events", [])
        return any(event["content"].get("body") == body for event in events)

    return seen


def passing(reader: Client, room: str, kind: str) -> Any:
    def seen(sync: Any) -> list[Any]:
        events = joined(sync, room).get("ephemeral", {}).get("events", [])
        return [event["content"] for event in events if event["type"] == kind]

    return reader.sync_until(seen)


def test_events_and_what_is_none(pair: Pair) -> None:
    alice, bob, room = pair.alice, pair.bob, pair.room
    event_id = alice.send(room, "hello bob")
    bob.sync_until(says(room, "hello bob"))
    bob.send(room, "hello alice")
    alice.sync_until(says(room, "hello alice"))
    ok(alice.put(f"{room_path(room)}/typing/{alice.user_id}", {"typing": True, "timeout": 20_000}))
    assert passing(bob, room, "m.typing")[-1] == {"user_ids": [alice.user_id]}
    ok(bob.post(f"{room_path(room)}/receipt/m.read/{event_id}"))
    [content] = passing(alice, room, "m.receipt")
    assert bob.user_id in content[event_id]["m.read"]
    ok(alice.put(f"/presence/{alice.user_id}/status", {"presence": "online", "status_msg": "here"}))
    bob.sync_until(
        lambda sync: any(
            event["sender"] == alice.user_id and event["content"].get("status_msg") == "here"
            for event in sync.get("presence", {}).get("events", [])
        )
    )
    ok(alice.put("/sendToDevice/m.test/1", {"messages": {bob.user_id: {bob.device_id: {"n": 1}}}}))
    [message] = bob.sync_until(lambda sync: sync.get("to_device", {}).get("events"))
    assert message == {"type": "m.test", "sender": alice.user_id, "content": {"n": 1}}
    ok(alice.post("/keys/upload", {"device_keys": Device(alice.user_id, alice.device_id).keys()}))
    bob.sync_until(lambda sync: alice.user_id in sync.get("device_lists", {}).get("changed", []))


def test_an_outage_of_the_receiver_and_a_kill_of_the_sender(pair: Pair) -> None:
    alice, bob, room = pair.alice, pair.bob, pair.room
    pair.there.stop()
    said = [f"missed {n}" for n in range(70)]
    for body in said:
        alice.send(room, body)
    ok(alice.put("/sendToDevice/m.test/2", {"messages": {bob.user_id: {"*": {"n": 2}}}}))
    pair.here.kill()
    pair.here.start()
    pair.there.start()
    bob.send(room, "I am back")  # by which the other server hears of it
    arrived: list[Any] = []

    def all_there(sync: Any) -> bool:
        arrived.extend(sync.get("to_device", {}).get("events", []))
        return pair.heard("missed") == said and bool(arrived)

    bob.sync_until(all_there, tries=20)
    assert [message["content"] for message in arrived] == [{"n": 2}]
