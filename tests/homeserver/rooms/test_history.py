"""Who reads what of a room's past, and how pages fit together."""

import pytest

from homeserver.errors import Forbidden, InvalidParam, NotFound
from homeserver.sync.filters import parse_room_event_filter
from homeserver.sync.tokens import StreamToken
from storage import state_at
from tests.homeserver.rooms.house import ALICE, BOB, CAROL, House, bodies


def test_pages_reach_the_first_event_in_both_directions(house: House) -> None:
    room_id = house.room()
    for number in range(7):
        house.say(room_id, str(number))
    whole = house.messages(room_id)
    assert whole.events[-1].event.type == "m.room.create"
    assert whole.end is None
    for backwards in (True, False):
        found, start = [], None
        while True:
            page = house.messages(room_id, backwards=backwards, start=start, limit=3)
            found += [stored.event_id for stored in page.events]
            assert start is None or page.start == start
            if page.end is None:
                break
            start = page.end
        expected = [stored.event_id for stored in whole.events]
        assert found == (expected if backwards else expected[::-1])


def test_a_page_stops_at_to(house: House) -> None:
    room_id = house.room()
    house.say(room_id, "0")
    token = str(StreamToken(house.db.database.position))
    for number in range(1, 4):
        house.say(room_id, str(number))
    assert house.read(room_id, ALICE, stop=token) == ["0"]
    assert house.read(room_id, ALICE, start=token) == ["1", "2", "3"]
    assert bodies(house.messages(room_id, stop=token)) == ["3", "2", "1"]
    assert bodies(house.messages(room_id, start=token)) == ["0"]
    first = house.messages(room_id, limit=1)
    assert bodies(house.messages(room_id, start=first.end, limit=1)) == ["2"]
    assert bodies(house.messages(room_id, stop=first.end)) == ["3"]


def test_a_foreign_token_is_refused(house: House) -> None:
    room_id = house.room()
    for token in ("x", "t1", "s1_2_3", "t1_99999999999999999999999"):
        with pytest.raises(InvalidParam):
            house.messages(room_id, start=token)


def test_nothing_is_asked_for(house: House) -> None:
    room_id = house.room()
    page = house.messages(room_id, limit=0)
    assert page.events == []
    assert page.end == page.start


def test_shared_history_is_open_to_those_who_join_later(house: House) -> None:
    room_id = house.room()
    house.say(room_id, "before")
    house.join(room_id, BOB)
    assert house.read(room_id, BOB) == ["before"]


