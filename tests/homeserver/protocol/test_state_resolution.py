"""State resolution: what becomes of rooms whose servers saw different things."""

import itertools
from collections.abc import Collection, Mapping
from hashlib import sha1
from typing import Any

import pytest

from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.state_resolution import resolve
from homeserver.protocol.state_resolution.auth_chains import auth_difference, conflicted_subgraph
from homeserver.protocol.state_resolution.source import EventSource
from homeserver.protocol.state_resolution.v2 import separate
from tests.homeserver.protocol.room import (
    ALICE,
    ALL_VERSIONS,
    BOB,
    CAROL,
    Room,
    id_state,
    standard_room,
    versions,
)

State = dict[StateKey, Event]
MEMBER, POWER, TOPIC, RULES = "m.room.member", "m.room.power_levels", "m.room.topic", "m.room.join_rules"


class Fork:
    """One side of a fork: its own state, growing from where the room stood."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.state = dict(room.state)
        self.last = list(room.last)

    def send(
        self, sender: str, type: str, content: dict[str, Any], state_key: str = "", ts: int | None = None
    ) -> Event:
        event = self.room.make(sender, type, content, state_key, state=self.state, prev=self.last, ts=ts)
        self.state[type, state_key] = event
        self.last = [event.event_id]
        return event


def resolved(room: Room, *states: Mapping[StateKey, Event]) -> dict[StateKey, str]:
    """Resolved in every order, which must not matter."""
    results = [
        resolve(room.version, [id_state(state) for state in order], room.fetch)
        for order in itertools.permutations(states)
    ]
    assert all(result == results[0] for result in results)
    return results[0]


def room_with_bob(version: str, level: int = 50) -> Room:
    room = standard_room(version)
    room.member(BOB)
    room.member(CAROL)
    room.power(users=room.levels(bob=level))
    return room


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_nothing_to_resolve(version: str) -> None:
    room = standard_room(version)
    state = id_state(room.state)

    def never(event_ids: Collection[str]) -> Mapping[str, Event]:
        raise AssertionError

    assert resolve(room.version, [], never) == {}
    assert resolve(room.version, [state], never) == state
    assert resolve(room.version, [state, dict(state), state], never) == state


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_changes_of_different_keys_both_stand(version: str) -> None:
    room = room_with_bob(version)
    one, two = Fork(room), Fork(room)
    topic = one.send(ALICE, TOPIC, {"topic": "1"})
    name = two.send(BOB, "m.room.name", {"name": "2"})
    result = resolved(room, one.state, two.state)
    assert result == {
        **id_state(room.state),
        (TOPIC, ""): topic.event_id,
        ("m.room.name", ""): name.event_id,
    }


@pytest.mark.parametrize("version", versions(2))
def test_the_later_topic_wins(version: str) -> None:
    room = room_with_bob(version)
    one, two = Fork(room), Fork(room)
    one.send(ALICE, TOPIC, {"topic": "early"}, ts=5_000)
    late = two.send(BOB, TOPIC, {"topic": "late"}, ts=6_000)
    assert resolved(room, one.state, two.state)[TOPIC, ""] == late.event_id


def banned_meanwhile(version: str) -> tuple[Room, State, State]:
    """Alice bans Bob, who at the same moment, by an earlier clock, uses his power."""
    room = room_with_bob(version)
    one, two = Fork(room), Fork(room)
    one.send(ALICE, MEMBER, {"membership": "ban"}, BOB, ts=9_000)
    two.send(BOB, TOPIC, {"topic": "mine"}, ts=5_000)
    two.send(BOB, POWER, {"users": room.levels(bob=50, carol=50)}, ts=5_001)
    return room, one.state, two.state


@pytest.mark.parametrize("version", versions(2))
def test_a_ban_beats_what_the_banned_did_meanwhile(version: str) -> None:
    room, one, two = banned_meanwhile(version)
    result = resolved(room, one, two)
    assert result[MEMBER, BOB] == one[MEMBER, BOB].event_id
    assert (TOPIC, "") not in result
    assert result[POWER, ""] == room.state[POWER, ""].event_id


def banned_after_speaking(version: str) -> tuple[Room, State, State]:
    """Bob's topic stands on newer power levels than the ban: only as a power event does the ban win."""
    room = room_with_bob(version)
    one, two = Fork(room), Fork(room)
    one.send(ALICE, MEMBER, {"membership": "ban"}, BOB, ts=9_000)
    two.send(ALICE, POWER, {"users": room.levels(bob=50), "kick": 40}, ts=4_000)
    two.send(BOB, TOPIC, {"topic": "mine"}, ts=5_000)
    return room, one.state, two.state


