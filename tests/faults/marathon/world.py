"""Four people with two devices and more at two servers, what they do, and which device must read what.

What must be read: a message by every device it was encrypted for, and by every device its sender could have
known. That is exact: a device of one's own server is known to whoever syncs; one of the other server if it,
its user's membership and a session with it were there when all was last quiet. Who leaves a room, and a
device that is given up, needs no longer read what it has not read yet.
"""

import random
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import TypeVar

from tests.faults.marathon.chaos import Chaos
from tests.faults.marathon.device import Device, Post, Said
from tests.faults.marathon.olm import MEGOLM
from tests.federation.cabled import Place
from tests.harness import room_path

T = TypeVar("T")
MOST_DEVICES = 4
AT_ONCE = 8
MOST_WORDS = 5
"""Messages that a device says from one sync to the next."""
QUIET_SECONDS = 180.0


@dataclass(eq=False)
class Person:
    name: str
    place: Place
    user_id: str
    devices: list[Device] = field(default_factory=list)
    settled: bool = False
    """Came or went nowhere since all was quiet."""

    @property
    def first(self) -> Device:
        return self.devices[0]


@dataclass(frozen=True)
class Owed:
    """A message that a device must still read."""

    room: "Room"
    speaker: Person
    text: str


@dataclass(eq=False)
class Room:
    room_id: str
    anchor: Person
    """Made it, and stays."""
    members: set[Person] = field(default_factory=set)
    unsure: set[Person] = field(default_factory=set)
    """Whose joining failed: the other server may think that it did not."""
    contested: set[Person] = field(default_factory=set)
    """Were sent away, and may not know."""
    moved: set[Person] = field(default_factory=set)
    """Came or went since all was quiet."""


