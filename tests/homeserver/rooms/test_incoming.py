"""Events from elsewhere: where each ends up, what the room's state is then, what others see of it."""

import random
from collections.abc import Sequence
from typing import Any

import pytest

from homeserver.errors import Forbidden, RemoteError
from homeserver.protocol.events import Event
from homeserver.rooms.backfill import Backfill
from homeserver.rooms.history import EVERYTHING, History
from homeserver.rooms.incoming import Incoming
from homeserver.sync.filter_rules import RoomEventFilter, Types
from storage import graph
from storage import sync as reads
from storage.events import ACCEPTED, REJECTED, SOFT_FAILED, StoredEvent
from tests.federation.synthetic_room import SyntheticRoom
from tests.homeserver.rooms.house import ALICE, BOB, House
from tests.homeserver.rooms.neighbour import THERE, Neighbour
from tests.storage.conftest import SynchronousDatabase

OWNER = f"@owner:{THERE}"
VERSIONS = ["1", "2", "3", "6", "9", "10", "11", "12"]


class Pair:
    """This server and another that share rooms."""

    def __init__(self, db: SynchronousDatabase, there: Neighbour | None = None) -> None:
        self.house = House(db)
        self.there = there or Neighbour()
        remote: Any = self.there  # which shakes no hands
        self.incoming = Incoming(self.house.registry, remote, "here")
        self.backfill = Backfill(self.house.registry, remote, self.incoming, "here")
        self.house.history = History(self.house.registry, self.house._ignored_users, self.backfill.down_to)

    def shared_room(self, version: str = "11", *, partial: bool = False, **options: Any) -> SyntheticRoom:
        """A room of theirs that Alice has joined."""
        room = self.there.make_room(version, **options)
        self.join(room, ALICE, partial=partial)
        return room

    def join(self, room: SyntheticRoom, user_id: str, *, partial: bool = False) -> None:
        key = self.house.registry.identity.signing_key
        self.house.run(self.incoming.begin(self.there.joined_by(room, user_id, key, partial=partial)))

    def receive(self, *events: Event) -> dict[str, str | None]:
        return self.house.run(self.incoming.receive(THERE, events[0].room_id, events))

    def take(self, *events: Event) -> None:
        """All of them are taken."""
        outcomes = self.receive(*events)
        assert outcomes == dict.fromkeys((each.event_id for each in events), None)

    def stored(self, event: Event | str) -> StoredEvent:
        event_id = event if isinstance(event, str) else event.event_id
        found = self.house.run(self.house.events.get(event_id))
        assert found is not None
        return found

    def status(self, event: Event | str) -> int:
        return self.stored(event).status

    def state(self, room_id: str) -> dict[tuple[str, str], str]:
        room = self.house.run(self.house.registry.get(room_id))
        assert room.head is room.tip
        return {key: entry.event_id for key, entry in room.head.state.entries.items()}

    def changed(self, room_id: str, since: int) -> dict[tuple[str, str], str]:
        """What a sync tells of the state that is another now than it was at a position."""
        db, room = self.house.db, self.house.run(self.house.registry.get(room_id))
        changed = db.read(reads.changed_state, room.nid, since, self.house.registry.db.position)
        return {stored.event.key: stored.event_id for stored in changed if stored.event.key is not None}

    def extremities(self, room_id: str) -> set[str]:
        return set(self.house.run(self.house.registry.get(room_id)).head.extremities)

    def members(self, room_id: str) -> dict[str, str]:
        rows = self.house.db.read(
            lambda tx: tx.all("SELECT user_id, membership FROM membership WHERE room_id = ?", [room_id])
        )
        return dict(rows)

    def hears_local(self, room: SyntheticRoom, *event_ids: str) -> None:
        """The other server gets our events."""
        for event_id in event_ids:
            room.add(self.stored(event_id).event)

    def reload(self, room_id: str) -> None:
        self.house.registry.forget(room_id)


@pytest.fixture
def pair(db: SynchronousDatabase) -> Pair:
    return Pair(db)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_room_is_joined_and_its_conversation_goes_both_ways(pair: Pair, version: str) -> None:
    room = pair.shared_room(version, members=3)
    room_id = room.room_id
    assert pair.state(room_id) == dict(room.state)
    assert pair.members(room_id) == {**dict.fromkeys(room.joined(), "join"), ALICE: "join"}
    pair.take(*room.chat(3), room.send("m.room.name", {"name": "Theirs"}, ""))
    mine = pair.house.say(room_id, "hello from here")
    pair.hears_local(room, mine)
    pair.take(room.say("hello from there"))
    assert pair.house.read(room_id, ALICE)[-2:] == ["hello from here", "hello from there"]
    assert pair.state(room_id) == dict(room.state)
    assert pair.extremities(room_id) == set(room.extremities)
    pair.reload(room_id)
    assert pair.state(room_id) == dict(room.state)


