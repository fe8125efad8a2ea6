"""However Alice and Bob of another server meet and part: each knows the other's devices, and only then.

https://spec.matrix.org/v1.19/client-server-api/#tracking-the-device-list-for-a-user

What they know is what a client knows that asks only for lists it was told have changed, and forgets those it
was told to have left.
"""

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.marathon.device import KEYS, Device, Post
from tests.faults.marathon.olm import ONE_TIME
from tests.federation.cabled import Place, two_places
from tests.harness import Json, ok, room_path
from tests.homeserver.devices.people import Identity
from tests.waiting import until

_numbers = itertools.count(1)


class Pair:
    """Alice at one server and Bob at the other, in a room of hers."""

    def __init__(self, places: list[Place]) -> None:
        self.places = places
        self.post = Post()
        self.alice, self.bob = self.device(0, "alice"), self.device(1, "bob")
        self.room_id = self.alice.client.create_room(preset="public_chat")
        self.bob_joins()
        self.know()

    def device(self, place: int, name: str, *, new: bool = True) -> Device:
        number = next(_numbers)
        user = f"{name}{number}" if new else name
        return Device(self.places[place].process, user, f"D{number}", self.post, new=new)

    def bobs_new_device(self) -> Device:
        return self.device(1, self.bob.user_id[1:].partition(":")[0], new=False)

    def bob_joins(self) -> None:
        assert self.bob.join(self.room_id, self.places[0].name)

    def does(self, verb: str, who: Device, **body: str) -> None:
        assert who.ask("post", f"{room_path(self.room_id)}/{verb}", body).status_code == 200

    def know(self, *bobs: Device) -> None:
        """Alice knows these devices of Bob, and Bob knows Alice's."""
        _sees(self.alice, self.bob, {device.device_id for device in bobs or (self.bob,)})
        _sees(self.bob, self.alice, {self.alice.device_id})

    def part(self) -> None:
        _sees(self.alice, self.bob, None)
        _sees(self.bob, self.alice, None)


def _sees(device: Device, other: Device, device_ids: set[str] | None) -> None:
    def seen() -> bool:
        device.sync()
        device.refresh()
        known = device.lists.get(other.user_id)
        return (None if known is None else set(known)) == device_ids

    until(seen, 30, f"{device} knows {device_ids} of {other.user_id}")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Place]]:
    with two_places(tmp_path_factory.mktemp("lists")) as made:
        yield made


@pytest.fixture
def pair(places: list[Place]) -> Pair:
    return Pair(places)


PARTINGS: dict[str, Callable[[Pair], None]] = {
    "Bob leaves": lambda pair: pair.does("leave", pair.bob),
    "Alice leaves": lambda pair: pair.does("leave", pair.alice),
    "Bob is kicked": lambda pair: pair.does("kick", pair.alice, user_id=pair.bob.user_id),
    "Bob is banned": lambda pair: pair.does("ban", pair.alice, user_id=pair.bob.user_id),
}


@pytest.mark.parametrize("parting", PARTINGS)
def test_they_part_and_meet_again(pair: Pair, parting: str) -> None:
    """Bob's devices change while they have nothing to do with each other."""
    PARTINGS[parting](pair)
    pair.part()
    second = pair.bobs_new_device()
    if parting == "Bob is banned":
        pair.does("unban", pair.alice, user_id=pair.bob.user_id)
    if parting == "Alice leaves":
        assert pair.alice.join(pair.room_id, pair.places[1].name)
    else:
        pair.bob_joins()
    pair.know(pair.bob, second)


def test_another_room_is_still_shared(pair: Pair) -> None:
    first, pair.room_id = pair.room_id, pair.alice.client.create_room(preset="public_chat")
    pair.bob_joins()
    pair.bob.expect("post", f"{room_path(first)}/leave")
    pair.know(pair.bob, pair.bobs_new_device())


def test_devices_change_while_the_cable_is_out(pair: Pair) -> None:
    for place in pair.places:
        place.proxy.pull()
    second, third = pair.bobs_new_device(), pair.bobs_new_device()
    second.log_out()
    for place in pair.places:
        place.proxy.plug()
    pair.know(pair.bob, third)


