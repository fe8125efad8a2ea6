"""Events made to do harm: whatever other servers send, a room here keeps its rules and goes on."""

import sqlite3
from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred, DeferredList

from homeserver.protocol.events import Event
from homeserver.protocol.power_levels import PowerLevels
from homeserver.rooms.partial_state import LONGEST_PATIENCE
from storage import events as event_rows
from storage.database import Transaction
from storage.events import ACCEPTED, REJECTED, SOFT_FAILED, Aside, StoredEvent
from tests.federation.synthetic_room import SyntheticRoom, forge
from tests.homeserver.rooms.house import ALICE, BOB, NEVER, StepClock
from tests.homeserver.rooms.neighbour import THERE, Neighbour
from tests.homeserver.rooms.test_incoming import OWNER, Pair, invite_of, read_all, stripped
from tests.storage.conftest import SynchronousDatabase
from tests.waiting import until

MEMBER0, MEMBER1 = f"@member0:{THERE}", f"@member1:{THERE}"


@pytest.fixture
def pair(db: SynchronousDatabase) -> Pair:
    return Pair(db)


def under_the_id_of(pair: Pair, event: Event, other: Event) -> Event:
    """The event, in a room version whose IDs are chosen, with the ID of another one."""
    pdu = forge(event, THERE, pair.there.key, event_id=other.event_id)
    return Event.parse(pdu, event.version)


def members_event(room: SyntheticRoom, user_id: str) -> Event:
    return room.events[room.state["m.room.member", user_id]]


@pytest.mark.parametrize("version", ["1", "2"])
def test_an_event_cannot_take_the_place_of_another_in_another_room(pair: Pair, version: str) -> None:
    room = pair.shared_room(version, members=1)
    state = pair.state(room.room_id)
    mine = pair.shared_room(version, creator="member0")
    levels = mine.make("m.room.power_levels", {"users": {MEMBER0: 100}}, "", sender=MEMBER0)
    levels = under_the_id_of(pair, levels, members_event(room, MEMBER0))
    assert pair.receive(levels)[levels.event_id] is not None
    pair.reload(room.room_id)
    assert pair.state(room.room_id) == state
    assert pair.stored(levels.event_id).event.room_id == room.room_id


def test_an_event_cannot_take_the_place_of_another_in_its_room(pair: Pair) -> None:
    room = pair.shared_room("2", members=1)
    state = pair.state(room.room_id)
    message = room.make("m.room.message", {}, sender=MEMBER0)
    other = under_the_id_of(pair, message, members_event(room, MEMBER0))
    assert pair.receive(other)[other.event_id] is not None
    pair.reload(room.room_id)
    assert pair.state(room.room_id) == state


@pytest.mark.parametrize("what", [{"membership": "jo\0in"}, {"membership": "x" * 60_000}, {"membership": 1}])
def test_odd_memberships_harm_nobody(pair: Pair, what: dict[str, Any]) -> None:
    room = pair.shared_room(members=1)
    odd = room.make("m.room.member", what, MEMBER0, sender=MEMBER0)
    pair.take(odd, room.say("hello"))
    assert pair.status(odd) == REJECTED
    assert pair.house.read(room.room_id, ALICE) == ["hello"]


@pytest.mark.parametrize("version", ["2", "6", "11", "12"])
@pytest.mark.parametrize("redacts", ["$\0", "", "$" + "x" * 50_000, "x"])
def test_odd_redactions_harm_nobody(pair: Pair, version: str, redacts: str) -> None:
    room = pair.shared_room(version)
    pair.take(room.send("m.room.redaction", {}, redacts=redacts), room.say("hello"))
    assert pair.house.read(room.room_id, ALICE) == ["hello"]


@pytest.mark.parametrize("key", ["", "@", "foo", "@foo", "@:", "@a:b c", ":", "@a:" + "b" * 252])
def test_members_that_are_no_users(pair: Pair, key: str) -> None:
    room = pair.shared_room(members=1)
    pair.take(room.send("m.room.member", {"membership": "invite"}, key), room.say("one"))
    pair.take(room.send("m.room.member", {"membership": "ban"}, key), room.say("two"))
    assert pair.state(room.room_id) == dict(room.state)
    assert pair.house.read(room.room_id, ALICE) == ["one", "two"]
    pair.reload(room.room_id)
    pair.house.say(room.room_id, "three")