def test_one_commit_for_many_and_nothing_twice(pair: Pair) -> None:
    room = pair.shared_room(members=2)
    events = room.chat(50)
    pair.take(*events)
    pair.take(*events)
    assert pair.house.read(room.room_id, ALICE) == [f"message {n}" for n in range(50)]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_fork_is_resolved_as_the_other_side_resolves_it(pair: Pair, version: str) -> None:
    room = pair.shared_room(version, members=2, power={"state_default": 0, "events_default": 0})
    room_id = room.room_id
    # Both sides set the topic, and others things besides, without hearing of each other.
    mine = [
        pair.house.set_state(room_id, "m.room.topic", {"topic": "mine"}),
        pair.house.set_state(room_id, "m.room.avatar", {"url": "mxc://here/a"}),
        pair.house.say(room_id, "on my side"),
    ]
    theirs = [
        room.send("m.room.topic", {"topic": "theirs"}, "", sender=f"@member0:{THERE}"),
        room.send("m.room.name", {"name": "theirs"}, "", sender=f"@member1:{THERE}"),
        room.say("on their side"),
    ]
    pair.take(*theirs)
    pair.hears_local(room, *mine)
    assert pair.extremities(room_id) == set(room.extremities) and len(room.extremities) == 2
    assert pair.state(room_id) == dict(room.state)
    pair.reload(room_id)
    assert pair.state(room_id) == dict(room.state)
    # The next event joins the branches.
    pair.hears_local(room, pair.house.say(room_id, "together"))
    assert pair.extremities(room_id) == set(room.extremities) and len(room.extremities) == 1
    assert pair.state(room_id) == dict(room.state)
    pair.take(room.say("indeed"))
    assert pair.stored(room.extremities[0]).state_after == pair.stored(room.extremities[0]).state_before


def test_a_fork_may_undo_memberships(pair: Pair) -> None:
    room = pair.shared_room(members=1)
    room_id = room.room_id
    ban = room.make("m.room.member", {"membership": "ban"}, f"@member0:{THERE}")
    name = room.make("m.room.member", {"membership": "join", "displayname": "new"}, f"@member0:{THERE}",
                     sender=f"@member0:{THERE}")  # fmt: skip
    pair.take(name)
    assert pair.members(room_id)[f"@member0:{THERE}"] == "join"
    pair.take(ban)
    room.add(name)
    room.add(ban)
    assert pair.state(room_id) == dict(room.state)
    assert pair.members(room_id)[f"@member0:{THERE}"] == "ban"
    head = pair.house.run(pair.house.registry.get(room_id)).head
    assert (head.joined, dict(head.servers)) == (2, {THERE: 1, "here": 1})


def test_what_the_state_does_not_allow_is_rejected_and_what_stands_on_it_passes(pair: Pair) -> None:
    room = pair.shared_room(members=1)
    state = pair.state(room.room_id)
    bad = room.send("m.room.name", {"name": "mine now"}, "", sender=f"@member0:{THERE}")
    good = room.say("after it")
    pair.take(bad, good)
    assert (pair.status(bad), pair.status(good)) == (REJECTED, ACCEPTED)
    assert pair.stored(bad).position is None
    assert pair.state(room.room_id) == state
    assert pair.extremities(room.room_id) == {good.event_id}
    assert pair.house.read(room.room_id, ALICE) == ["after it"]


def test_what_only_the_past_allows_is_soft_failed(pair: Pair) -> None:
    room = pair.shared_room(members=1)
    room_id, member = room.room_id, f"@member0:{THERE}"
    before_ban = list(room.extremities)
    ban = room.send("m.room.member", {"membership": "ban"}, member)
    pair.take(ban)
    evasion = room.make("m.room.message", {"body": "still here"}, sender=member, prev=before_ban)
    rename = room.make("m.room.member", {"membership": "join", "displayname": "x"}, member, sender=member,
                       prev=before_ban)  # fmt: skip
    pair.take(evasion, rename)
    assert pair.status(evasion) == pair.status(rename) == SOFT_FAILED
    assert pair.extremities(room_id) == {ban.event_id}
    assert pair.house.read(room_id, ALICE) == []
    # An event on top of it counts, and leaves no older extremity behind.
    room.events[evasion.event_id] = evasion
    room.state_after[evasion.event_id] = room.state_of(before_ban)
    child = room.make("m.room.message", {"body": "well"}, prev=[evasion.event_id, ban.event_id])
    pair.take(child)
    assert pair.extremities(room_id) == {child.event_id}
    assert pair.members(room_id)[member] == "ban"