@pytest.mark.parametrize("version", versions(2))
def test_a_ban_comes_before_all_that_is_no_power_event(version: str) -> None:
    room, one, two = banned_after_speaking(version)
    result = resolved(room, one, two)
    assert result[MEMBER, BOB] == one[MEMBER, BOB].event_id
    assert result[POWER, ""] == two[POWER, ""].event_id
    assert (TOPIC, "") not in result


@pytest.mark.parametrize("version", versions(2))
def test_the_more_powerful_wins_a_fight(version: str) -> None:
    room = room_with_bob(version)
    one, two = Fork(room), Fork(room)
    demotion = one.send(ALICE, POWER, {"users": room.levels(bob=0)}, ts=9_000)
    two.send(BOB, POWER, {"users": room.levels(bob=50, carol=50)}, ts=5_000)
    two.send(CAROL, POWER, {"users": room.levels(bob=50), "ban": 0}, ts=5_001)
    assert resolved(room, one.state, two.state)[POWER, ""] == demotion.event_id


@pytest.mark.parametrize("version", versions(2))
def test_mutual_bans_of_moderators_go_by_power(version: str) -> None:
    room = room_with_bob(version)
    room.power(users=room.levels(bob=50, carol=49))
    one, two = Fork(room), Fork(room)
    ban = one.send(BOB, MEMBER, {"membership": "ban"}, CAROL, ts=9_000)
    two.send(CAROL, TOPIC, {"topic": "x"}, ts=5_000)
    result = resolved(room, one.state, two.state)
    assert result[MEMBER, CAROL] == ban.event_id
    assert (TOPIC, "") not in result


@pytest.mark.parametrize("version", versions(2))
def test_a_join_under_a_rule_that_was_changed_meanwhile(version: str) -> None:
    room = standard_room(version)
    one, two = Fork(room), Fork(room)
    closed = one.send(ALICE, RULES, {"join_rule": "invite"}, ts=9_000)
    two.send(BOB, MEMBER, {"membership": "join"}, BOB, ts=5_000)
    result = resolved(room, one.state, two.state)
    assert result[RULES, ""] == closed.event_id
    assert (MEMBER, BOB) not in result


@pytest.mark.parametrize("version", versions(2))
def test_mainline_beats_timestamps(version: str) -> None:
    """Of two topics, the one standing on the newer power levels wins, whatever its clock says."""
    room = room_with_bob(version)
    one, two = Fork(room), Fork(room)
    one.send(BOB, TOPIC, {"topic": "old levels"}, ts=9_000)
    two.send(ALICE, POWER, {"users": room.levels(bob=50), "kick": 40}, ts=4_000)
    newer = two.send(BOB, TOPIC, {"topic": "new levels"}, ts=5_000)
    assert resolved(room, one.state, two.state)[TOPIC, ""] == newer.event_id


@pytest.mark.parametrize("version", versions(2))
def test_a_rejected_event_never_enters_the_state(version: str) -> None:
    room = room_with_bob(version)
    one, two = Fork(room), Fork(room)
    one.send(ALICE, TOPIC, {"topic": "rejected"}, ts=9_000).rejected = True
    good = two.send(BOB, TOPIC, {"topic": "good"}, ts=5_000)
    assert resolved(room, one.state, two.state)[TOPIC, ""] == good.event_id