@pytest.mark.parametrize("version", ["3", "5"])
def test_the_greatest_depth(pair: Pair, version: str) -> None:
    room = pair.shared_room(version, members=1)
    for number in range(30):
        room.say(str(number), depth=2**63 - 1)
    pair.take(room.say("deeper", depth=2**63 - 1))
    pair.house.say(room.room_id, "mine")
    assert "mine" in pair.house.read(room.room_id, ALICE)


def test_the_power_levels_that_a_fork_brings_back_are_those_in_force(pair: Pair) -> None:
    room = pair.shared_room("10", members=2, power={"users": {OWNER: 101, MEMBER0: 100, MEMBER1: 1}})
    room_id, root = room.room_id, list(room.extremities)
    ban = room.make("m.room.member", {"membership": "ban"}, MEMBER0, prev=root)
    one = room.make("m.room.power_levels", {"users": {OWNER: 101, MEMBER0: 100, MEMBER1: 77}}, "", prev=root)
    two = room.make("m.room.power_levels", {"users": {OWNER: 101, MEMBER0: 100, MEMBER1: 88}}, "",
                    sender=MEMBER0, prev=root)  # fmt: skip
    for event in (one, two, ban):
        pair.house.events._recent.clear()
        pair.take(event)
        room.add(event)
    assert pair.state(room_id) == dict(room.state)
    assert room.state["m.room.power_levels", ""] == one.event_id
    head = pair.house.run(pair.house.registry.get(room_id)).head
    assert head.power is not None and head.power.users == PowerLevels.of(room.version, room.events[
        room.state["m.room.create", ""]], one).users  # fmt: skip


def test_what_was_redacted_stays_so_when_it_gets_a_place(pair: Pair) -> None:
    room = pair.there.make_room(members=1)
    topic = room.send("m.room.topic", {"topic": "regretted"}, "")
    room.chat(3)
    pair.join(room, ALICE)
    pair.take(room.send("m.room.redaction", {"redacts": topic.event_id}, prev=room.extremities))
    assert pair.stored(topic).event.content == {}
    pair.house.events._recent.clear()
    pair.house.events._redacted.clear()
    assert topic.event_id in read_all(pair, room.room_id)
    pair.house.events._recent.clear()
    assert pair.stored(topic).event.content == {} and pair.stored(topic).redacted_by is not None


def test_nobody_enters_by_naming_an_old_event_beside_the_newest(pair: Pair) -> None:
    """In the first room version a membership that only one branch knows is not judged when they meet."""
    room = pair.shared_room("1", members=1)
    room_id, before = room.room_id, list(room.extremities)
    evil = f"@evil:{THERE}"
    pair.take(room.send("m.room.join_rules", {"join_rule": "invite"}, ""))
    join = room.make("m.room.member", {"membership": "join"}, evil, sender=evil, prev=before)
    pair.take(join)
    assert pair.status(join) == SOFT_FAILED
    tip = list(room.extremities)
    room.add(join)
    auth = [*(each for each in join.auth_events if room.events[each].type != "m.room.join_rules")]
    entry = room.make("m.room.message", {"body": "in"}, sender=evil, prev=[*tip, join.event_id],
                      auth=[*auth, join.event_id])  # fmt: skip
    pair.take(entry)
    assert pair.status(entry) == SOFT_FAILED
    assert ("m.room.member", evil) not in pair.state(room_id)


def test_a_redaction_and_its_target_under_way_at_once(pair: Pair) -> None:
    room = pair.shared_room(members=1)
    said = room.say("regretted", MEMBER0)
    redaction = room.make("m.room.redaction", {"redacts": said.event_id}, sender=MEMBER0,
                          prev=said.prev_events)  # fmt: skip
    house, incoming = pair.house, pair.incoming

    async def at_once() -> None:
        ours = await house.registry.get(room.room_id)
        known = await incoming.placing.know(ours, [said])
        other = await incoming.placing.know(ours, [redaction])
        async with incoming.placing.group(other) as first:
            await first.place(redaction)
        async with incoming.placing.group(known) as second:
            await second.place(said)
        await first.written[redaction.event_id]
        await second.written[said.event_id]

    house.run(at_once())
    assert pair.stored(said).event.content == {}
    house.events._recent.clear()
    assert pair.stored(said).event.content == {}
    assert house.db.read(lambda tx: tx.all("SELECT * FROM pending_redaction")) == []