def test_auth_events_that_are_not_known_are_asked_for(pair: Pair) -> None:
    room = pair.shared_room()
    join = room.join(f"@late:{THERE}")
    auth = [*join.auth_events, join.event_id]
    auth = [each for each in auth if room.events[each].type != "m.room.join_rules"]
    message = room.say("hello", f"@late:{THERE}", prev=join.prev_events, auth=auth)
    pair.take(message)
    assert pair.there.asked == ["event_auth"]
    assert pair.status(message) == REJECTED  # the state there knows nothing of the join
    pair.take(join)
    assert pair.stored(join).position is not None


def test_a_short_gap_is_filled(pair: Pair) -> None:
    room = pair.shared_room(members=1)
    lost = [*room.chat(5), room.send("m.room.name", {"name": "new"}, "")]
    last = room.say("last")
    pair.take(last)
    assert pair.there.asked == ["missing_events"]
    assert pair.house.read(room.room_id, ALICE) == [*(f"message {n}" for n in range(5)), "last"]
    assert pair.state(room.room_id) == dict(room.state)
    assert all(pair.stored(each).position is not None for each in lost)


def test_a_gap_of_several_answers_is_filled(pair: Pair) -> None:
    """A server that could not reach this one for a while tells its last event only."""
    room = pair.shared_room(members=2)
    known = set(room.events)
    room.chat(30)
    room.fork(3, 4)
    room.chat(30)
    last = room.say("last")
    pair.take(last)
    assert set(pair.there.asked) == {"missing_events"}
    missed = [each for event_id, each in room.events.items() if event_id not in known]
    assert all(pair.stored(each).position is not None for each in missed)
    assert pair.extremities(room.room_id) == {last.event_id}


def test_a_long_gap_is_jumped_with_the_state_beyond_it(pair: Pair) -> None:
    room = pair.shared_room(members=1)
    room_id = room.room_id
    mine = pair.house.say(room_id, "mine")
    room.chat(40)
    room.send("m.room.name", {"name": "new"}, "")
    room.join(f"@unheard:{THERE}")
    room.chat(130)
    last = room.say("last")
    pair.take(last)
    assert pair.state(room_id) == dict(room.state)
    assert pair.members(room_id)[f"@unheard:{THERE}"] == "join"
    assert pair.extremities(room_id) == {mine, last.event_id}
    seen = pair.house.read(room_id, ALICE, limit=200)
    assert seen[0] == "mine" and seen[-1] == "last" and len(seen) == 102
    [stored] = [pair.house.run(pair.house.registry.get(room_id))]
    assert len(pair.house.db.read(graph.missing, stored.nid, 0, 10)) == 3  # the gap, and before the join


def test_a_gap_that_nobody_can_bridge_keeps_the_event_out(pair: Pair) -> None:
    room = pair.shared_room()
    lost = room.say("lost")
    last = room.say("last")
    pair.there.hidden = {lost.event_id}
    assert pair.receive(last)[last.event_id] is not None
    assert pair.house.run(pair.house.events.get(last.event_id)) is None
    pair.there.hidden = set()
    pair.take(last)
    assert pair.house.read(room.room_id, ALICE) == ["lost", "last"]


def test_redactions_before_and_after_their_target(pair: Pair) -> None:
    room = pair.shared_room(members=2)
    room_id = room.room_id
    said = room.say("regretted")
    pair.take(said, room.send("m.room.redaction", {"redacts": said.event_id}))
    assert pair.house.read(room_id, ALICE) == []
    later = room.say("regretted too", f"@member0:{THERE}")
    redaction = room.send("m.room.redaction", {"redacts": later.event_id}, prev=later.prev_events)
    not_theirs = room.send("m.room.redaction", {"redacts": later.event_id}, prev=later.prev_events,
                           sender=f"@member1:{THERE}")  # fmt: skip
    pair.take(not_theirs, redaction, later)
    assert pair.stored(later).event.content == {}
    assert pair.house.read(room_id, ALICE) == []
    # Somebody without the power redacts what this server's user said.
    mine = pair.house.say(room_id, "mine")
    pair.hears_local(room, mine)
    pair.take(room.send("m.room.redaction", {"redacts": mine}, sender=f"@member1:{THERE}"))
    assert pair.house.read(room_id, ALICE) == ["mine"]
    pair.take(room.send("m.room.redaction", {"redacts": mine}))
    assert pair.house.read(room_id, ALICE) == []


