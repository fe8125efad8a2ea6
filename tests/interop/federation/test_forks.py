"""A room that both sides change while they cannot reach each other is one room again afterwards.

https://spec.matrix.org/v1.19/server-server-api/#room-state-resolution
"""

import time
from urllib.parse import quote

import pytest

from tests.harness import Client, room_path
from tests.interop.federation.sides import (
    Direction,
    Shared,
    bodies,
    history,
    membership,
    state,
    wait_for,
)
from tests.waiting import until

pytestmark = pytest.mark.interop


def give_power(shared: Shared, level: int = 50, **more: int) -> None:
    levels = state(shared.owner, shared.room_id, "m.room.power_levels") or {}
    levels["users"][shared.guest.user_id] = level
    event_id = shared.owner.send_state(shared.room_id, "m.room.power_levels", levels | more)
    wait_for(shared.guest, shared.room_id, event_id)


def heal(shared: Shared, last: tuple[str, str]) -> None:
    """The cable is plugged in again, and both sides get what was last said on the other."""
    direction = shared.direction
    direction.sides.mend()
    ours, theirs = last
    deadline = time.monotonic() + 60
    # Somebody says something now and then, as people do; that is what makes Synapse try again.
    while not (has(shared.guest, shared.room_id, ours) and has(shared.owner, shared.room_id, theirs)):
        assert time.monotonic() < deadline, "they do not find each other again"
        for client in shared.both:
            client.send(shared.room_id, "are you there?")
        time.sleep(2)


def has(client: Client, room_id: str, event_id: str) -> bool:
    return client.get(f"{room_path(room_id)}/event/{quote(event_id, safe='')}").status_code == 200


def is_one_again(shared: Shared) -> None:
    shared.agree()
    for client in (*shared.both, *shared.both):
        event_id = client.send(shared.room_id, "together again")
        for other in shared.both:
            wait_for(other, shared.room_id, event_id)
    sides = (shared.direction.home, shared.direction.away)

    def same() -> bool:
        ours, theirs = (shared.extremities(side) for side in sides)
        return ours == theirs and len(ours) == 1

    until(same, 20, f"the same extremities: {[shared.extremities(side) for side in sides]}")
    ours, theirs = (sorted(bodies(history(client, shared.room_id))) for client in shared.both)
    assert ours == theirs


def test_both_talk(direction: Direction) -> None:
    shared = direction.shared()
    shared.talk()
    direction.sides.cut()
    for number in range(5):
        last = (shared.owner.send(shared.room_id, f"owner {number}"),
                shared.guest.send(shared.room_id, f"guest {number}"))
    assert not has(shared.guest, shared.room_id, last[0])
    heal(shared, last)
    is_one_again(shared)


def test_both_set_state(direction: Direction) -> None:
    shared = direction.shared()
    give_power(shared)
    shared.talk()
    newcomer, friend = direction.away.register("newcomer"), direction.home.register("friend")
    direction.sides.cut()
    for client, name in ((shared.owner, "owner"), (shared.guest, "guest")):
        client.send_state(shared.room_id, "m.room.topic", {"topic": f"by the {name}"})
        client.send_state(shared.room_id, "m.room.name", {"name": f"Room of the {name}"})
        for number in range(5):
            client.send_state(shared.room_id, "org.example.entry", {"by": name}, f"key{number}")
            client.send_state(shared.room_id, "org.example.entry", {"by": name}, f"{name}{number}")
    newcomer.join(shared.room_id)
    friend.join(shared.room_id)
    last = tuple(client.send(shared.room_id, "the last") for client in shared.both)
    heal(shared, (last[0], last[1]))
    is_one_again(shared)
    for client in shared.both:
        assert membership(client, shared.room_id, newcomer.user_id) == "join"
        assert membership(client, shared.room_id, friend.user_id) == "join"
        for name in ("owner", "guest"):
            assert state(client, shared.room_id, "org.example.entry", f"{name}3") == {"by": name}


def test_a_ban_against_what_the_banned_did_meanwhile(direction: Direction) -> None:
    shared = direction.shared()
    give_power(shared)
    friend = direction.away.register("friend")
    direction.join(friend, shared.room_id)
    until(lambda: membership(shared.owner, shared.room_id, friend.user_id) == "join")
    shared.talk()
    direction.sides.cut()
    shared.owner.ban(shared.room_id, shared.guest.user_id)
    mine = shared.owner.send(shared.room_id, "the guest is banned")
    shared.guest.send_state(shared.room_id, "m.room.topic", {"topic": "by the banned"})
    theirs = friend.send(shared.room_id, "nobody has told us")
    rest = Shared(direction, shared.room_id, shared.owner, friend)
    heal(rest, (mine, theirs))
    is_one_again(rest)
    for client in rest.both:
        assert membership(client, shared.room_id, shared.guest.user_id) == "ban"
        assert (state(client, shared.room_id, "m.room.topic") or {}).get("topic") != "by the banned"
    answer = shared.guest.put(f"{room_path(shared.room_id)}/send/m.room.message/x", {"body": "still here"})
    assert answer.status_code == 403


def test_power_taken_away_while_it_is_used(direction: Direction) -> None:
    shared = direction.shared()
    give_power(shared)
    shared.talk()
    direction.sides.cut()
    levels = state(shared.owner, shared.room_id, "m.room.power_levels") or {}
    levels["users"].pop(shared.guest.user_id)
    shared.owner.send_state(shared.room_id, "m.room.power_levels", levels)
    shared.owner.send_state(shared.room_id, "m.room.topic", {"topic": "by the owner"})
    shared.guest.send_state(shared.room_id, "m.room.topic", {"topic": "by the guest"})
    shared.guest.send_state(shared.room_id, "m.room.name", {"name": "by the guest"})
    last = tuple(client.send(shared.room_id, "the last") for client in shared.both)
    heal(shared, (last[0], last[1]))
    is_one_again(shared)