def test_an_event_that_two_servers_send_at_once(pair: Pair) -> None:
    room = pair.shared_room(members=1)
    said, name = room.say("once"), room.send("m.room.name", {"name": "x"}, "")
    house, incoming = pair.house, pair.incoming

    async def at_once() -> None:
        ours = await house.registry.get(room.room_id)
        known = [await incoming.placing.know(ours, [said, name]) for _ in range(2)]
        groups = []
        for each in known:
            async with incoming.placing.group(each) as group:
                await group.place(said)
                await group.place(name)
            groups.append(group)
        for group in groups:
            for event in (said, name):
                await group.written[event.event_id]

    house.run(at_once())
    announced = [change.data.stored.event_id for change in house.db.changes if change.stream == "event"]
    assert announced.count(said.event_id) == announced.count(name.event_id) == 1
    assert house.read(room.room_id, ALICE) == ["once"]


def test_an_event_that_becomes_known_aside_while_it_is_under_way(pair: Pair) -> None:
    room = pair.shared_room(members=1)
    join = room.join(f"@late:{THERE}")
    house, incoming = pair.house, pair.incoming

    async def at_once() -> None:
        ours = await house.registry.get(room.room_id)
        known = await incoming.placing.know(ours, [join])
        auth = [each for each in join.auth_events if room.events[each].type != "m.room.join_rules"]
        message = room.say("hello", f"@late:{THERE}", prev=join.prev_events, auth=[*auth, join.event_id])
        await incoming.receive(THERE, room.room_id, [message])  # what authorises it is fetched
        house.events._recent.pop(join.event_id, None)
        async with incoming.placing.group(known) as group:
            await group.place(join)
        await group.written[join.event_id]

    house.run(at_once())
    assert pair.stored(join).position is not None


def test_another_create_event_is_no_state_of_the_room(pair: Pair) -> None:
    room = pair.shared_room("10", members=1)
    room_id = room.room_id
    state = pair.state(room_id)
    other = room.make("m.room.create", {"creator": MEMBER0, "room_version": "10", "x": 1}, "", sender=MEMBER0,
                      prev=[], auth=[])  # fmt: skip
    assert pair.receive(other)[other.event_id] is not None
    room.events[other.event_id] = other
    lost = room.say("lost")
    room.state_after[lost.prev_events[0]] = room.state.set(("m.room.create", ""), other.event_id)
    room.chat(30)
    last = room.say("last")
    pair.there.hidden = {each for each in room.events if room.events[each].content.get("body") == "message 5"}
    pair.receive(last)
    assert pair.state(room_id)["m.room.create", ""] == state["m.room.create", ""]


def test_an_invite_that_came_before_this_server_was_in_the_room(pair: Pair) -> None:
    room = pair.there.make_room(join_rule="public", members=1)
    invite = invite_of(room, BOB)
    pair.house.run(pair.incoming.out_of_band(invite, room.version, stripped([])))
    # The join stood on what came before the invite.
    room.extremities = list(invite.prev_events)
    pair.join(room, ALICE)
    assert ("m.room.member", BOB) not in pair.state(room.room_id)
    pair.take(invite)
    room.extremities.append(invite.event_id)
    assert pair.state(room.room_id) == dict(room.state)
    assert pair.members(room.room_id)[BOB] == "invite"
    pair.take(room.say("hello"))
    assert pair.status(invite) == ACCEPTED


def test_no_invite_unseats_a_member(pair: Pair) -> None:
    room = pair.shared_room(members=1)
    again = room.make("m.room.member", {"membership": "invite"}, ALICE)
    pair.house.run(pair.incoming.out_of_band(again, room.version, []))
    assert pair.members(room.room_id)[ALICE] == "join"


def test_a_lie_about_a_rooms_version_keeps_nobody_out(pair: Pair) -> None:
    for room, lie in ((pair.there.make_room("10"), "1"), (pair.there.make_room("2"), "11")):
        liar = SyntheticRoom.create(lie, THERE, pair.there.key, "liar")
        liar.room_id = room.room_id
        false = liar.make("m.room.member", {"membership": "invite"}, BOB)
        pair.house.run(pair.incoming.out_of_band(false, liar.version, []))
        true = invite_of(room, ALICE)
        pair.house.run(pair.incoming.out_of_band(true, room.version, []))
        pair.house.run(pair.incoming.out_of_band(liar.make("m.room.member", {"membership": "invite"}, ALICE),
                                                 liar.version, []))  # fmt: skip
        pair.join(room, ALICE)
        assert pair.state(room.room_id) == dict(room.state)
        pair.take(room.say("hello"))
        pair.house.events._recent.clear()
        assert pair.stored(false).event.prev_events == false.prev_events