def test_accepting_is_strict(pair: Pair) -> None:
    room_id = pair.house.room()
    room = SyntheticRoom("12", THERE, pair.there.key)
    ours = pair.house.run(pair.house.registry.get(room_id))
    for entry in ours.head.state.entries.values():
        room.events[entry.event_id] = pair.stored(entry.event_id).event
    room.room_id = room_id
    room.extremities = list(ours.head.extremities)
    state = {key: entry.event_id for key, entry in ours.head.state.entries.items()}
    for each in room.extremities:
        for key, event_id in state.items():
            room.state_after[each] = room.state_after.get(each, room.state_of([])).set(key, event_id)
    forbidden = room.make("m.room.message", {"body": "hi"}, sender=OWNER)
    with pytest.raises(Forbidden):
        pair.house.run(pair.incoming.accept(room_id, forbidden))
    assert pair.house.run(pair.house.events.get(forbidden.event_id)) is None
    join = room.make("m.room.member", {"membership": "join"}, OWNER, sender=OWNER)
    stored = pair.house.run(pair.incoming.accept(room_id, join))
    assert stored.position is not None
    rows = pair.house.db.read(lambda tx: tx.all("SELECT position, also FROM outgoing"))
    assert rows == [(stored.position, None)]
    servers = pair.house.db.read(lambda tx: tx.all("SELECT server, since, until FROM room_server"))
    assert servers == [(THERE, stored.position, None)]
    said = pair.stored(pair.house.say(room_id, "welcome"))
    rows = pair.house.db.read(lambda tx: tx.all("SELECT position FROM outgoing ORDER BY position"))
    assert rows == [(stored.position,), (said.position,)]


def test_a_state_that_contradicts_itself_is_no_room(pair: Pair) -> None:
    room = pair.there.make_room()
    name = room.send("m.room.name", {"name": "one"}, "")
    room.send("m.room.name", {"name": "two"}, "")
    join = pair.there.joined_by(room, ALICE, pair.house.registry.identity.signing_key)
    join.state.append(name)
    with pytest.raises(RemoteError):
        pair.house.run(pair.incoming.begin(join))
    join.state.remove(name)
    pair.house.run(pair.incoming.begin(join))


def test_two_join_at_once(pair: Pair) -> None:
    room = pair.shared_room()
    pair.join(room, BOB)
    assert pair.members(room.room_id) == {OWNER: "join", ALICE: "join", BOB: "join"}
    assert pair.extremities(room.room_id) == set(room.extremities)


def test_coming_back_after_everybody_left(pair: Pair) -> None:
    room = pair.shared_room(members=1)
    room_id = room.room_id
    pair.house.leave(room_id, ALICE)
    [left] = pair.extremities(room_id)
    pair.hears_local(room, left)
    assert pair.receive(room.say("unheard"))[room.extremities[-1]] is not None
    room.send("m.room.member", {"membership": "leave"}, f"@member0:{THERE}", sender=f"@member0:{THERE}")
    pair.join(room, ALICE)
    assert pair.state(room_id) == dict(room.state)
    assert pair.members(room_id) == {OWNER: "join", ALICE: "join", f"@member0:{THERE}": "leave"}
    assert pair.extremities(room_id) == set(room.extremities)


def invite_of(room: SyntheticRoom, user_id: str) -> Event:
    return room.send("m.room.member", {"membership": "invite"}, user_id)


def stripped(events: Sequence[Event]) -> list[dict[str, Any]]:
    return [
        {"type": each.type, "state_key": each.state_key, "sender": each.sender, "content": each.content}
        for each in events
    ]


