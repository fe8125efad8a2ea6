"""The synthetic homeserver against itself and our own rules: what it says honestly is true."""

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from homeserver.protocol import auth_rules, signing
from homeserver.protocol.events import Event
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.protocol.signing import SigningKey
from tests.federation.authority import Authority
from tests.federation.synthetic import V1, Synthetic, good
from tests.federation.synthetic_http import Answer, drip
from tests.federation.synthetic_room import SyntheticRoom, forge


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Synthetic, Synthetic]]:
    authority = Authority(tmp_path)
    with Synthetic(authority) as one, Synthetic(authority, "127.0.0.1", seed=1) as other:
        yield one, other


def check_all(room: SyntheticRoom, *servers: Synthetic) -> None:
    """Every event passes all checks of reception."""
    keys = {each.name: {each.key.key_id: each.key.verify_key} for each in servers}
    for event in room.events.values():
        parsed = Event.parse(event.pdu, room.version)
        assert parsed.event_id == event.event_id
        assert signing.check_hash_and_signatures(parsed, keys) is parsed
        if event.type != "m.room.create":
            auth_events = [room.events[each] for each in event.auth_events]
            auth_rules.check_auth_events(event, auth_events)
            if all(each in room.state_after for each in event.prev_events):
                state = room.state_of(event.prev_events)
                auth_rules.check(event, {key: room.events[each] for key, each in state.items()})


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_two_share_a_room(pair: tuple[Synthetic, Synthetic], version: str) -> None:
    one, other = pair
    room = one.make_room(version, members=3)
    room.chat(10)
    joined = other.join(one.name, room.room_id, omit_members=True)
    theirs = joined.say("hello", f"@visitor:{other.name}")
    assert other.send(one.name, [theirs]) == {theirs.event_id: {}}
    assert one.wait_for(theirs.event_id).json == theirs.json
    ours = room.say("welcome")
    assert one.send(other.name, [ours]) == {ours.event_id: {}}
    assert room.extremities == joined.extremities == [ours.event_id]
    check_all(room, one, other)
    # What was not sent is asked for.
    gap = room.chat(60)
    assert one.send(other.name, gap[-1:]) == {gap[-1].event_id: {}}
    assert set(other.received) >= {each.event_id for each in gap}
    assert other.leave(one.name, room.room_id).event_id in room.extremities
    assert not one.dropped and not other.dropped


def test_forks_resolve(pair: tuple[Synthetic, Synthetic]) -> None:
    room = pair[0].make_room("10")
    room.fork(3, 20)
    assert len(room.extremities) == 3
    merged = room.say("together")
    assert len(merged.prev_events) == 3
    assert sum(kind == "org.example.entry" for kind, _ in room.state) == 20
    check_all(room, pair[0])


def test_what_is_asked_for(pair: tuple[Synthetic, Synthetic]) -> None:
    one, other = pair
    room = one.make_room("11", members=2)
    said = room.chat(30)
    room_id = quote(room.room_id)
    last = said[-1].event_id
    state = other.get(one.name, f"{V1}/state/{room_id}", event_id=last)
    ids = other.get(one.name, f"{V1}/state_ids/{room_id}", event_id=last)
    assert len(ids["pdu_ids"]) == len(state["pdus"]) == len(room.state)
    assert len(ids["auth_chain_ids"]) == len(state["auth_chain"]) > 3
    back = other.get(one.name, f"{V1}/backfill/{room_id}", v=last, limit=5)["pdus"]
    assert [pdu["content"]["body"] for pdu in back] == [f"message {n}" for n in (29, 28, 27, 26, 25)]
    missing = {"latest_events": [last], "earliest_events": [said[10].event_id], "limit": 5}
    events = good(other.ask(one.name, "POST", f"{V1}/get_missing_events/{room_id}", missing))["events"]
    assert [pdu["content"]["body"] for pdu in events] == [f"message {n}" for n in (24, 25, 26, 27, 28)]
    assert other.get(one.name, f"{V1}/event/{quote(last)}")["pdus"] == [said[-1].pdu]
    assert other.ask(one.name, "GET", f"{V1}/event/$none").status_code == 404
    assert len(other.get(one.name, f"{V1}/event_auth/{room_id}/{quote(last)}")["auth_chain"]) == 3
    alias = other.get(one.name, f"{V1}/query/directory", room_alias=f"#room0:{one.name}")
    assert alias == {"room_id": room.room_id, "servers": [one.name]}
    forged = other.ask(one.name, "GET", f"{V1}/backfill/{room_id}", key=SigningKey.generate())
    assert forged.status_code == 401


def test_restricted_rooms_knocks_and_invites(pair: tuple[Synthetic, Synthetic]) -> None:
    one, other = pair
    restricted = one.make_room("10", join_rule={"join_rule": "restricted", "allow": []})
    joined = other.join(one.name, restricted.room_id)
    assert set(joined.events[joined.extremities[0]].pdu["signatures"]) == {one.name, other.name}
    check_all(restricted, one, other)
    knocked = one.make_room("12", join_rule="knock")
    shown = other.knock(one.name, knocked.room_id)["knock_room_state"]
    assert "m.room.create" in [each["type"] for each in shown]
    invite = one.invite(other.name, knocked, f"@visitor:{other.name}")
    assert set(invite.pdu["signatures"]) == {one.name, other.name}
    assert other.invites[knocked.room_id]["room_version"] == "12"
    check_all(knocked, one, other)


def test_misbehaviour(pair: tuple[Synthetic, Synthetic]) -> None:
    one, other = pair
    room = one.make_room("11")
    one.instead("version", lambda asked, honest: Answer({"lies": True, **honest().content}))
    assert set(good(other.ask(one.name, "GET", f"{V1}/version"))) == {"lies", "server"}
    one.instead("version", lambda asked, honest: drip(b'{"a": 1}', 0.01))
    assert good(other.ask(one.name, "GET", f"{V1}/version")) == {"a": 1}
    one.instead("version", lambda asked, honest: None)
    with pytest.raises(httpx.ReadTimeout):
        other.http.get(f"https://{one.name}{V1}/version", timeout=0.2)
    one.behave()
    pdu = forge(room.say("true"), one.name, one.key, content={"body": "forged, and well signed"})
    assert signing.check_hash_and_signatures(
        parsed := Event.parse(pdu, room.version), {one.name: {one.key.key_id: one.key.verify_key}}
    ) is parsed


def test_thousands_of_members_take_a_second(pair: tuple[Synthetic, Synthetic]) -> None:
    started = time.monotonic()
    room = pair[0].make_room("11", members=2_000)
    assert len(room.joined()) == 2_001
    assert time.monotonic() - started < 5
    again = SyntheticRoom.create("11", room.server_name, room.key, "room0", members=2_000)
    assert again.extremities == room.extremities, "the same seed makes another room"
