"""A client that only follows /sync ends with exactly the account that the plain API shows, over federation.

The model of `tests.scenarios.test_sync_model`, with people at two servers: a server joins a room whose state
comes later, invites, kicks and bans cross the cable, and both go on in the same rooms while it is pulled out.
When it is back, both servers come to have the same state, and every client knows the one of its own.
"""

import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.federation.cabled import Place, two_places
from tests.harness import PASSWORD, Client, ok, room_path
from tests.scenarios.test_sync_model import World

STEPS = int(os.environ.get("HEARTH_FEDERATED_STEPS", "60"))
SEEDS = range(1, 1 + int(os.environ.get("HEARTH_MODEL_SEEDS", "1")))
PEOPLE, ROOMS = (8, 4) if STEPS < 100 else (20, 10)
WITHIN = 60.0


class Across(World):
    most_rooms = ROOMS

    def __init__(self, seed: int, places: list[Place]) -> None:
        self.places = places
        self.via = {"via": [place.name for place in places], "server_name": [place.name for place in places]}
        self._numbers = itertools.count(1)
        super().__init__(seed, [_register(places[number % 2], number) for number in range(PEOPLE)])

    def cut(self) -> None:
        for place in self.places:
            place.proxy.pull()

    def mend(self) -> None:
        """And wait until both servers have the same state of every room that both are in."""
        for place in self.places:
            place.proxy.plug()
        deadline, poked = time.monotonic() + WITHIN, 0.0
        while apart := self._apart():
            assert time.monotonic() < deadline, "\n".join(apart)
            if time.monotonic() - poked > 1:
                self._poke()
                poked = time.monotonic()
            time.sleep(0.1)

    def _members(self, room: str) -> list[Client | None]:
        """Somebody at either place who is in the room, as its server says."""
        found: list[Client | None] = []
        for place in range(2):
            here = self.people[place::2]
            found.append(next((each for each in here if room in self._joined[each.user_id]), None))
        return found

    def _apart(self) -> list[str]:
        self._joined = {
            each.user_id: set(ok(each.get("/joined_rooms"))["joined_rooms"]) for each in self.people
        }
        apart = []
        for room in self.rooms:
            states = [_state(each, room) for each in self._members(room) if each is not None]
            if len(states) == 2 and states[0] != states[1]:
                apart.append(f"{room}: {states[0].items() ^ states[1].items()}")
            for state in states:  # who is said to have joined has, and nobody else
                members = {key: value[1] for (kind, key), value in state.items() if kind == "m.room.member"}
                said = {user_id for user_id, membership in members.items() if membership == "join"}
                really = {user_id for user_id, rooms in self._joined.items() if room in rooms}
                if said != really:
                    apart.append(f"{room}: {sorted(said ^ really)} joined or not")
        return apart

    def _poke(self) -> None:
        for room in self.rooms:
            for member in filter(None, self._members(room)):
                path = f"{room_path(room)}/send/m.room.message/poke{next(self._numbers)}"
                answer = member.put(path, {"msgtype": "m.text", "body": "poke"})
                assert answer.status_code in (200, 403), answer.text  # 403: was sent away just now


def _register(place: Place, number: int) -> Client:
    client = Client(place.process.url)
    body = {"username": f"p{number}", "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
    client.adopt(ok(client.post("/register", body)))
    return client


def _state(client: Client, room: str) -> dict[tuple[str, str], tuple[str, str | None]]:
    answer = client.get(f"{room_path(room)}/state")
    assert answer.status_code == 200, answer.text
    return {
        (each["type"], each["state_key"]): (each["event_id"], each["content"].get("membership"))
        for each in answer.json()
    }


@pytest.fixture
def places(tmp_path: Path) -> Iterator[list[Place]]:
    with two_places(tmp_path) as made:
        yield made


@pytest.mark.parametrize("seed", SEEDS)
def test_following_is_knowing(places: list[Place], seed: int) -> None:
    world = Across(seed, places)
    for step in range(STEPS):
        if step % 40 == 20:
            world.cut()
        world.step()
        world.sometimes_sync()
        if step % 40 == 39:
            world.mend()
            world.check()
        if step % 100 == 70:
            places[step // 100 % 2].process.kill()
            places[step // 100 % 2].process.start()
    world.mend()
    world.check()
    assert sum(follower.gaps for follower in world.followers) > 0