def test_an_invite_from_elsewhere_comes_and_goes(pair: Pair) -> None:
    room = pair.there.make_room(join_rule="invite")
    invite = invite_of(room, ALICE)
    shown = stripped(room.events_of(room.state)[:2])
    pair.house.run(pair.incoming.out_of_band(invite, room.version, shown))
    assert pair.members(room.room_id) == {ALICE: "invite"}
    row = pair.house.run(pair.house.memberships.of(ALICE))[room.room_id]
    assert b"m.room.create" in (row.invite_state or b"")
    foreign = room.make("m.room.member", {"membership": "leave"}, ALICE, auth=list(room.events)[:3])
    assert pair.receive(foreign)[foreign.event_id] is not None
    kick = room.send("m.room.member", {"membership": "leave"}, ALICE)
    pair.take(kick)
    assert pair.members(room.room_id) == {ALICE: "leave"}
    again = invite_of(room, ALICE)
    pair.house.run(pair.incoming.out_of_band(again, room.version, shown))
    pair.join(room, ALICE)
    assert pair.members(room.room_id) == {OWNER: "join", ALICE: "join"}
    assert pair.state(room.room_id) == dict(room.state)


def read_all(pair: Pair, room_id: str, limit: int = 20, wanted: RoomEventFilter = EVERYTHING) -> list[str]:
    """Paging back to the beginning of the room, oldest first."""
    found: list[str] = []
    start = None
    for _page in range(100):
        page = pair.house.messages(room_id, ALICE, start=start, limit=limit, wanted=wanted)
        found += [stored.event_id for stored in page.events]
        start = page.end
        if start is None:
            break
    return found[::-1]


@pytest.mark.parametrize("version", VERSIONS)
def test_history_from_before_the_join_is_fetched_by_the_page(pair: Pair, version: str) -> None:
    room = pair.there.make_room(version, members=3)
    room.chat(120)
    regretted = room.say("regretted")
    room.send("m.room.name", {"name": "Named"}, "")
    room.chat(130)
    room.send("m.room.redaction", {}, redacts=regretted.event_id)
    pair.join(room, ALICE)
    room.chat(5)
    pair.take(*(room.events[each] for each in list(room.events)[-5:]))
    assert read_all(pair, room.room_id) == list(room.events)
    questions = len(pair.there.asked)
    assert read_all(pair, room.room_id, 7) == list(room.events)
    assert len(pair.there.asked) == questions
    assert pair.stored(regretted).event.content == {}
    name = next(event for event in room.events.values() if event.type == "m.room.name")
    entries = pair.house.run(pair.incoming.state_after(room.room_id, name.event_id))
    assert entries is not None
    assert {key: entry.event_id for key, entry in entries.items()} == dict(room.state_after[name.event_id])


def test_history_is_fetched_across_a_chunk_that_ends_on_state(pair: Pair) -> None:
    room = pair.there.make_room()
    room.chat(100)  # as many as are asked for: the next to fetch is an event of the state
    pair.join(room, ALICE)
    assert read_all(pair, room.room_id) == list(room.events)


def test_history_without_anything_to_show_is_not_its_end(pair: Pair) -> None:
    room = pair.there.make_room()
    room.chat(500)
    pair.join(room, ALICE)
    creations = RoomEventFilter(types=Types(["m.room.create"]), is_trivial=False)
    assert read_all(pair, room.room_id, wanted=creations) == list(room.events)[:1]


def test_a_gap_in_the_middle_is_filled_by_whoever_scrolls_there(pair: Pair) -> None:
    room = pair.shared_room(members=2)
    pair.take(*room.chat(10))
    room.fork(3, 4)
    room.chat(150)
    pair.take(room.say("last"))
    assert set(read_all(pair, room.room_id)) == set(room.events)
    assert pair.state(room.room_id) == dict(room.state)


def test_history_that_the_reader_may_not_see_stays_hidden(pair: Pair) -> None:
    room = pair.there.make_room(members=1)
    room.chat(10)
    room.send("m.room.history_visibility", {"history_visibility": "joined"}, "")
    room.chat(10, 10)
    pair.join(room, ALICE)
    bodies = [pair.stored(each).event.content.get("body") for each in read_all(pair, room.room_id)]
    assert [body for body in bodies if body] == [f"message {n}" for n in range(10)]


