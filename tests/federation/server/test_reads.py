"""Servers read rooms that they take part in: state, events and history; and nothing of other rooms."""

from typing import Any

import pytest

from homeserver.protocol.events import Event
from homeserver.protocol.room_versions import ROOM_VERSIONS
from tests.federation.server.world import World
from tests.harness import ok, refused

V = ROOM_VERSIONS["11"]


def ids(pdus: list[dict[str, Any]]) -> list[str]:
    return [Event.parse(each, V).event_id for each in pdus]


def test_the_state_before_an_event(world: World) -> None:
    alice = world.here.register("alice")
    room_id = alice.create_room(preset="public_chat", room_version="11")
    world.there.join(world.name, room_id)
    named = alice.send_state(room_id, "m.room.name", {"name": "1"})
    renamed = alice.send_state(room_id, "m.room.name", {"name": "2"})
    after = alice.send(room_id, "x")
    answers = [world.get("v1/state", room_id, event_id=each) for each in (named, renamed, after)]
    names = [
        [each["content"]["name"] for each in answer["pdus"] if each["type"] == "m.room.name"]
        for answer in answers
    ]
    assert names == [[], ["1"], ["2"]]
    for event_id, answer in zip((named, renamed, after), answers, strict=True):
        found = world.get("v1/state_ids", room_id, event_id=event_id)
        assert sorted(found["pdu_ids"]) == sorted(ids(answer["pdus"]))
        assert sorted(found["auth_chain_ids"]) == sorted(ids(answer["auth_chain"]))
        for pdu in answer["pdus"] + answer["auth_chain"]:
            assert set(found["auth_chain_ids"]) >= set(pdu["auth_events"])
    chain = world.get("v1/event_auth", room_id, after)["auth_chain"]
    assert {each["type"] for each in chain} >= {"m.room.create", "m.room.power_levels", "m.room.member"}
    create = next(each for each in answers[0]["pdus"] if each["type"] == "m.room.create")
    [create_id] = ids([create])
    assert world.get("v1/state", room_id, event_id=create_id) == {"auth_chain": [], "pdus": []}


def test_history(world: World) -> None:
    alice = world.here.register("alice")
    room_id = alice.create_room(preset="public_chat", room_version="11")
    world.there.join(world.name, room_id)
    said = [alice.send(room_id, f"{n}") for n in range(30)]
    back = world.get("v1/backfill", room_id, v=said[9], limit=5)
    assert ids(back["pdus"]) == said[9:4:-1] and back["origin_server_ts"]
    assert len(world.get("v1/backfill", room_id, v=[said[-1], said[3]], limit=1000)["pdus"]) > 30
    assert world.get("v1/backfill", room_id, v="$none", limit=5)["pdus"] == []
    assert world.get("v1/backfill", room_id, v=said[9], limit=-1)["pdus"] == []

    def missing(**body: Any) -> list[str]:
        named = {"earliest_events": [said[0]], "latest_events": [said[-1]], **body}
        return ids(ok(world.ask("POST", "v1/get_missing_events", room_id, body=named))["events"])

    assert missing() == said[-11:-1]
    assert missing(limit=100) == said[-21:-1]
    assert missing(earliest_events=[said[-4]]) == said[-3:-1]
    assert missing(latest_events=["$none"]) == []
    [event] = world.get("v1/event", said[4])["pdus"]
    assert ids([event]) == [said[4]]
    ts = event["origin_server_ts"]
    assert world.get("v1/timestamp_to_event", room_id, ts=ts, dir="b")["origin_server_ts"] == ts
    first = world.get("v1/timestamp_to_event", room_id, ts=0, dir="f")
    assert first["event_id"] == ids(world.get("v1/backfill", room_id, v=said[0], limit=100)["pdus"])[-1]
    refused(world.ask("GET", "v1/timestamp_to_event", room_id, ts=0, dir="b"), 404, "M_NOT_FOUND")


