"""Pages from memory are those that the database gives, whatever happens in the room meanwhile."""

import random
from typing import Any

import pytest

from homeserver.rooms import recent_past
from homeserver.rooms.history import EVERYTHING, History
from homeserver.rooms.pages import Page
from homeserver.sync.filters import parse_room_event_filter
from homeserver.sync.tokens import StreamToken
from tests.homeserver.rooms.house import ALICE, BOB, CAROL, House, bodies
from tests.homeserver.rooms.test_incoming import Pair
from tests.storage.conftest import SynchronousDatabase

LAZY = parse_room_event_filter('{"lazy_load_members": true}')


def seen(page: Page) -> Any:
    events = [(each.event_id, page.view.membership_of(each), each.event.content) for each in page.events]
    bundles = {
        event_id: (bundle.edit and bundle.edit.event_id, bundle.count, bundle.references)
        for event_id, bundle in page.bundles.items()
    }
    return events, page.start, page.end, {each.event_id for each in page.state}, bundles


class Reads:
    """How often the database was read."""

    def __init__(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        database = house.history._db
        read = database.read

        def counted(*arguments: Any) -> Any:
            self.count += 1
            return read(*arguments)

        monkeypatch.setattr(database, "read", counted)


def test_what_was_read_once_is_not_read_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    room_id = house.room(BOB)
    for number in range(30):
        house.say(room_id, f"{number}", sender=(ALICE, BOB)[number % 2])
    whole = house.messages(room_id)
    house.messages(room_id, BOB)
    reads = Reads(house, monkeypatch)
    for user_id in (ALICE, BOB):
        assert house.messages(room_id, user_id).events == whole.events
        first = house.messages(room_id, user_id, limit=10, wanted=LAZY)
        assert len(first.events) == 10 and len(first.state) == 2
        second = house.messages(room_id, user_id, limit=10, start=first.end)
        assert bodies(second) == [f"{number}" for number in range(19, 9, -1)]
    house.say(room_id, "30")
    assert bodies(house.messages(room_id, limit=2)) == ["30", "29"]
    assert reads.count == 0


@pytest.mark.parametrize("seed", range(3))
def test_memory_says_what_the_database_says(house: House, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_past, "MOST_EVENTS", 40)  # so that it is trimmed, too
    chance = random.Random(seed)
    room_id = house.room(BOB)
    said = [house.say(room_id, "first")]
    tokens: list[str | None] = [None]
    reads = Reads(house, monkeypatch)
    pages = spared = 0
    for step in range(80):
        _act(house, chance, room_id, said, step)
        fresh = History(house.registry, house._ignored_users)
        for _ in range(3):
            options: dict[str, Any] = {
                "start": chance.choice(tokens[-4:]),
                "stop": chance.choice([None, None, None, *tokens[-4:]]),
                "limit": chance.choice([1, 3, 10]),
                "wanted": chance.choice([EVERYTHING, LAZY]),
                "backwards": chance.random() < 0.9,
            }
            reader = chance.choice([ALICE, BOB])
            before = reads.count
            page = house.messages(room_id, reader, **options)
            spared += reads.count == before
            pages += 1
            expected = house.run(fresh.messages(room_id, reader, **options))
            if house.ignored.get(reader):  # it is free to end a page at what is not shown
                assert seen(page)[0] == seen(expected)[0], options
            else:
                assert seen(page) == seen(expected), options
            tokens += [page.start, page.end, str(StreamToken(house.db.database.position))]
    assert spared > pages / 5


def _act(house: House, chance: random.Random, room_id: str, said: list[str], step: int) -> None:
    sender = chance.choice([ALICE, BOB])
    acts = {"say": 9, "edit": 2, "refer": 2, "redact": 1, "name": 1, "pass": 1, "ignore": 1}
    [act] = chance.choices(list(acts), list(acts.values()))
    recent = chance.choice(said[-20:])
    match act:
        case "say":
            said.append(house.say(room_id, f"{step}", sender))
        case "edit":
            relation = {"rel_type": "m.replace", "event_id": recent}
            edited = {"m.relates_to": relation, "m.new_content": {"body": f"{step}"}}
            house.say(room_id, "*", sender, **edited)
        case "refer":
            kind = chance.choice(["m.reference", "m.thread"])
            house.say(room_id, f"{step}", sender, **{"m.relates_to": {"rel_type": kind, "event_id": recent}})
        case "redact":
            house.run(house.rooms.redact(room_id, ALICE, recent, None))
        case "name":
            house.set_state(room_id, "m.room.name", {"name": f"{step}"})
        case "pass":
            house.join(room_id, CAROL)
            house.leave(room_id, CAROL)
        case "ignore":
            house.ignored[ALICE] = chance.choice([frozenset(), frozenset({BOB})])


def test_what_comes_late_is_in_its_place(db: SynchronousDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(db)
    house, room = pair.house, pair.shared_room(members=3)
    early, *_ = room.chat(10)
    pair.take(*(room.events[each] for each in list(room.events)[-10:]))
    while house.messages(room.room_id).end is not None:
        """What was before the join is fetched."""
    house.messages(room.room_id)
    reads = Reads(house, monkeypatch)
    assert len(house.messages(room.room_id, limit=10).events) == 10 and reads.count == 0
    late = room.say("late", prev=[early.event_id])
    pair.take(late)
    page = house.messages(room.room_id)
    fresh = History(house.registry, house._ignored_users)
    options: dict[str, Any] = {"backwards": True, "start": None, "stop": None, "limit": 100}
    assert seen(page) == seen(house.run(fresh.messages(room.room_id, ALICE, **options)))
    assert late.event_id in [each.event_id for each in page.events[5:]]