def test_a_shared_room_looks_at_no_state(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    room_id = house.room(BOB)
    house.say(room_id, "hello")

    def refuse(*args: object) -> None:
        raise AssertionError("state was looked at")

    monkeypatch.setattr(state_at, "at", refuse)
    assert house.read(room_id, BOB) == ["hello"]


def test_joined_history_begins_with_the_join(house: House) -> None:
    room_id = house.room()
    house.set_visibility(room_id, "joined")
    hidden = house.say(room_id, "before")
    house.join(room_id, BOB)
    house.say(room_id, "after")
    assert house.read(room_id, BOB) == ["after"]
    page = house.messages(room_id, BOB)
    assert page.end is None
    assert [event.event.membership for event in page.events if event.event.state_key == BOB] == ["join"]
    # What was sent before the visibility was restricted stays open, and so does the restriction itself.
    assert page.events[-1].event.type == "m.room.create"
    assert any(event.event.content.get("history_visibility") == "joined" for event in page.events)
    with pytest.raises(NotFound):
        house.run(house.history.event(room_id, BOB, hidden))
    with pytest.raises(NotFound):
        house.context(room_id, BOB, hidden)


def test_invited_history_begins_with_the_invite(house: House) -> None:
    room_id = house.room()
    house.set_visibility(room_id, "invited")
    house.say(room_id, "before")
    house.run(house.rooms.invite(room_id, ALICE, BOB))
    house.say(room_id, "invited")
    with pytest.raises(Forbidden):
        house.messages(room_id, BOB)
    house.join(room_id, BOB)
    assert house.read(room_id, BOB) == ["invited"]


def test_who_left_reads_up_to_the_leave(house: House) -> None:
    room_id = house.room(BOB)
    before = house.say(room_id, "before")
    house.leave(room_id, BOB)
    after = house.say(room_id, "after")
    assert house.read(room_id, BOB) == ["before"]
    assert house.messages(room_id, BOB).events[0].event.membership == "leave"
    assert house.messages(room_id, BOB, start=str(StreamToken(10_000))).events[0].event.membership == "leave"
    stored, view, _ = house.run(house.history.event(room_id, BOB, before))
    assert view is not None and view.membership_of(stored) == "join"
    with pytest.raises(NotFound):
        house.run(house.history.event(room_id, BOB, after))
    around = house.context(room_id, BOB, before)
    assert [event.event.type for event in around.after] == ["m.room.member"]
    house.run(house.rooms.ban(room_id, ALICE, BOB))
    assert house.read(room_id, BOB) == ["before"]


def test_who_comes_back_reads_what_was_shared_meanwhile(house: House) -> None:
    room_id = house.room(BOB)
    house.leave(room_id, BOB)
    house.say(room_id, "meanwhile")
    house.join(room_id, BOB)
    assert house.read(room_id, BOB) == ["meanwhile"]
    house.leave(room_id, BOB)
    assert house.read(room_id, BOB) == ["meanwhile"]


def test_a_forgotten_room_is_closed(house: House) -> None:
    room_id = house.room(BOB)
    house.leave(room_id, BOB)
    house.run(house.rooms.forget(BOB, room_id))
    with pytest.raises(Forbidden):
        house.messages(room_id, BOB)


def test_strangers_read_what_is_world_readable(house: House) -> None:
    room_id = house.room()
    with pytest.raises(Forbidden):
        house.messages(room_id, CAROL)
    house.say(room_id, "shared")
    house.set_visibility(room_id, "world_readable")
    house.say(room_id, "open")
    assert house.read(room_id, CAROL) == ["open"]
    assert house.run(house.history.state(room_id, CAROL))
    house.set_visibility(room_id, "shared")
    with pytest.raises(Forbidden):
        house.messages(room_id, CAROL)


def test_an_unknown_room_is_like_one_you_are_not_in(house: House) -> None:
    with pytest.raises(Forbidden):
        house.messages("!nowhere:here", ALICE)
    with pytest.raises(NotFound):
        house.run(house.history.event("!nowhere:here", ALICE, "$e"))


def test_an_event_is_found_in_its_own_room_only(house: House) -> None:
    here, there = house.room(), house.room()
    event_id = house.say(here, "hello")
    assert house.run(house.history.event(here, ALICE, event_id))[0].event_id == event_id
    with pytest.raises(NotFound):
        house.run(house.history.event(there, ALICE, event_id))


def test_ignored_people_are_not_heard(house: House) -> None:
    room_id = house.room(BOB)
    house.say(room_id, "annoying", BOB)
    house.ignored[ALICE] = frozenset([BOB])
    page = house.messages(room_id)
    assert bodies(page) == []
    assert any(stored.event.state_key == BOB for stored in page.events)


def test_a_filtered_page_is_filled(house: House) -> None:
    room_id = house.room(BOB)
    for number in range(150):
        house.say(room_id, str(number), BOB if number % 50 == 0 else ALICE)
    wanted = parse_room_event_filter('{"senders":["@bob:here"],"types":["m.room.message"]}')
    page = house.messages(room_id, limit=2, wanted=wanted)
    assert bodies(page) == ["100", "50"]
    rest = house.messages(room_id, start=page.end, wanted=wanted)
    assert (bodies(rest), rest.end) == (["0"], None)
    assert house.messages(room_id, wanted=parse_room_event_filter('{"limit":0}')).events == []


def test_filters_on_urls_and_relations(house: House) -> None:
    room_id = house.room(BOB)
    root = house.say(room_id, "root")
    house.say(room_id, "picture", url="mxc://here/x")
    relation = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
    house.say(room_id, "reply", BOB, **relation)
    messages = '"types":["m.room.message"]'
    for rule, expected in [
        ('"contains_url":true', ["picture"]),
        ('"contains_url":false', ["root", "reply"]),
        ('"related_by_rel_types":["m.thread"]', ["root"]),
        ('"related_by_rel_types":["m.edit"]', []),
        ('"related_by_senders":["@bob:here"],"related_by_rel_types":["m.thread"]', ["root"]),
        ('"related_by_senders":["@alice:here"]', []),
    ]:
        wanted = parse_room_event_filter(f"{{{messages},{rule}}}")
        assert house.read(room_id, ALICE, wanted=wanted) == expected, rule


def test_lazy_members_of_a_page_are_its_senders(house: House) -> None:
    room_id = house.room(BOB, CAROL)
    house.say(room_id, "hello", BOB)
    lazy = parse_room_event_filter('{"lazy_load_members":true}')
    page = house.messages(room_id, limit=1, wanted=lazy)
    assert [stored.event.state_key for stored in page.state] == [BOB]
    assert house.messages(room_id, limit=1).state == []


def test_context_surrounds_an_event(house: House) -> None:
    room_id = house.room(BOB)
    ids = [house.say(room_id, str(number)) for number in range(9)]
    found = house.context(room_id, BOB, ids[4], limit=4)
    assert found.event.event_id == ids[4]
    assert [stored.event_id for stored in found.before] == [ids[3], ids[2]]
    assert [stored.event_id for stored in found.after] == [ids[5], ids[6]]
    assert bodies(house.messages(room_id, start=found.start, limit=2)) == ["1", "0"]
    assert house.read(room_id, ALICE, start=found.end) == ["7", "8"]
    members = [stored for stored in found.state if stored.event.type == "m.room.member"]
    assert {stored.event.state_key for stored in members} == {ALICE, BOB}
    lazy = parse_room_event_filter('{"lazy_load_members":true}')
    found = house.context(room_id, BOB, ids[4], limit=0, wanted=lazy)
    assert (found.before, found.after) == ([], [])
    members = [stored for stored in found.state if stored.event.type == "m.room.member"]
    assert [stored.event.state_key for stored in members] == [ALICE]
    assert any(stored.event.type == "m.room.create" for stored in found.state)


def test_the_membership_at_each_event(house: House) -> None:
    room_id = house.room()
    house.say(room_id, "before")
    house.run(house.rooms.invite(room_id, ALICE, BOB))
    house.say(room_id, "invited")
    house.join(room_id, BOB)
    house.say(room_id, "joined")
    expected = {"before": "leave", "invited": "invite", "joined": "join"}
    for visibility in ("shared", "joined"):
        page = house.messages(room_id, BOB)
        found = {
            stored.event.content["body"]: page.view.membership_of(stored)
            for stored in page.events
            if "body" in stored.event.content
        }
        assert found == expected
        house.set_visibility(room_id, visibility)


def test_members_now_then_and_when_one_left(house: House) -> None:
    room_id = house.room()
    at = str(StreamToken(house.db.database.position))
    house.join(room_id, BOB, CAROL)

    def members(user_id: str, **options: str) -> set[str | None]:
        found = house.run(house.history.members(room_id, user_id, **options))
        return {stored.event.state_key for stored in found}

    assert members(ALICE) == {ALICE, BOB, CAROL}
    assert members(ALICE, at=at) == {ALICE}
    page_token = house.messages(room_id, limit=1).end
    assert page_token is not None
    assert members(ALICE, at=page_token) == {ALICE, BOB}
    house.leave(room_id, BOB)
    house.leave(room_id, CAROL)
    assert members(ALICE) == {ALICE, BOB, CAROL}
    assert members(ALICE, membership="join") == {ALICE}
    assert members(ALICE, not_membership="join") == {BOB, CAROL}
    assert members(ALICE, membership="join", not_membership="join") == {ALICE, BOB, CAROL}
    assert members(BOB, membership="join") == {ALICE, CAROL}


def test_the_state_when_one_left(house: House) -> None:
    room_id = house.room(BOB)
    old = house.set_state(room_id, "m.room.topic", {"topic": "old"})
    house.leave(room_id, BOB)
    new = house.set_state(room_id, "m.room.topic", {"topic": "new"})
    key = ("m.room.topic", "")
    assert house.run(house.history.state(room_id, ALICE))[key].event_id == new
    assert house.run(house.history.state(room_id, BOB))[key].event_id == old
    with pytest.raises(Forbidden):
        house.run(house.history.state(room_id, CAROL))
