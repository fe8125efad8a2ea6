"""Ann and Bob talk in an encrypted room, each through matrix-nio at a server of their own. Run in the
environment nio is installed in:

    python nio_across.py ANNS_URL ANNS_SERVER_NAME BOBS_URL BOBS_SERVER_NAME ROOM_VERSION DIRECTORY

Bob takes a second device, which hears what is said from then on, and gives it up again: Ann notices both.
https://spec.matrix.org/v1.19/client-server-api/#tracking-the-device-list-for-a-user
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from tests.interop.nio_conversation import Person, good


class SecondDevice(Person):
    """Cannot read what was said before it was there."""

    async def _fail(self, room: Any, event: Any) -> None:
        pass


def devices_of(person: Person, user_id: str) -> set[str]:
    """Those that this client believes another has."""
    store = person.client.olm.device_store
    return {device_id for device_id, device in store[user_id].items() if not device.deleted}


async def all_hear(said: list[tuple[str, str]], *people: Person) -> None:
    for person in people:
        await person.sync_until(lambda: len(person.heard) >= len(said), "all that was said")  # noqa: B023
        assert person.heard == said, (person.name, person.heard, said)


async def converse(ann: Person, bob: Person, version: str, bobs_second: Person) -> int:
    await ann.enter()
    await bob.enter()
    megolm = {"algorithm": "m.megolm.v1.aes-sha2"}
    encryption = {"type": "m.room.encryption", "state_key": "", "content": megolm}
    created = good(await ann.client.room_create(room_version=version, initial_state=[encryption]))
    room_id = created.room_id
    good(await ann.client.room_invite(room_id, bob.user_id))
    await bob.sync_until(lambda: room_id in bob.client.invited_rooms, "the invite")
    good(await bob.client.join(room_id))
    for person in (ann, bob):
        await person.sync_until(lambda: person.sees_both(room_id), "both to be in the room")  # noqa: B023
    assert ann.client.rooms[room_id].encrypted and bob.client.rooms[room_id].encrypted

    said: list[tuple[str, str]] = []

    async def say(person: Person, text: str) -> None:
        await person.say(room_id, text)
        said.append((person.user_id, text))

    for number in range(3):
        await say(ann, f"Hello Bob, {number}")
        await all_hear(said, ann, bob)
        await say(bob, f"Hello Ann, {number}")
        await all_hear(said, ann, bob)

    await bobs_second.log_in()
    second = bobs_second.client.device_id
    await ann.sync_until(lambda: second in devices_of(ann, bob.user_id), "Bob's second device")
    before = len(said)
    await say(ann, "Hello both of you")
    await all_hear(said, ann, bob)
    await bobs_second.sync_until(lambda: len(bobs_second.heard) >= 1, "what Ann says to the second device")
    assert bobs_second.heard == said[before:]
    await bobs_second.say(room_id, "From the second device")
    said.append((bob.user_id, "From the second device"))
    await all_hear(said, ann, bob)

    good(await bobs_second.client.logout())
    await ann.sync_until(lambda: second not in devices_of(ann, bob.user_id), "the second device to be gone")
    await say(ann, "Only you again")
    await all_hear(said, ann, bob)
    return len(said)


async def main(urls: tuple[str, str], names: tuple[str, str], version: str, directory: Path) -> None:
    unique = f"{time.time_ns():x}"
    ann = Person(f"ann{unique}", urls[0], directory, names[0])
    bob = Person(f"bob{unique}", urls[1], directory, names[1])
    bobs_second = SecondDevice(f"bob{unique}", urls[1], directory, names[1], "-second")
    try:
        print(json.dumps({"done": await converse(ann, bob, version, bobs_second)}), flush=True)
    finally:
        for person in (ann, bob, bobs_second):
            await person.client.close()


if __name__ == "__main__":
    first, first_name, other, other_name, room_version, place = sys.argv[1:]
    asyncio.run(main((first, other), (first_name, other_name), room_version, Path(place)))
