"""Jumping to a date of which this server has no history: another server is asked, and not believed."""

from collections.abc import Iterator

import pytest

from tests.federation.company import Company, company
from tests.federation.synthetic_http import Answer
from tests.federation.synthetic_room import SyntheticRoom
from tests.harness import Client, Json, ok, refused, room_path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    with company(tmp_path_factory.mktemp("jump")) as both:
        yield both


@pytest.fixture
def both(running: Company) -> Iterator[Company]:
    running.remote.behave()
    yield running
    running.remote.behave()


def old_room(both: Company, messages: int = 400) -> tuple[Client, SyntheticRoom]:
    """A user has joined a room that is older than their server's part in it."""
    alice, room = both.hearth.register("alice"), both.remote.make_room("11", members=2)
    room.chat(messages)
    ok(alice.post(f"/join/{room.room_id}", {}, server_name=both.remote.name))
    ok(alice.get(f"{room_path(room.room_id)}/joined_members"))
    return alice, room


def jump(alice: Client, room: SyntheticRoom, ts: int, direction: str) -> Json:
    path = f"/_matrix/client/v1{room_path(room.room_id)}/timestamp_to_event"
    return ok(alice.get(path, ts=ts, dir=direction))


@pytest.mark.parametrize("direction", ["f", "b"])
def test_an_event_of_the_past_is_found_and_can_be_read_around(both: Company, direction: str) -> None:
    alice, room = old_room(both)
    wanted = list(room.events.values())[200]
    found = jump(alice, room, wanted.origin_server_ts, direction)
    assert found == {"event_id": wanted.event_id, "origin_server_ts": wanted.origin_server_ts}
    context = ok(alice.get(f"{room_path(room.room_id)}/context/{wanted.event_id}", limit=6))
    before = [event["event_id"] for event in context["events_before"]]
    assert before == [event.event_id for event in list(room.events.values())[199:196:-1]]
    asked = both.remote.times_asked("timestamp_to_event")
    assert jump(alice, room, wanted.origin_server_ts, direction) == found
    assert both.remote.times_asked("timestamp_to_event") == asked
    page = ok(alice.get(f"{room_path(room.room_id)}/messages", dir="b", limit=250))
    ours = {event["event_id"] for event in page["chunk"]}
    assert {event.event_id for event in list(room.events.values())[-200:-1]} <= ours


def test_nobody_is_asked_about_history_that_is_here(both: Company) -> None:
    alice, room = old_room(both, 5)
    ok(alice.get(f"{room_path(room.room_id)}/messages", dir="b", limit=100))
    asked = both.remote.times_asked("timestamp_to_event")
    first = min(room.events.values(), key=lambda event: event.origin_server_ts)
    assert jump(alice, room, 0, "f")["event_id"] == first.event_id
    assert both.remote.times_asked("timestamp_to_event") == asked


@pytest.mark.parametrize(
    "given",
    [
        Answer({"event_id": "$nothing", "origin_server_ts": 1_700_000_000_001}),
        Answer({"event_id": 1, "origin_server_ts": "x"}),
        Answer({"event_id": "$later", "origin_server_ts": 2**60}),
        Answer({}, 500),
    ],
)
def test_a_server_that_lies_changes_nothing(both: Company, given: Answer) -> None:
    alice, room = old_room(both)
    both.remote.instead("timestamp_to_event", lambda asked, honest: given)
    path = f"/_matrix/client/v1{room_path(room.room_id)}/timestamp_to_event"
    refused(alice.get(path, ts=1_700_000_000_200, dir="b"), 404, "M_NOT_FOUND")