def test_what_a_server_was_not_there_for(world: World) -> None:
    alice = world.here.register("alice")
    visibility = {"history_visibility": "joined"}
    state = [{"type": "m.room.history_visibility", "state_key": "", "content": visibility}]
    room_id = alice.create_room(preset="public_chat", room_version="11", initial_state=state)
    secret = alice.send(room_id, "secret")
    world.there.join(world.name, room_id)
    shown = alice.send(room_id, "shown")
    content = [each["content"] for each in world.get("v1/backfill", room_id, v=shown, limit=3)["pdus"]]
    assert content[0]["body"] == "shown" and content[1]["membership"] == "join" and content[2] == {}
    [event] = world.get("v1/event", secret)["pdus"]
    assert event["content"] == {} and ids([event]) == [secret]
    named = {"earliest_events": [], "latest_events": [shown], "limit": 2}
    events = ok(world.ask("POST", "v1/get_missing_events", room_id, body=named))["events"]
    assert events[0]["content"] == {}
    found = world.get("v1/timestamp_to_event", room_id, ts=event["origin_server_ts"], dir="f")
    assert found["event_id"] != secret


def test_redacted_events_stay_redacted(world: World) -> None:
    alice = world.here.register("alice")
    room_id = alice.create_room(preset="public_chat", room_version="11")
    world.there.join(world.name, room_id)
    said = alice.send(room_id, "regretted")
    ok(alice.put(f"/rooms/{room_id}/redact/{said}/t1"))
    [event] = world.get("v1/event", said)["pdus"]
    assert event["content"] == {} and ids([event]) == [said]


def test_what_is_refused(world: World) -> None:
    alice = world.here.register("alice")
    room_id = alice.create_room(preset="public_chat", room_version="11")
    other = alice.create_room(preset="public_chat", room_version="11")
    said, elsewhere = alice.send(room_id, "x"), alice.send(other, "x")
    named = {"earliest_events": [], "latest_events": [said]}
    for room in (room_id, "!unknown:x.example"):
        for response in (
            world.ask("GET", "v1/state", room, event_id=said),
            world.ask("GET", "v1/state_ids", room, event_id=said),
            world.ask("GET", "v1/backfill", room, v=said, limit=1),
            world.ask("GET", "v1/event_auth", room, said),
            world.ask("GET", "v1/timestamp_to_event", room, ts=0, dir="f"),
            world.ask("POST", "v1/get_missing_events", room, body=named),
        ):
            refused(response, 403, "M_FORBIDDEN")
    refused(world.ask("GET", "v1/event", said), 403, "M_FORBIDDEN")
    world.there.join(world.name, room_id)
    for event_id in (elsewhere, "$none"):
        refused(world.ask("GET", "v1/state", room_id, event_id=event_id), 404, "M_NOT_FOUND")
        refused(world.ask("GET", "v1/state_ids", room_id, event_id=event_id), 404, "M_NOT_FOUND")
        refused(world.ask("GET", "v1/event_auth", room_id, event_id), 404, "M_NOT_FOUND")
        assert world.get("v1/backfill", room_id, v=event_id, limit=5)["pdus"] == []
    refused(world.ask("GET", "v1/event", "$none"), 404, "M_NOT_FOUND")


@pytest.mark.parametrize(
    ("path", "query", "errcode"),
    [
        ("v1/state", {}, "M_MISSING_PARAM"),
        ("v1/backfill", {"v": "$x"}, "M_MISSING_PARAM"),
        ("v1/backfill", {"limit": 1}, "M_MISSING_PARAM"),
        ("v1/backfill", {"v": "$x", "limit": "many"}, "M_INVALID_PARAM"),
        ("v1/backfill", {"v": ["$x"] * 101, "limit": 1}, "M_INVALID_PARAM"),
        ("v1/timestamp_to_event", {"ts": -1, "dir": "f"}, "M_INVALID_PARAM"),
        ("v1/timestamp_to_event", {"ts": 1, "dir": "x"}, "M_INVALID_PARAM"),
    ],
)
def test_bad_parameters(world: World, path: str, query: dict[str, Any], errcode: str) -> None:
    refused(world.ask("GET", path, "!r:x.example", **query), 400, errcode)


def test_what_no_database_holds(world: World) -> None:
    alice = world.here.register("alice")
    room_id = alice.create_room(preset="public_chat", room_version="11")
    world.there.join(world.name, room_id)
    named = {"earliest_events": ["\0"], "latest_events": ["$\0", alice.send(room_id, "x")]}
    body = {**named, "limit": 10**12, "min_depth": -(10**15)}
    assert ok(world.ask("POST", "v1/get_missing_events", room_id, body=body))["events"]