@pytest.mark.parametrize("version", versions(2))
def test_events_nobody_has_are_left_out(version: str) -> None:
    room = room_with_bob(version)
    one, two = Fork(room), Fork(room)
    lost = one.send(ALICE, TOPIC, {"topic": "lost"}, ts=9_000)
    good = two.send(BOB, TOPIC, {"topic": "good"}, ts=5_000)
    del room.events[lost.event_id]
    assert resolved(room, one.state, two.state)[TOPIC, ""] == good.event_id


@pytest.mark.parametrize("version", versions(2))
def test_three_sides(version: str) -> None:
    room = room_with_bob(version)
    forks = [Fork(room) for _ in range(3)]
    for number, fork in enumerate(forks):
        fork.send(BOB, TOPIC, {"topic": str(number)}, ts=5_000 + number)
        fork.send(BOB, "m.room.name", {"name": str(number)}, ts=6_000 - number)
    result = resolved(room, *(fork.state for fork in forks))
    assert result[TOPIC, ""] == forks[2].state[TOPIC, ""].event_id
    assert result["m.room.name", ""] == forks[0].state["m.room.name", ""].event_id


def stale_server(version: str) -> tuple[Room, State, State]:
    """Bob's moderation was granted and used; then a server comes with a state that knows of neither."""
    room = standard_room(version)
    room.member(BOB)
    stale = dict(room.state)
    room.power(users=room.levels(bob=50))
    room.send(BOB, RULES, {"join_rule": "invite"}, "")
    stale[RULES, ""] = room.make(ALICE, RULES, {"join_rule": "knock"}, "", state=stale, ts=500)
    return room, dict(room.state), stale


@pytest.mark.parametrize("version", versions(2))
def test_old_power_levels_do_not_come_back(version: str) -> None:
    room, current, stale = stale_server(version)
    result = resolved(room, current, stale)
    assert result[POWER, ""] == current[POWER, ""].event_id
    assert result[RULES, ""] == current[RULES, ""].event_id


def two_joins_on_one_invite(version: str) -> tuple[Room, State, State]:
    """Carol's join differs on the two sides, and has replaced the invite it rests on in both."""
    room = standard_room(version, "invite")
    room.member(BOB, "invite", by=ALICE)
    room.member(BOB)
    room.power(users=room.levels(bob=50))
    room.member(CAROL, "invite", by=BOB)
    one, two = Fork(room), Fork(room)
    one.send(CAROL, MEMBER, {"membership": "join"}, CAROL, ts=5_000)
    two.send(CAROL, MEMBER, {"membership": "join", "displayname": "C"}, CAROL, ts=6_000)
    return room, one.state, two.state


@pytest.mark.parametrize("version", versions(2))
def test_a_join_finds_its_invite_again(version: str) -> None:
    """The invite is in no state set any more; the join's own auth events bring it back."""
    room, one, two = two_joins_on_one_invite(version)
    assert resolved(room, one, two)[MEMBER, CAROL] == two[MEMBER, CAROL].event_id


def rules_by_one_who_left(version: str) -> tuple[Room, State, State]:
    """Alice set the rules and left, Bob changed them; a stale side knows that she left, not his change."""
    room = standard_room(version)
    room.member(BOB)
    room.power(users=room.levels(bob=100))
    early = Fork(room)
    early.send(ALICE, RULES, {"join_rule": "invite"}, ts=3_000)
    late = Fork(room)
    late.last = list(early.last)
    late.state = dict(early.state)
    late.send(ALICE, MEMBER, {"membership": "leave"}, ALICE, ts=4_000)
    late.send(BOB, RULES, {"join_rule": "public"}, ts=5_000)
    stale = dict(early.state)
    stale[MEMBER, ALICE] = late.state[MEMBER, ALICE]
    return room, late.state, stale


@pytest.mark.parametrize("version", versions(2))
def test_rules_of_someone_who_left_since(version: str) -> None:
    room, late, stale = rules_by_one_who_left(version)
    result = resolved(room, late, stale)
    assert result[RULES, ""] == late[RULES, ""].event_id