def test_members_come_after_a_join_without_them(pair: Pair) -> None:
    room = pair.there.make_room(members=30)
    gone = f"@member7:{THERE}"
    left = room.send("m.room.member", {"membership": "leave"}, gone, sender=gone)
    pair.there.hold_state = True
    pair.join(room, ALICE, partial=True)
    ours = pair.house.run(pair.house.registry.get(room.room_id))
    assert ours.partial and dict(ours.head.servers) == {"here": 1, THERE: 1}
    # Talking goes on meanwhile, by members of whom only their own events tell.
    mine = pair.house.say(room.room_id, "mine")
    pair.hears_local(room, mine)
    pair.take(room.say("theirs", f"@member3:{THERE}"))
    renamed = room.join(f"@member4:{THERE}", displayname="New")
    topic = room.send("m.room.topic", {"topic": "x"}, "")
    pair.take(renamed, topic)
    # One who had left lies, with the join event of old.
    old = next(e for e in room.events.values() if e.key == ("m.room.member", gone) and e is not left)
    auth = [old.event_id, *(room.state[key] for key in [("m.room.create", ""), ("m.room.power_levels", "")])]
    lie = room.make("m.room.message", {"body": "lie"}, sender=gone, auth=auth)
    pair.take(lie)
    assert pair.house.read(room.room_id, ALICE) == ["mine", "theirs", "lie"]
    pair.there.release_state()
    pair.house.run(pair.incoming.partial.whole(room.room_id))
    assert pair.state(room.room_id) == dict(room.state)
    assert pair.house.read(room.room_id, ALICE) == ["mine", "theirs"]
    assert pair.status(lie) == SOFT_FAILED
    joined = [user for user, membership in pair.members(room.room_id).items() if membership == "join"]
    assert sorted(joined) == room.joined()
    whole = pair.house.run(pair.house.registry.get(room.room_id))
    assert not whole.partial and dict(whole.head.servers) == {"here": 1, THERE: 30}
    for event_id in (mine, renamed.event_id, topic.event_id):
        entries = pair.house.run(pair.incoming.state_after(room.room_id, event_id)) or {}
        assert {key: entry.event_id for key, entry in entries.items()} == dict(room.state_after[event_id])
    pair.take(room.say("and on", f"@member5:{THERE}"))
    assert pair.house.read(room.room_id, ALICE)[-1] == "and on"


@pytest.mark.parametrize("seed", range(6))
def test_random_graphs_end_in_the_same_state(pair: Pair, seed: int) -> None:
    """Whatever order a branchy graph arrives in, both sides agree on state and extremities."""
    chance = random.Random(seed)
    power = {"state_default": 0, "users_default": 0, "ban": 0}
    room = pair.shared_room(VERSIONS[seed + 2], members=4, power=power)
    users = [f"@member{n}:{THERE}" for n in range(4)]
    for _round in range(12):
        branches = []
        root = list(room.extremities)
        for _branch in range(chance.randint(2, 4)):
            room.extremities = list(root)
            for _event in range(chance.randint(1, 4)):
                sender = chance.choice(users)
                kind = chance.choice(["topic", "name", "say", "ban"])
                if kind == "say":
                    branches.append(room.say("x", sender))
                elif kind == "ban":
                    branches.append(room.send("m.room.member", {"membership": "join", "displayname": str(
                        chance.random())}, sender, sender=sender))  # fmt: skip
                else:
                    content = {kind: str(chance.random())}
                    branches.append(room.send(f"m.room.{kind}", content, "", sender=sender))
        tips = {each.event_id for each in branches}
        for each in branches:
            tips.difference_update(each.prev_events)
        room.extremities = sorted(tips)
        chance.shuffle(branches)
        since, before = pair.house.registry.db.position, pair.state(room.room_id)
        for each in branches:
            pair.receive(each)
        pair.take(*branches)
        assert pair.state(room.room_id) == dict(room.state)
        assert pair.extremities(room.room_id) == set(room.extremities)
        changed = pair.changed(room.room_id, since)
        assert {**before, **changed} == pair.state(room.room_id)
        assert all(before.get(key) != event_id for key, event_id in changed.items())
        if chance.random() < 0.5:
            pair.take(room.say("merge"))


def test_who_comes_back_on_a_branch_is_heard_there(pair: Pair) -> None:
    """The join and what is said after it come together, while the room went on here."""
    room = pair.shared_room(members=2)
    member = f"@member0:{THERE}"
    pair.take(room.send("m.room.member", {"membership": "leave"}, member, sender=member))
    pair.house.say(room.room_id, "mine")
    join = room.send("m.room.member", {"membership": "join"}, member, sender=member)
    said = [room.say(f"back {number}", member) for number in range(2)]
    pair.take(join, *said)
    assert all(pair.status(each) == ACCEPTED for each in said)