def test_bob_leaves_and_comes_back_while_alices_server_is_away(pair: Pair) -> None:
    """Somebody else keeps the room at Bob's server."""
    other = pair.device(1, "other")
    assert other.join(pair.room_id, pair.places[0].name)
    pair.places[0].process.kill()
    pair.does("leave", pair.bob)
    second = pair.bobs_new_device()
    pair.bob_joins()
    pair.places[0].process.start()
    other.poke(pair.room_id)
    pair.know(pair.bob, second)


def test_cross_signing_is_reset(pair: Pair) -> None:
    """Alice's signature of the first key is not shown with the second."""

    def reset() -> Identity:
        identity = Identity(pair.bob.user_id)
        keys = {f"{usage}_key": key for usage, key in identity.keys().items()}
        path = "/keys/device_signing/upload"
        answer = pair.bob.ask("post", path, keys)
        if answer.status_code == 401:
            password = {"type": "m.login.password", "password": "correct horse battery staple",
                        "identifier": {"type": "m.id.user", "user": pair.bob.user_id}}  # fmt: skip
            pair.bob.expect("post", path, {**keys, "auth": {**password, "session": answer.json()["session"]}})
        return identity

    def master() -> Json:
        query: Json = {"device_keys": {pair.bob.user_id: []}}
        found = pair.alice.expect("post", "/keys/query", query)["master_keys"]
        return dict(found.get(pair.bob.user_id, {}))

    def told_of(identity: Identity) -> bool:
        pair.alice.sync()
        told, key = pair.bob.user_id in pair.alice.dirty, identity.key("master")["keys"]
        pair.alice.refresh()
        return told and master().get("keys") == key

    first = reset()
    until(lambda: told_of(first), 30, "Alice is told of the first keys")
    alice = Identity(pair.alice.user_id)
    keys = {f"{usage}_key": key for usage, key in alice.keys().items()}
    pair.alice.expect("post", "/keys/device_signing/upload", keys)
    signed = alice.sign(first.key("master"), "user_signing")
    body = {pair.bob.user_id: {first.public("master"): signed}}
    assert pair.alice.expect("post", "/keys/signatures/upload", body)["failures"] == {}
    assert pair.alice.user_id in master()["signatures"]
    second = reset()
    until(lambda: told_of(second), 30, "Alice is told of the second keys")
    assert pair.alice.user_id not in master().get("signatures", {})


def test_a_device_that_was_deleted_leaves_nothing_to_one_of_the_same_name(pair: Pair) -> None:
    user, device_id = pair.bob.user_id, pair.bob.device_id
    second = pair.bobs_new_device()
    message = {user: {"*": {"org.matrix.msgid": "old"}}}
    ok(pair.alice.client.put("/sendToDevice/m.room.encrypted/x", {"messages": message}))

    def arrived() -> int:
        second.sync()
        return second.got["old"]

    until(arrived, 30, "the message comes to all devices")
    pair.bob.log_out()
    again = Device(pair.places[1].process, user[1:].partition(":")[0], device_id, pair.post, new=False)
    _sees(again, pair.alice, {pair.alice.device_id})
    assert not again.got
    until(lambda: _has_keys_of(pair.alice, again), 30, "Alice has the new keys")
    peers = set(pair.alice.lists[user].values())
    assert pair.alice.meet(peers) == peers, "the keys are claimed that the new device has uploaded"


def _has_keys_of(device: Device, other: Device) -> bool:
    device.sync()
    device.refresh()
    return other.olm.curve in {each.curve for each in device.lists.get(other.user_id, {}).values()}


def test_no_key_is_claimed_twice(pair: Pair) -> None:
    """Of fifty keys sixty are claimed, from both servers at once."""
    second = pair.bobs_new_device()
    wanted = {"one_time_keys": {pair.bob.user_id: {pair.bob.device_id: ONE_TIME}}}

    def claim(device: Device) -> list[str]:
        found = device.expect("post", "/keys/claim", wanted)["one_time_keys"]
        return list(found.get(pair.bob.user_id, {}).get(pair.bob.device_id, {}))

    with ThreadPoolExecutor(8) as pool:
        claimed = [key for keys in pool.map(claim, [pair.alice, second] * 30) for key in keys]
    assert len(claimed) == len(set(claimed)) == KEYS