def replaced_history(version: str) -> tuple[Room, State, State]:
    """Both sides hold a join rule whose sender, on the state both agree on, has left.

    Starting from that state (v2) neither rule passes and the room falls back to having none; starting
    from nothing (v2.1) the history that led there is replayed and the last rule stands.
    """
    room = standard_room(version)
    room.member(BOB)
    room.power(users=room.levels(bob=100))
    one, two = Fork(room), Fork(room)
    one.send(BOB, RULES, {"join_rule": "invite"}, ts=3_000)
    two.send(BOB, RULES, {"join_rule": "knock"}, ts=4_000)
    gone = room.make(BOB, MEMBER, {"membership": "leave"}, BOB, ts=5_000)
    one.state[MEMBER, BOB] = two.state[MEMBER, BOB] = gone
    return room, one.state, two.state


@pytest.mark.parametrize("version", versions(2, 11))
def test_version_2_resets_replaced_history(version: str) -> None:
    room, one, two = replaced_history(version)
    result = resolved(room, one, two)
    assert result.get((RULES, "")) not in (one[RULES, ""].event_id, two[RULES, ""].event_id)


def test_version_2_1_replays_replaced_history() -> None:
    room, one, two = replaced_history("12")
    assert resolved(room, one, two)[RULES, ""] == two[RULES, ""].event_id


def promotion_in_between(version: str) -> tuple[Room, State, State]:
    """Bob changes power levels, promoted by an event that has been replaced and only one side rests on."""
    room = standard_room(version)
    room.member(BOB)
    one, two = Fork(room), Fork(room)
    two.send(ALICE, POWER, {"users": room.levels(bob=50)}, ts=4_000)
    two.send(BOB, POWER, {"users": room.levels(bob=50, carol=10)}, ts=5_000)
    return room, one.state, two.state


@pytest.mark.parametrize("version", versions(2))
def test_the_auth_difference_counts(version: str) -> None:
    room, one, two = promotion_in_between(version)
    assert resolved(room, one, two)[POWER, ""] == two[POWER, ""].event_id


def promotion_known_to_both(version: str) -> tuple[Room, State, State]:
    """The same, but Carol's join rests on the promotion, so that it is in the chains of both sides.

    Being no difference it is not replayed in version 2, which falls back to the old levels: the reset
    that the conflicted subgraph of 2.1 mends.
    """
    room = standard_room(version)
    room.member(BOB)
    old = room.state[POWER, ""]
    room.power(users=room.levels(bob=50))
    room.member(CAROL)
    room.send(BOB, POWER, {"users": room.levels(bob=50, carol=10)}, "")
    return room, {**room.state, (POWER, ""): old}, dict(room.state)


@pytest.mark.parametrize("version", versions(2))
def test_the_conflicted_subgraph_counts(version: str) -> None:
    room, stale, current = promotion_known_to_both(version)
    expected = current if version == "12" else stale
    assert resolved(room, stale, current)[POWER, ""] == expected[POWER, ""].event_id


CASES = [
    promotion_in_between,
    promotion_known_to_both,
    banned_meanwhile,
    banned_after_speaking,
    stale_server,
    two_joins_on_one_invite,
    rules_by_one_who_left,
    replaced_history,
]


# Version 1


def by_sha1(*events: Event) -> list[Event]:
    return sorted(events, key=lambda event: sha1(event.event_id.encode()).digest())


def test_v1_a_key_only_one_side_has_is_no_conflict() -> None:
    room = room_with_bob("1")
    one = Fork(room)
    topic = one.send(ALICE, TOPIC, {"topic": "x"})
    assert resolved(room, one.state, room.state)[TOPIC, ""] == topic.event_id