@pytest.mark.parametrize("number", [10**30, 1.5])
def test_an_invite_with_the_numbers_of_old_rooms(pair: Pair, number: Any) -> None:
    room = pair.there.make_room("2")
    pdu = forge(invite_of(room, BOB), THERE, pair.there.key, content={"membership": "invite", "n": number})
    invite = Event.parse(pdu, room.version)
    shown = [{"type": "m.room.name", "state_key": "", "sender": OWNER, "content": {"name": "x", "n": number}}]
    pair.house.run(pair.incoming.out_of_band(invite, room.version, shown))
    row = pair.house.run(pair.house.memberships.of(BOB))[room.room_id]
    assert b"m.room.name" in (row.invite_state or b"")


def test_many_branches_do_not_pile_up(pair: Pair) -> None:
    room = pair.shared_room(members=1)
    root = list(room.extremities)
    events = [room.make("m.room.message", {"body": str(n)}, prev=root) for n in range(150)]
    for start in range(0, 150, 50):
        pair.take(*events[start : start + 50])
    assert len(pair.extremities(room.room_id)) <= 20
    assert events[-1].event_id in pair.extremities(room.room_id)
    assert len(pair.house.read(room.room_id, ALICE, limit=200)) == 150


def test_what_fails_to_be_written_takes_nothing_with_it(pair: Pair) -> None:
    """Events that stood on it are taken when it comes again; nothing remembers states that are nowhere."""
    room = pair.shared_room(members=1, power={"state_default": 0})
    house, room_id = pair.house, room.room_id
    house.say(room_id, "mine")  # what comes makes a fork
    first = room.send("m.room.topic", {"topic": "1"}, "", sender=MEMBER0)
    after = room.say("after")
    lost = room.say("lost", prev=first.prev_events)
    last = room.make("m.room.message", {"body": "last"}, prev=[lost.event_id])
    pair.there.hidden = {lost.event_id}
    ours = house.run(house.registry.get(room_id))

    def in_the_way(tx: Transaction) -> None:
        """A row under the number that comes next."""
        row = StoredEvent(room.make("x", {}), house.registry.db.ids.event() + 1, ours.nid, None, None, None)
        event_rows.add_asides(tx, [Aside(row)])

    async def while_it_is_under_way() -> dict[str, str | None]:
        known = await pair.incoming.placing.know(ours, [first])
        await house.registry.db.write(in_the_way)
        outcomes: dict[str, str | None] = {}
        written: dict[str, Any] = {}
        waiting: Sequence[Event] = [first, last, after]
        while waiting:
            waiting = await pair.incoming._take(THERE, known, waiting, written, outcomes, bridging=True)
            await DeferredList(list(written.values()), consumeErrors=True)
        return outcomes

    house.run(while_it_is_under_way())
    assert pair.status(after) == ACCEPTED  # what was lost has come again
    pair.there.hidden = set()
    pair.take(first, last, after)
    assert {pair.status(each) for each in (first, lost, last, after)} == {ACCEPTED}
    assert pair.state(room_id)["m.room.topic", ""] == first.event_id


def test_what_follows_one_that_fails_to_be_written_is_tried_again(pair: Pair) -> None:
    room = pair.shared_room(members=1)
    ours = pair.house.run(pair.house.registry.get(room.room_id))

    def in_the_way(tx: Transaction) -> None:
        number = pair.house.db.database.ids.event() + 1
        row = StoredEvent(room.make("x", {}), number, ours.nid, None, None, None)
        event_rows.add_asides(tx, [Aside(row)])

    pair.house.db.write(in_the_way)
    first, *rest = room.chat(3)
    outcomes = pair.receive(first, *rest)
    assert outcomes == {first.event_id: "It could not be stored.", **{each.event_id: None for each in rest}}
    # What they stand on was asked for.
    assert pair.house.read(room.room_id, ALICE) == ["message 0", "message 1", "message 2"]


class Impatient(StepClock):
    """Pauses are over at once."""

    def call_later(self, seconds: float, call: Any, *args: Any) -> Any:
        if seconds < LONGEST_PATIENCE:
            call(*args)
        return NEVER


class Forgetful(Neighbour):
    """Breaks this server's database, as it were, when it is asked for a whole state for the first time."""

    async def state(self, *question: Any) -> tuple[list[Event], list[Event]]:
        if "state" not in self.asked:
            self.asked.append("state")
            raise sqlite3.OperationalError("disk I/O error")
        return await super().state(*question)


