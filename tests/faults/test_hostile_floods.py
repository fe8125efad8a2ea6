"""However much a server sends, what is not ours costs nothing that lasts, and nobody waits for it.

https://spec.matrix.org/v1.19/server-server-api/#edus
"""

from collections.abc import Callable, Iterator

import pytest

from tests.faults.hostile import Scene, bodies, read_back, scene
from tests.harness import Json


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("floods")) as made:
        yield made
        assert not made.hearth.internal_errors()


def typing(here: Scene, room_id: str, number: int) -> Json:
    user_id = f"@typist{number}:{here.remote.name}"
    return {"edu_type": "m.typing", "content": {"room_id": room_id, "user_id": user_id, "typing": True}}


def receipt(here: Scene, room_id: str, number: int) -> Json:
    user_id = f"@reader{number}:{here.remote.name}"
    read = {"data": {"ts": number}, "event_ids": [f"$none{number}"]}
    return {"edu_type": "m.receipt", "content": {room_id: {"m.read": {user_id: read}}}}


def presence(here: Scene, room_id: str, number: int) -> Json:
    push = {"user_id": f"@stranger{number}:{here.remote.name}", "presence": "online", "status_msg": "x" * 500}
    return {"edu_type": "m.presence", "content": {"push": [push]}}


def device_list(here: Scene, room_id: str, number: int) -> Json:
    content = {
        "user_id": f"@stranger{number}:{here.remote.name}", "device_id": "D", "stream_id": number,
        "prev_id": [number - 1],
    }
    return {"edu_type": "m.device_list_update", "content": content}


def to_device(here: Scene, room_id: str, number: int) -> Json:
    content = {
        "sender": f"@owner:{here.remote.name}", "type": "m.knock", "message_id": f"k{number}",
        "messages": {f"@nobody{number}:{here.name}": {"*": {"text": "x" * 500}}},
    }
    return {"edu_type": "m.direct_to_device", "content": content}


def unknown(here: Scene, room_id: str, number: int) -> Json:
    return {"edu_type": f"org.example.{number}", "content": {"room_id": room_id, "deep": [[[[[[number]]]]]]}}


def nonsense(here: Scene, room_id: str, number: int) -> Json:
    kinds = ["m.typing", "m.receipt", "m.presence", "m.device_list_update", "m.direct_to_device",
             "m.signing_key_update"]
    contents: list[Json] = [
        {}, {"user_id": 5}, {"room_id": [], "user_id": {}, "typing": "x"}, {"push": [1, None, {}]},
        {room_id: {"m.read": {"x": 1}}}, {room_id: []}, {"messages": {"@a:b": []}}, {"messages": 1},
        {"sender": here.name, "type": 1, "messages": {}}, {"user_id": "@x:y", "stream_id": "z"},
        {"user_id": f"@s:{here.remote.name}", "stream_id": 2**70, "prev_id": {}, "device_id": 1},
        {"user_id": f"@s:{here.remote.name}", "master_key": 1, "self_signing_key": []},
    ]
    return {"edu_type": kinds[number % len(kinds)], "content": contents[(number // 6) % len(contents)]}


FLOODS = [typing, receipt, presence, device_list, to_device, unknown, nonsense]


@pytest.mark.parametrize("transactions", [6, pytest.param(20, marks=pytest.mark.interop)])
@pytest.mark.parametrize("edu", FLOODS)
def test_edu_floods(here: Scene, edu: Callable[[Scene, str, int], Json], transactions: int) -> None:
    room = here.remote.make_room("11", members=1)
    alice = here.join(room)
    with here.undisturbed(megabytes=60):
        edus = [edu(here, room.room_id, number) for number in range(100 * transactions)]
        assert here.remote.send(here.name, edus=edus) == {}
        hello = room.say("after the flood")
        assert here.remote.send(here.name, [hello]) == {hello.event_id: {}}
        assert bodies(read_back(alice, room.room_id)) == ["after the flood"]
        alice.sync()


def test_edus_in_the_name_of_others(here: Scene) -> None:
    """A server speaks for its own users only."""
    room = here.remote.make_room("11", members=1)
    alice, bob = here.join(room), here.join(room)
    alice.sync()
    read = {"event_ids": [room.extremities[0]], "data": {"ts": 1}}
    contents: dict[str, Json] = {
        "m.typing": {"room_id": room.room_id, "user_id": bob.user_id, "typing": True},
        "m.presence": {"push": [{"user_id": bob.user_id, "presence": "unavailable"}]},
        "m.receipt": {room.room_id: {"m.read": {bob.user_id: read}}},
        "m.device_list_update": {
            "user_id": bob.user_id, "device_id": "LIE", "stream_id": 5, "prev_id": [],
        },
        "m.direct_to_device": {
            "sender": bob.user_id, "type": "m.lie", "message_id": "l",
            "messages": {alice.user_id: {"*": {"text": "trust me"}}},
        },
    }
    lies = [{"edu_type": kind, "content": content} for kind, content in contents.items()]
    assert here.remote.send(here.name, edus=lies) == {}
    news = alice.sync(timeout=500)
    assert not news.get("to_device", {}).get("events")
    assert "unavailable" not in str(news.get("presence", {}))
    ephemeral = str(news.get("rooms", {}).get("join", {}).get(room.room_id, {}).get("ephemeral", {}))
    assert bob.user_id not in ephemeral
    assert bob.user_id not in news.get("device_lists", {}).get("changed", [])


@pytest.mark.parametrize("count", [800, pytest.param(3000, marks=pytest.mark.interop)])
def test_a_flood_of_events(here: Scene, count: int) -> None:
    """Events in a row by the thousand, and the bystander's room goes on as before."""
    room = here.remote.make_room("11", members=5)
    alice = here.join(room)
    said = room.chat(count)
    with here.undisturbed(megabytes=120, seconds=60):
        results = here.remote.send(here.name, said)
    assert results == {each.event_id: {} for each in said}
    assert bodies(read_back(alice, room.room_id)) == [f"message {n}" for n in range(count)]


def test_a_flood_of_rooms_nobody_knows(here: Scene) -> None:
    with here.undisturbed(megabytes=60):
        for number in range(20):
            room = here.remote.make_room("11", f"unknown{number}")
            events = room.chat(50)
            results = here.remote.send(here.name, events)
            assert all("error" in result for result in results.values())


def test_extremities_by_the_thousand(here: Scene) -> None:
    """A remote may fork a room as it likes; our next events still name at most twenty predecessors."""
    room = here.remote.make_room("11", members=1)
    alice = here.join(room)
    root = list(room.extremities)
    tips = [room.make("m.room.message", {"body": f"tip {n}"}, prev=root, ts=n + 1) for n in range(300)]
    with here.undisturbed():
        assert here.remote.send(here.name, tips) == {each.event_id: {} for each in tips}
        for each in tips:
            room.add(each)
        ours = here.remote.wait_for(alice.send(room.room_id, "one of many"))
        assert len(ours.prev_events) <= 20
        for number in range(20):
            alice.send(room.room_id, f"fewer and fewer {number}")
        last = here.remote.wait_for(alice.send(room.room_id, "the last"))
        assert last.prev_events