def test_v1_the_deeper_topic_wins_then_the_lower_hash() -> None:
    room = room_with_bob("1")
    one, two, three = Fork(room), Fork(room), Fork(room)
    a, b = one.send(ALICE, TOPIC, {"topic": "a"}), two.send(BOB, TOPIC, {"topic": "b"})
    assert resolved(room, one.state, two.state)[TOPIC, ""] == by_sha1(a, b)[0].event_id
    three.send(ALICE, TOPIC, {"topic": "c"})
    deep = three.send(ALICE, TOPIC, {"topic": "d"})
    assert resolved(room, one.state, two.state, three.state)[TOPIC, ""] == deep.event_id


def test_v1_power_levels_that_the_first_forbids_are_not_taken() -> None:
    room = room_with_bob("1")
    one, two = Fork(room), Fork(room)
    demotion = one.send(ALICE, POWER, {"users": room.levels(bob=0)})
    two.send(BOB, TOPIC, {"topic": "deeper"})
    two.send(BOB, POWER, {"users": room.levels(bob=50, carol=50)})
    assert resolved(room, one.state, two.state)[POWER, ""] == demotion.event_id


def test_v1_when_no_event_passes_the_oldest_stands() -> None:
    room = room_with_bob("1")
    one, two = Fork(room), Fork(room)
    old = one.send(BOB, TOPIC, {"topic": "old"})
    two.send(BOB, "x", {})
    two.send(BOB, TOPIC, {"topic": "new"})
    gone = room.make(ALICE, MEMBER, {"membership": "ban"}, BOB)
    one.state[MEMBER, BOB] = two.state[MEMBER, BOB] = gone
    assert resolved(room, one.state, two.state)[TOPIC, ""] == old.event_id


# The parts


def test_separate() -> None:
    k1, k2, k3, k4 = (("t", str(n)) for n in range(4))
    sets: list[dict[StateKey, str]] = [
        {k1: "a", k2: "b", k3: "c"},
        {k1: "a", k2: "x", k4: "d"},
        {k1: "a", k2: "b"},
    ]
    for order in itertools.permutations(sets):
        assert separate(order) == ({k1: "a"}, {"b", "x", "c", "d"})


def graph(**edges: str) -> EventSource:
    """Letters for events: `graph(c="ab")` makes a and b the auth events of c."""
    return EventSource(lambda ids: {}, lambda ids: {event_id: edges.get(event_id, "") for event_id in ids})


def test_conflicted_subgraph() -> None:
    source = graph(f="ed", e="c", d="b", c="b", b="a", g="a")
    assert conflicted_subgraph({"f", "b"}, source) == {"f", "e", "d", "c", "b"}
    assert conflicted_subgraph({"f", "c", "g"}, source) == {"f", "e", "c", "g"}


def test_cycles_end() -> None:
    source = graph(a="b", b="c", c="a", d="c")
    assert conflicted_subgraph({"d", "b"}, source) >= {"d", "b"}
    assert auth_difference([{("t", ""): "d"}, {("t", ""): "e"}], {"d", "e"}, {}, source) == {"a", "b", "c"}


def test_auth_difference_leaves_out_what_unconflicted_state_leads_to() -> None:
    source = graph(x="p", y="q", p="a", q="a", m="n", n="p")
    one, two = {("t", ""): "x", ("u", ""): "m"}, {("t", ""): "y", ("u", ""): "m"}
    assert auth_difference([one, two], {"x", "y"}, {("u", ""): "m"}, source) == {"q"}
    member = {("m.room.member", "@m:x"): "m"}
    assert auth_difference([one, two], {"x", "y"}, member, source) == {"q"}
    assert auth_difference([one, two], {"x", "y"}, {("u", ""): "p"}, source) == {"q"}


@pytest.mark.parametrize("version", versions(2))
def test_edges_alone_suffice_to_walk_chains(version: str) -> None:
    room, one, two = two_joins_on_one_invite(version)
    sets = [id_state(one), id_state(two)]

    def edges(event_ids: Collection[str]) -> dict[str, tuple[str, ...]]:
        return {event_id: room.events[event_id].auth_events for event_id in event_ids}

    assert resolve(room.version, sets, room.fetch, edges) == resolve(room.version, sets, room.fetch)