class World:
    def __init__(self, places: list[Place], chaos: Chaos, seed: str, *, rooms: int = 3) -> None:
        self.random = random.Random(seed)
        self.chaos = chaos
        self.places = places
        self.post = Post()
        self.people: list[Person] = []
        self.gone: list[Device] = []
        self.must: dict[Device, dict[str, Owed]] = {}
        self.ready: dict[Device, set[str]] = {}
        """Which devices' keys and sessions each had when all was quiet."""
        self.said = 0
        self._pool = ThreadPoolExecutor(16)
        self.readings = 0
        self.acts = {"talk": 0, "login": 0, "logout": 0, "join": 0, "leave": 0, "kick": 0}
        self._devices = 0
        for number in range(4):
            place = places[number % 2]
            name = f"p{number}"
            person = Person(name, place, f"@{name}:{place.name}")
            self.people.append(person)
            for is_second in (False, True):
                self._log_in(person, new=not is_second)
        self.rooms = [self._room(self.people[number % 4]) for number in range(rooms)]
        for room in self.rooms:
            for person in self.people:
                self._join(person, room)

    def _log_in(self, person: Person, *, new: bool = False) -> None:
        self._devices += 1
        device = Device(person.place.process, person.name, f"DEVICE{self._devices}", self.post, new=new)
        person.devices.append(device)
        self.must[device] = {}
        self.ready[device] = set()

    def _room(self, owner: Person) -> Room:
        encryption = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": MEGOLM}}
        version = self.random.choice(["10", "11", "12"])
        options = {"preset": "public_chat", "room_version": version, "initial_state": [encryption]}
        return Room(owner.first.client.create_room(**options), owner, {owner})

    # what happens

    def step(self) -> None:
        act = self.random.choices(
            ["talk", "login", "logout", "join", "leave", "kick"], [20, 2, 1.5, 6, 1.8, 0.9]
        )[0]
        room, person = self.random.choice(self.rooms), self.random.choice(self._awake())
        self.acts[act] += 1
        if act != "talk":
            print(f"{time.monotonic():.1f} {act} {person.name} {self.rooms.index(room)}")
        if act == "talk":
            self._talk()
        elif act == "login" and len(person.devices) < MOST_DEVICES:
            self._log_in(person)
        elif act == "logout" and len(person.devices) > 2:
            device = person.devices.pop(self.random.randrange(len(person.devices)))
            del self.must[device]
            device.log_out()
            self.gone.append(device)
        elif act == "join" and person not in room.members | room.unsure | room.contested:
            self._join(person, room)
        elif act in ("leave", "kick") and person in room.members and person is not room.anchor:
            if act == "kick":
                if person in room.moved and person.place is not room.anchor.place:
                    return  # by the rules, a join that comes late may stand against the kick
                room.anchor.first.sync()
                room.anchor.first.look()
                if person.user_id not in room.anchor.first.members[room.room_id]:
                    return  # has not been seen there yet
            self._part(person, room, kicked=act == "kick")
        self._together(device.sync for person in self._awake() for device in person.devices
                       if self.random.random() < 0.3)  # fmt: skip

    def _awake(self) -> list[Person]:
        """Those whose server is there, as a rule: others find out that it is not, and wait."""
        down = None if self.random.random() < 0.05 else self.chaos.down
        return [person for person in self.people if person.place is not down]

    @property
    def devices(self) -> list[Device]:
        return [device for person in self.people for device in person.devices]

    def _together(self, calls: Iterable[Callable[[], T]]) -> list[T]:
        return list(self._pool.map(lambda call: call(), calls))

    def _talk(self) -> None:
        """Several devices at once."""
        awake = [device for person in self._awake() for device in person.devices]
        speakers = self.random.sample(awake, self.random.randint(1, min(AT_ONCE, len(awake))))
        self._all_say([(device, self.random.choice(self.rooms)) for device in speakers], MOST_WORDS)

    def _all_say(self, turns: list[tuple[Device, Room]], most: int) -> None:
        people = {device: person for person in self.people for device in person.devices}
        turns = [turn for turn in turns if people[turn[0]] in turn[1].members | turn[1].contested]
        texts, before = [], self.said
        for _ in turns:
            until = self.said + self.random.randint(1, most)
            texts.append([f"message {number}" for number in range(self.said + 1, until + 1)])
            self.said = until
        self.chaos.hear(self.said - before)
        calls = [partial(device.say, room.room_id, words)
                 for (device, room), words in zip(turns, texts, strict=True)]  # fmt: skip
        for (device, room), words, said in zip(turns, texts, self._together(calls), strict=True):
            speaker = people[device]
            if speaker in room.contested:
                continue
            if not device.trusted and room.room_id not in device.members:
                # Synapse keeps a room that it joined elsewhere out of /sync until it has all members (its
                # table un_partial_stated_room_stream named such rooms).
                continue
            assert len(said) == len(words), f"{device} may speak in {room.room_id}: {device.refusal}"
            for each, reader in product(said, self.devices):
                if self._must_read(device, speaker, reader, people[reader], room, each):
                    self.readings += 1
                    if reader.read.get(each.event_id) != each.text:
                        self.must[reader][each.event_id] = Owed(room, speaker, each.text)

    def _must_read(
        self, device: Device, speaker: Person, reader: Device, person: Person, room: Room, said: Said
    ) -> bool:
        if person not in room.members or reader is device:
            return False
        if person.place is speaker.place:
            known = True
        else:
            known = person.settled and speaker.settled and reader.device_id in self.ready[device]
        assert not known or reader.device_id in said.shared, (
            f"{device} did not encrypt {said.text} for {reader}; it knows {device.lists.get(person.user_id)},"
            f" members {device.members.get(room.room_id)}"
        )
        return reader.device_id in said.shared

    def _join(self, person: Person, room: Room) -> None:
        person.settled = False
        room.moved.add(person)
        if person.first.join(room.room_id, room.anchor.place.name):
            room.members.add(person)
            room.unsure.discard(person)
        else:
            room.unsure.add(person)

    def _part(self, person: Person, room: Room, *, kicked: bool) -> None:
        here = [each for each in room.members | room.unsure if each.place is person.place]
        if not person.first.trusted and here == [person]:
            # A Synapse whose last member left gives nobody what they missed: it was seen to send just the
            # leave after a cut, and to answer /get_missing_events with 403 "Host not in room".
            self.settle()
        person.settled = False
        room.moved.add(person)
        room.members.discard(person)
        path = room_path(room.room_id)
        if kicked:
            room.contested.add(person)
            answer = room.anchor.first.ask("post", f"{path}/kick", {"user_id": person.user_id})
            # 403: the answer to a first try was lost
            assert answer.status_code in (200, 403), answer.text
        else:
            answer = person.first.ask("post", f"{path}/leave")
            assert answer.status_code in (200, 403), answer.text
        for other in self.people:
            # What one who is sent away said before, and the other server has not heard, it need not take.
            lost = other is person or (kicked and other.place is not person.place)
            for device in other.devices if lost else ():
                self.must[device] = {
                    event_id: owed
                    for event_id, owed in self.must[device].items()
                    if owed.room is not room or person not in (other, owed.speaker)
                }

    # until all is quiet

    def settle(self) -> None:
        """Peace, until every device has read what it must and knows what there is to know."""
        with self.chaos.peace:
            deadline = time.monotonic() + QUIET_SECONDS
            poked, patience = 0.0, 0
            while wrong := self._what_is_wrong(patience):
                assert time.monotonic() < deadline, "never quiet:\n" + "\n".join([*wrong, *self._details()])
                if time.monotonic() - poked > 2:
                    print(f"{time.monotonic():.1f} not quiet yet: {len(wrong)}, {wrong[0]}")
                    self._poke()
                    poked = time.monotonic()
                patience = 500
            for person in self.people:
                person.settled = True
            for room in self.rooms:
                room.moved.clear()
        print(f"{time.monotonic():.1f} all is quiet after {self.said} messages")

    def _details(self) -> list[str]:
        """Of the messages that have not been read."""
        lines = []
        for device in self.devices:
            for event_id, owed in self.must[device].items():
                held = "has no key of" if event_id in device.unread else "has not seen"
                lines.append(f"{device} {held} {event_id}, {owed.text}")
            if self.must[device]:
                lines += device.syncs
        return lines

    def _poke(self) -> None:
        for room in self.rooms:
            for person in list(room.unsure):
                self._join(person, room)
            for place in self.places:
                one = next((each for each in room.members if each.place is place), None)
                if one is not None:
                    one.first.poke(room.room_id)

    def _what_is_wrong(self, patience: int) -> list[str]:
        """`patience`: milliseconds to wait for news."""
        for what in (partial(Device.sync, timeout=patience), Device.look, Device.refresh):
            self._together(partial(what, device) for device in self.devices)
        self._together(partial(self._scroll, device) for device in self.devices if not device.trusted)
        twice = [f"{device}: {message_id} came {times} times" for device in (*self.devices, *self.gone)
                 for message_id, times in device.got.items()
                 if times > self.post.copies.get(message_id, 1)]  # fmt: skip
        assert not twice, "\n".join(twice)
        wrong = [f"{device}: {each}" for device in (*self.devices, *self.gone) for each in device.complaints]
        assert not wrong, "\n".join(wrong)
        names = {device.device_id: device for device in self.devices}
        wrong += [f"{message_id} did not come to {names[device_id]}"
                  for message_id, device_id in self.post.taken.items()
                  if device_id in names and message_id not in names[device_id].got]  # fmt: skip
        for room in self.rooms:
            wrong += [f"{person.user_id} has not joined" for person in room.unsure]
            truth = {person.user_id for person in room.members}
            room.contested = {
                person for person in room.contested
                if any(room.room_id in device.members for device in person.devices)
            }  # fmt: skip
            for person in self.people:
                expected = truth if person in room.members else set()
                for device in person.devices:
                    found = device.members.get(room.room_id, set())
                    if found != expected:
                        where = f"in {room.room_id} of {room.anchor.user_id}"
                        wrong.append(f"{device} sees {sorted(found)} {where}, not {sorted(expected)}")
        users = {person.user_id: {device.device_id for device in person.devices} for person in self.people}
        for device in self.devices:
            wrong += [f"{device} has not read {owed.text} of {owed.speaker.user_id} in {owed.room.room_id}"
                      for owed in self._owed(device).values()]  # fmt: skip
            shared = {device.user_id}.union(*device.members.values())
            if device.trusted and (more := device.lists.keys() - shared):
                wrong.append(f"{device} was not told that {more} left")
            for user_id in shared if device.members else ():
                if set(device.lists.get(user_id, ())) != users[user_id]:
                    wrong.append(f"{device} knows {sorted(device.lists.get(user_id, ()))} of {user_id},"
                                 f" not {sorted(users[user_id])}")  # fmt: skip
        if not wrong:
            wrong += filter(None, self._together(partial(self._meet, device) for device in self.devices))
        return wrong

    def _scroll(self, device: Device) -> None:
        """Looks in the history for what its server's /sync left out.

        Synapse was seen to hold such events, accepted, in its table `events`: with negative stream orderings,
        as it fetched them when it had missed some, and no `limited` said so.
        """
        wanted: dict[str, set[str]] = {}
        for event_id, owed in self.must[device].items():
            if event_id not in device.seen and owed.room.room_id in device.members:
                wanted.setdefault(owed.room.room_id, set()).add(event_id)
        for room_id, event_ids in wanted.items():
            device.scroll_back(room_id, event_ids)

    def _meet(self, device: Device) -> str:
        peers = {each for room_id in device.members for each in device.peers(room_id)}
        met = device.meet(peers)
        self.ready[device] = {each.device_id for each in met}
        return f"{device} cannot claim keys of {peers - met}" if met != peers else ""

    def _owed(self, device: Device) -> dict[str, Owed]:
        owed = self.must[device]
        for event_id, each in list(owed.items()):
            if (read := device.read.get(event_id)) is not None:
                assert read == each.text
                del owed[event_id]
        return owed

    def last_round(self) -> None:
        """Everybody says something in every room, in peace: all read all of it."""
        self.settle()
        for room in self.rooms:
            self._all_say([(device, room) for device in self.devices], 1)
        self.settle()