def test_a_room_becomes_whole_though_the_database_fails_meanwhile(pair: Pair) -> None:
    pair = Pair(pair.house.db, Forgetful())
    pair.house.registry.clock = Impatient()
    room = pair.there.make_room(members=30)
    pair.join(room, ALICE, partial=True)
    until(lambda: not pair.house.run(pair.house.registry.get(room.room_id)).partial, 20)
    assert pair.state(room.room_id) == dict(room.state)
    assert pair.there.asked.count("state") == 2


class Interrupted(Neighbour):
    """When it is asked for a state for the second time, something else happens first."""

    meanwhile: Any = None
    questions = 0

    async def state_ids(self, server: str, room_id: str, event_id: str) -> tuple[list[str], list[str]]:
        self.questions += 1
        if self.meanwhile is not None and self.questions == 2:
            await self.meanwhile()
        return await super().state_ids(server, room_id, event_id)


def test_what_arrives_while_history_is_fetched(pair: Pair) -> None:
    there = Interrupted()
    pair = Pair(pair.house.db, there)
    room = pair.shared_room(members=1)
    room_id, root = room.room_id, list(room.extremities)
    one = room.chat(160)
    left, room.extremities = room.extremities, root
    two = room.chat(160, 160)
    room.extremities += left
    pair.take(room.say("last"))

    async def meanwhile() -> None:
        for event in (one[-100], two[-100]):
            await pair.incoming.receive(THERE, room_id, [event])

    ours = pair.house.run(pair.house.registry.get(room_id))
    there.meanwhile, there.questions = meanwhile, 0
    read_all(pair, room_id)
    assert there.questions >= 2  # it was interrupted
    assert pair.house.registry.cached(room_id) is ours  # nothing failed to be written
    again = read_all(pair, room_id)
    assert len(again) == len(set(again)) and set(room.events) <= set(again)


def test_many_branches_with_states_of_their_own(pair: Pair) -> None:
    room = pair.shared_room(members=1)
    room_id, root = room.room_id, list(room.extremities)
    ban = room.make("m.room.member", {"membership": "ban"}, f"@evil:{THERE}", prev=root)
    pair.take(room.add(ban))
    events = [
        room.make("m.room.member", {"membership": "join", "displayname": str(n)}, MEMBER0, sender=MEMBER0,
                  prev=root)
        for n in range(150)
    ]  # fmt: skip
    for start in range(0, 150, 50):
        pair.take(*events[start : start + 50])
    assert len(pair.extremities(room_id)) == 50
    assert pair.members(room_id)[f"@evil:{THERE}"] == "ban"
    # Who goes on from there is heard.
    for event in events[:20]:
        room.add(event)
    name = room.make("m.room.name", {"name": "x"}, "", prev=[each.event_id for each in events[:20]])
    pair.take(name)
    assert pair.state(room_id)["m.room.name", ""] == name.event_id
    assert len(pair.extremities(room_id)) == 31
    for _ in range(5):
        pair.house.say(room_id, "here")
    assert len(pair.extremities(room_id)) == 1
    assert pair.members(room_id)[f"@evil:{THERE}"] == "ban"


def test_a_web_of_events_that_nobody_knows(pair: Pair) -> None:
    room = pair.shared_room(members=1)
    state = room.state

    def unknown(prev: list[str]) -> str:
        event = room.make("m.room.message", {"body": "x"}, prev=prev, auth=auth)
        room.events[event.event_id] = event
        room.state_after[event.event_id] = state
        return event.event_id

    auth = room.auth_of(state, "m.room.message", OWNER, None, {})
    layer = [unknown([unknown([unknown(list(room.extremities))]) for _ in range(20)]) for _ in range(20)]
    pair.receive(*(room.make("m.room.message", {"body": str(n)}, prev=layer, auth=auth) for n in range(5)))
    assert pair.there.asked.count("state_ids") <= 20
    room.extremities = room.extremities[:1]
    pair.take(room.say("and on"))


def test_a_room_that_is_joined_anew_while_it_is_read(pair: Pair) -> None:
    room = pair.shared_room(members=1)
    room_id, registry = room.room_id, pair.house.registry
    pair.house.leave(room_id, ALICE)
    ours = pair.house.run(registry.get(room_id))
    registry.forget(room_id)

    async def meanwhile() -> None:
        reading = Deferred.fromCoroutine(registry.get(room_id))
        registry.adopt(ours, [])
        assert await reading is ours
        assert registry.cached(room_id) is ours

    pair.house.run(meanwhile())
