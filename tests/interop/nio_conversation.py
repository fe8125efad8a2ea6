"""Alice and Bob talk in an encrypted room through matrix-nio. Run in the environment nio is installed in:

    python nio_conversation.py URL DIRECTORY

`{"ask": "restart"}` on stdout asks whoever started us to restart the server, and a line on stdin says that
it is done. Any doubt ends in a traceback.
https://spec.matrix.org/v1.19/client-server-api/#end-to-end-encryption
"""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from nio import AsyncClient, AsyncClientConfig, MegolmEvent, RoomMessageText
from nio.responses import ErrorResponse

PASSWORD = "correct horse battery staple"
R = TypeVar("R")


def good(response: R) -> R:
    assert not isinstance(response, ErrorResponse), response
    return response


class Person:
    """One user with one device: what she has heard is in `heard`, (sender, text) in order of arrival."""

    def __init__(
        self, name: str, url: str, directory: Path, server_name: str = "localhost", device: str = ""
    ) -> None:
        store = directory / (name + device)
        store.mkdir(parents=True)
        config = AsyncClientConfig(encryption_enabled=True, store_sync_tokens=True, request_timeout=30)
        self.name = name
        self.user_id = f"@{name}:{server_name}"
        self.client: Any = AsyncClient(url, self.user_id, store_path=str(store), config=config)
        self.heard: list[tuple[str, str]] = []
        self.client.add_event_callback(self._hear, RoomMessageText)
        self.client.add_event_callback(self._fail, MegolmEvent)

    async def _hear(self, room: Any, event: Any) -> None:
        assert event.decrypted, f"{event.body!r} came in the clear"
        self.heard.append((event.sender, event.body))

    async def _fail(self, room: Any, event: Any) -> None:
        raise AssertionError(f"{self.name} cannot decrypt {event.event_id} of {event.sender}")

    async def enter(self) -> None:
        """Make the account, log in, publish the device's keys."""
        registering: Any = AsyncClient(self.client.homeserver, self.name)
        good(await registering.register(self.name, PASSWORD))
        await registering.close()
        await self.log_in()

    async def log_in(self) -> None:
        good(await self.client.login(PASSWORD, device_name=f"{self.name}'s nio"))
        await self.sync()

    async def sync(self, timeout: int = 0) -> None:
        good(await self.client.sync(timeout=timeout))
        if self.client.should_upload_keys:
            good(await self.client.keys_upload())
        if self.client.should_query_keys:
            good(await self.client.keys_query())

    async def sync_until(self, condition: Callable[[], bool], what: str) -> None:
        for _ in range(30):
            if condition():
                return
            await self.sync(timeout=1000)
        raise AssertionError(f"{self.name} waited in vain for {what}; heard {self.heard}")

    def sees_both(self, room_id: str) -> bool:
        room = self.client.rooms.get(room_id)
        return room is not None and room.joined_count == 2 and len(room.users) == 2

    async def say(self, room_id: str, text: str) -> None:
        content = {"msgtype": "m.text", "body": text}
        good(await self.client.room_send(room_id, "m.room.message", content, ignore_unverified_devices=True))

    async def read_back(self, room_id: str) -> list[Any]:
        """Every event of the room, oldest first, five a page."""
        events: list[Any] = []
        start: str | None = self.client.next_batch
        while start:
            page = good(await self.client.room_messages(room_id, start, limit=5))
            events += page.chunk
            start = page.end
        return events[::-1]


def ask(what: str) -> None:
    print(json.dumps({"ask": what}), flush=True)
    assert sys.stdin.readline(), "nobody answered"


async def converse(alice: Person, bob: Person) -> None:
    await alice.enter()
    await bob.enter()
    encryption = {
        "type": "m.room.encryption",
        "state_key": "",
        "content": {"algorithm": "m.megolm.v1.aes-sha2"},
    }
    created = good(await alice.client.room_create(name="Secrets", initial_state=[encryption]))
    room_id = created.room_id
    good(await alice.client.room_invite(room_id, bob.user_id))
    await bob.sync_until(lambda: room_id in bob.client.invited_rooms, "the invite")
    good(await bob.client.join(room_id))
    for person in (alice, bob):
        await person.sync_until(lambda: person.sees_both(room_id), "both to be in the room")  # noqa: B023
    assert alice.client.rooms[room_id].encrypted and bob.client.rooms[room_id].encrypted

    said: list[tuple[str, str]] = []

    async def say(person: Person, text: str) -> None:
        await person.say(room_id, text)
        said.append((person.user_id, text))

    async def all_hear() -> None:
        for person in (alice, bob):
            await person.sync_until(lambda: len(person.heard) >= len(said), "all that was said")  # noqa: B023
            assert person.heard == said, (person.name, person.heard, said)

    for number in range(3):
        await say(alice, f"Hello Bob, {number}")
        await say(bob, f"Hello Alice, {number}")
    await all_hear()

    # Said before the restart, heard after it: the new session's key waits as a to-device message.
    alice.client.invalidate_outbound_session(room_id)
    for number in range(3):
        await say(alice, f"Are you still there? {number}")
    ask("restart")
    await all_hear()
    for number in range(3):
        await say(bob, f"I am, {number}")
        await say(alice, f"Good, {number}")
    await all_hear()
    await asyncio.gather(alice.sync(), bob.sync())
    assert alice.heard == bob.heard == said, "something came twice"

    for person in (alice, bob):
        events = await person.read_back(room_id)
        kinds = [event.source["type"] for event in events]
        assert kinds[0] == "m.room.create", kinds
        assert kinds.count("m.room.create") == 1 and "m.room.encryption" in kinds, kinds
        ids = [event.event_id for event in events]
        assert len(set(ids)) == len(ids), "an event stands on two pages"
        texts = [(event.sender, event.body) for event in events if isinstance(event, RoomMessageText)]
        assert texts == said, (person.name, texts)
    print(json.dumps({"done": len(said)}), flush=True)


async def main(url: str, directory: Path) -> None:
    alice, bob = Person("alice", url, directory), Person("bob", url, directory)
    try:
        await converse(alice, bob)
    finally:
        await alice.client.close()
        await bob.client.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
