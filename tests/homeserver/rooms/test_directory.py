"""Names for rooms: who gives them, who takes them away, what m.room.canonical_alias may say."""

import pytest

from homeserver.errors import BadJson, Forbidden, InvalidParam, MatrixError, NotFound, RoomInUse
from homeserver.rooms.directory import AliasExists
from tests.homeserver.rooms.house import ALICE, BOB, CAROL, House

PUB = "#pub:here"


def test_an_alias_is_made_resolved_and_listed(house: House) -> None:
    room_id = house.room(BOB)
    house.run(house.directory.create(BOB, PUB, room_id))
    assert house.run(house.directory.resolve(PUB)) == (room_id, ["here"])
    assert house.run(house.directory.aliases_of(room_id)) == [PUB]
    with pytest.raises(AliasExists) as caught:
        house.run(house.directory.create(ALICE, PUB, house.room()))
    assert (caught.value.status, caught.value.errcode) == (409, "M_UNKNOWN")


def test_only_members_name_a_room_and_only_here(house: House) -> None:
    room_id = house.room()
    with pytest.raises(Forbidden):
        house.run(house.directory.create(CAROL, PUB, room_id))
    with pytest.raises(NotFound):
        house.run(house.directory.create(ALICE, PUB, "!nowhere:here"))
    for alias in ("#pub:elsewhere", "pub", "#pub", "#" + "x" * 300 + ":here", "!pub:here"):
        with pytest.raises(InvalidParam):
            house.run(house.directory.create(ALICE, alias, room_id))
    with pytest.raises(InvalidParam):
        house.run(house.directory.resolve("nonsense"))
    with pytest.raises(NotFound):
        house.run(house.directory.resolve("#nothing:here"))


def test_the_local_part_of_a_new_rooms_alias(house: House) -> None:
    assert house.directory.local_alias("pub") == PUB
    for localpart in ("", "a:b", "a b", "x" * 300):
        with pytest.raises(InvalidParam):
            house.directory.local_alias(localpart)


def test_a_room_is_created_with_its_alias(house: House) -> None:
    room_id = house.room(room_alias_name="pub")
    assert house.run(house.directory.resolve(PUB))[0] == room_id
    with pytest.raises(RoomInUse):
        house.room(room_alias_name="pub")


def test_creator_power_or_administrator_delete(house: House) -> None:
    room_id = house.room(BOB, CAROL)
    house.run(house.directory.create(BOB, PUB, room_id))
    with pytest.raises(Forbidden):
        house.run(house.directory.delete(CAROL, PUB))
    house.run(house.directory.delete(BOB, PUB))
    with pytest.raises(NotFound):
        house.run(house.directory.delete(BOB, PUB))
    for user_id, is_admin in ((ALICE, False), ("@root:here", True)):
        house.run(house.directory.create(BOB, PUB, room_id))
        house.run(house.directory.delete(user_id, PUB, is_admin=is_admin))
        assert house.run(house.directory.aliases_of(room_id)) == []


def test_a_deleted_alias_leaves_the_canonical_ones(house: House) -> None:
    room_id = house.room(BOB, room_alias_name="pub")
    house.run(house.directory.create(ALICE, "#inn:here", room_id))
    content = {"alias": PUB, "alt_aliases": [PUB, "#inn:here"], "kept": 1}
    house.set_state(room_id, "m.room.canonical_alias", content)
    house.run(house.directory.delete(ALICE, PUB))
    entry = house.run(house.history.state(room_id, ALICE))[("m.room.canonical_alias", "")]
    stored = house.run(house.events.get(entry.event_id))
    assert stored is not None
    assert stored.event.content == {"alt_aliases": ["#inn:here"], "kept": 1}


def test_the_canonical_alias_points_here(house: House) -> None:
    room_id, other = house.room(room_alias_name="pub"), house.room(room_alias_name="other")

    def refused(content: object) -> MatrixError:
        with pytest.raises(MatrixError) as caught:
            house.set_state(room_id, "m.room.canonical_alias", content)  # type: ignore[arg-type]
        return caught.value

    assert refused({"alias": "#other:here"}).errcode == "M_BAD_ALIAS"
    assert refused({"alias": PUB, "alt_aliases": ["#missing:here"]}).errcode == "M_BAD_ALIAS"
    assert refused({"alt_aliases": ["no alias"]}).errcode == "M_INVALID_PARAM"
    assert isinstance(refused({"alias": 5}), BadJson)
    assert isinstance(refused({"alt_aliases": "#pub:here"}), BadJson)
    house.set_state(room_id, "m.room.canonical_alias", {"alias": PUB, "alt_aliases": [PUB]})
    # What stands there already is not looked at again, though its alias be gone.
    house.run(house.directory.delete("@root:here", PUB, is_admin=True))
    house.set_state(room_id, "m.room.canonical_alias", {"alias": PUB, "alt_aliases": []})
    house.set_state(room_id, "m.room.canonical_alias", {})
    assert refused({"alias": PUB}).errcode == "M_BAD_ALIAS"
    assert house.run(house.directory.resolve("#other:here"))[0] == other


def test_publishing_needs_power(house: House) -> None:
    room_id = house.room(BOB)
    assert not house.run(house.directory.is_published(room_id))
    with pytest.raises(Forbidden):
        house.run(house.directory.set_published(BOB, room_id, True))
    house.run(house.directory.set_published(ALICE, room_id, True))
    assert house.run(house.directory.is_published(room_id))
    house.run(house.directory.set_published("@root:here", room_id, False, is_admin=True))
    assert not house.run(house.directory.is_published(room_id))
    for attempt in (
        house.directory.is_published("!nowhere:here"),
        house.directory.set_published(ALICE, "!nowhere:here", True),
    ):
        with pytest.raises(NotFound):
            house.run(attempt)
