"""The published directory: what a listing shows, how it keeps up, and that its size does not matter."""

import time
from typing import Any

import pytest

from homeserver.errors import InvalidParam
from homeserver.rooms.public_rooms import PublicRooms, Search, Summary
from storage import directory
from tests.homeserver.rooms.house import ALICE, BOB, CAROL, House


def listed(house: House, search: Search | None = None, **options: Any) -> list[str]:
    return [room["room_id"] for room in listing(house, search, **options)["chunk"]]


def listing(house: House, search: Search | None = None, **options: Any) -> dict[str, Any]:
    return house.run(house.public_rooms.page(search or Search(), **options))


def test_a_summary_shows_the_room(house: House) -> None:
    room_id = house.room(
        BOB,
        visibility="public",
        name="The Pub",
        topic="Beer",
        room_alias_name="pub",
        creation_content={"type": "m.space"},
    )
    expected = {
        "room_id": room_id,
        "name": "The Pub",
        "topic": "Beer",
        "canonical_alias": "#pub:here",
        "num_joined_members": 2,
        "world_readable": False,
        "guest_can_join": False,
        "join_rule": "public",
        "room_type": "m.space",
    }
    assert listing(house) == {"chunk": [expected], "total_room_count_estimate": 1}


def test_it_follows_what_happens(house: House) -> None:
    room_id = house.room(visibility="public", name="Old")
    [before] = listing(house)["chunk"]
    house.join(room_id, BOB)
    name = house.set_state(room_id, "m.room.name", {"name": "New"})
    house.set_visibility(room_id, "world_readable")
    house.set_state(room_id, "m.room.avatar", {"url": "mxc://here/a"})
    [after] = listing(house)["chunk"]
    assert after == {
        **before,
        "name": "New",
        "num_joined_members": 2,
        "world_readable": True,
        "avatar_url": "mxc://here/a",
    }
    house.run(house.rooms.redact(room_id, ALICE, name, None))
    [redacted] = listing(house)["chunk"]
    assert "name" not in redacted
    fresh = PublicRooms(house.db.database)
    assert house.run(fresh.page())["chunk"] == [redacted]


def test_only_published_rooms_with_members(house: House) -> None:
    hidden, left, shown = house.room(), house.room(visibility="public"), house.room(visibility="public")
    assert set(listed(house)) == {left, shown}
    house.leave(left, ALICE)
    assert listed(house) == [shown]
    house.run(house.directory.set_published(ALICE, hidden, True))
    house.run(house.directory.set_published(ALICE, shown, False))
    assert listed(house) == [hidden]


def test_the_largest_come_first_and_pages_fit(house: House) -> None:
    small = [house.room(visibility="public") for _ in range(3)]
    middle = house.room(BOB, visibility="public")
    large = house.room(BOB, CAROL, visibility="public")
    order = [large, middle, *sorted(small)]
    assert listed(house) == order
    first = listing(house, limit=2)
    assert "prev_batch" not in first
    second = listing(house, limit=2, since=first["next_batch"])
    third = listing(house, limit=2, since=second["next_batch"])
    assert "next_batch" not in third
    pages = [first, second, third]
    assert [room["room_id"] for page in pages for room in page["chunk"]] == order
    assert listing(house, limit=2, since=third["prev_batch"])["chunk"] == second["chunk"]
    assert listing(house, limit=2, since=second["prev_batch"])["chunk"] == first["chunk"]
    assert "prev_batch" not in listing(house, limit=2, since=second["prev_batch"])
    for token in ("nonsense", "", "ünïcödé", "WyJuIl0"):
        with pytest.raises(InvalidParam):
            listing(house, since=token)


def test_searching(house: House) -> None:
    space = house.room(visibility="public", name="Straße", creation_content={"type": "m.space"})
    pub = house.room(visibility="public", topic="all about CHEESE")
    assert listed(house, Search(term="cheese")) == [pub]
    assert listed(house, Search(term="strasse")) == [space]
    assert listed(house, Search(room_types=frozenset(["m.space"]))) == [space]
    assert listed(house, Search(room_types=frozenset([None]))) == [pub]
    assert set(listed(house, Search(room_types=frozenset([None, "m.space"])))) == {space, pub}
    assert listing(house, Search(term="nothing")) == {"chunk": [], "total_room_count_estimate": 0}


def test_networks_of_application_services(house: House) -> None:
    own, bridged = house.room(visibility="public"), house.room()
    assert listed(house) == [own]
    house.db.write(directory.publish, bridged, "irc")
    assert listed(house) == [own]
    assert listed(house, Search(network="irc")) == [bridged]
    assert set(listed(house, Search(network=None))) == {own, bridged}
    house.db.write(directory.unpublish, bridged, "irc")
    assert listed(house, Search(network=None)) == [own]


def test_five_thousand_rooms_are_listed_quickly(house: House) -> None:
    names = {}
    for number in range(5000):
        room_id = f"!{number:05}:here"
        names[room_id] = {""}
        shown = {"m.room.name": f"Room {number}", "m.room.topic": "talk " * 20}
        house.public_rooms._put(Summary(room_id, number % 100 + 1, shown))
    house.public_rooms._networks = names
    listing(house, limit=20)
    started = time.perf_counter()
    for number in range(20):
        page = listing(house, Search(term=f"room {number}"), limit=20)
        assert page["chunk"]
        house.public_rooms._put(Summary("!00001:here", number + 1, {}))
    assert (time.perf_counter() - started) / 20 < 0.05
