"""Alice schedules events: they come when they are due, unless she thinks better of it. MSC4140."""

import time
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Client, HearthServer, Json, ok, refused, room_path

MSC = "/_matrix/client/unstable/org.matrix.msc4140"
MESSAGE = {"msgtype": "m.text", "body": "later"}


def schedule(client: Client, room_id: str, delay: int, txn_id: str = "t", content: Any = None) -> str:
    path = f"{room_path(room_id)}/send/m.room.message/{txn_id}"
    answer = ok(client.put(path, content or MESSAGE, **{"org.matrix.msc4140.delay": delay}))
    delay_id: str = answer["delay_id"]
    return delay_id


def manage(client: Client, delay_id: str, action: str) -> Any:
    return client.post(f"{MSC}/delayed_events/{delay_id}/{action}")


def scheduled(client: Client) -> list[Json]:
    events: list[Json] = ok(client.get(f"{MSC}/delayed_events"))["delayed_events"]
    return events


def look(client: Client, delay_id: str) -> Json:
    return ok(client.get(f"{MSC}/delayed_events/{delay_id}"))


def until_finalised(client: Client, delay_id: str) -> Json:
    for _ in range(200):
        if "finalised_ts" in (found := look(client, delay_id)):
            return found
        time.sleep(0.05)
    raise AssertionError(f"still scheduled: {found}")


def test_it_is_sent_when_it_is_due_and_not_before(server: HearthServer) -> None:
    alice, bob = server.register("alice"), server.register("bob")
    room_id = alice.create_room(preset="public_chat")
    bob.join(room_id)
    begin = time.time() * 1000
    delay_id = schedule(alice, room_id, 400)
    [row] = scheduled(alice)
    assert row["delay_id"] == delay_id
    assert (row["room_id"], row["type"], row["content"]) == (room_id, "m.room.message", MESSAGE)
    assert row["delay_ms"] == row["delay"] == 400
    assert row["scheduled_at"] == row["running_since"] >= begin - 1
    assert "state_key" not in row
    done = until_finalised(alice, delay_id)
    event = ok(alice.get(f"{room_path(room_id)}/event/{done['event_id']}"))
    assert event["content"] == MESSAGE
    assert event["origin_server_ts"] >= row["scheduled_at"] + 400
    assert event["unsigned"]["org.matrix.msc4140.delay_id"] == delay_id
    seen = ok(bob.get(f"{room_path(room_id)}/event/{done['event_id']}"))
    assert "org.matrix.msc4140.delay_id" not in seen["unsigned"]
    assert scheduled(alice) == []
    [finalised] = ok(alice.get(f"{MSC}/delayed_events", status="finalised"))["finalised_events"]
    assert finalised["event_id"] == done["event_id"]


def test_state_is_set_later(server: HearthServer) -> None:
    alice = server.register("alice")
    room_id = alice.create_room()
    path = f"{room_path(room_id)}/state/org.example.call/x"
    delay_id = ok(alice.put(path, {"n": 1}, **{"org.matrix.msc4140.delay": 100}))["delay_id"]
    done = until_finalised(alice, delay_id)
    assert done["state_key"] == "x"
    assert ok(alice.state(room_id, "org.example.call", "x")) == {"n": 1}
    [event] = [each for each in ok_list(alice, room_id) if each["event_id"] == done["event_id"]]
    assert event["unsigned"]["org.matrix.msc4140.delay_id"] == delay_id


def ok_list(client: Client, room_id: str) -> list[Json]:
    response = client.get(f"{room_path(room_id)}/state")
    assert response.status_code == 200
    events: list[Json] = response.json()
    return events


def test_the_endpoint_of_its_own(server: HearthServer) -> None:
    alice = server.register("alice")
    room_id = alice.create_room()
    path = f"{MSC}{room_path(room_id)}/delayed_event/org.example.call/t1"
    body = {"delay_ms": 60_000, "content": {"n": 1}, "state_key": ""}
    delay_id = ok(alice.put(path, body))["delay_id"]
    assert ok(alice.put(path, body))["delay_id"] == delay_id
    [row] = scheduled(alice)
    assert row["state_key"] == ""
    ok(manage(alice, delay_id, "send"))
    assert ok(alice.state(room_id, "org.example.call")) == {"n": 1}


def test_cancelled_restarted_sent_at_once(server: HearthServer) -> None:
    alice = server.register("alice")
    room_id = alice.create_room()
    cancelled, sent = (schedule(alice, room_id, 60_000, txn) for txn in ("a", "b"))
    before = look(alice, sent)["scheduled_at"]
    ok(manage(alice, sent, "restart"))
    assert look(alice, sent)["scheduled_at"] > before
    assert [row["delay_id"] for row in scheduled(alice)] == [cancelled, sent]
    ok(manage(alice, cancelled, "cancel"))
    ok(manage(alice, cancelled, "cancel"))
    for action in ("send", "restart"):
        refused(manage(alice, cancelled, action), 409, "M_UNKNOWN")
    found = look(alice, cancelled)
    assert "finalised_ts" in found
    assert "event_id" not in found
    assert "error" not in found
    ok(alice.post(f"{MSC}/delayed_events/{sent}", {"action": "send"}))
    ok(manage(alice, sent, "send"))
    refused(manage(alice, sent, "cancel"), 409, "M_UNKNOWN")
    assert look(alice, sent)["event_id"] in [event["event_id"] for event in alice.timeline(room_id)]


def test_restarting_puts_it_off(server: HearthServer) -> None:
    alice = server.register("alice")
    room_id = alice.create_room()
    delay_id = schedule(alice, room_id, 600)
    for _ in range(4):
        time.sleep(0.3)
        ok(manage(alice, delay_id, "restart"))
    assert "finalised_ts" not in look(alice, delay_id)
    assert "event_id" in until_finalised(alice, delay_id)


def test_who_may_manage_it(server: HearthServer) -> None:
    """Its owner; and whoever was given its ID, without a token. Not another user."""
    alice, mallory, service = server.register("alice"), server.register("mallory"), server.client()
    room_id = alice.create_room()
    delay_id = schedule(alice, room_id, 60_000)
    for action in ("cancel", "restart", "send"):
        refused(manage(mallory, delay_id, action), 404, "M_NOT_FOUND")
    refused(mallory.get(f"{MSC}/delayed_events/{delay_id}"), 404, "M_NOT_FOUND")
    assert scheduled(mallory) == []
    refused(service.get(f"{MSC}/delayed_events/{delay_id}"), 401, "M_MISSING_TOKEN")
    ok(manage(service, delay_id, "restart"))
    ok(manage(service, delay_id, "send"))
    assert "event_id" in look(alice, delay_id)
    refused(manage(service, "nonsense", "send"), 404, "M_NOT_FOUND")
    refused(alice.post(f"{MSC}/delayed_events/{delay_id}", {"action": "forget"}), 400, "M_INVALID_PARAM")


def test_power_counts_when_it_is_sent(server: HearthServer) -> None:
    alice, bob = server.register("alice"), server.register("bob")
    room_id = alice.create_room(preset="public_chat")
    bob.join(room_id)
    path = f"{room_path(room_id)}/state/m.room.topic/"
    delay_id = ok(bob.put(path, {"topic": "x"}, **{"org.matrix.msc4140.delay": 60_000}))["delay_id"]
    refused(manage(bob, delay_id, "send"), 403, "M_FORBIDDEN")
    assert "finalised_ts" not in look(bob, delay_id)
    failing = ok(bob.put(path, {"topic": "y"}, **{"org.matrix.msc4140.delay": 50}))["delay_id"]
    done = until_finalised(bob, failing)
    assert done["error"]["errcode"] == "M_FORBIDDEN"
    assert "event_id" not in done


@pytest.mark.parametrize("delay", [0, -1])
def test_delays_are_positive(server: HearthServer, delay: int) -> None:
    alice = server.register("alice")
    path = f"{room_path(alice.create_room())}/send/m.room.message/t"
    refused(alice.put(path, MESSAGE, **{"org.matrix.msc4140.delay": delay}), 400, "M_INVALID_PARAM")


def test_limits(server: HearthServer) -> None:
    alice = server.register("alice")
    room_id = alice.create_room()
    limits = ok(alice.get("/capabilities"))["capabilities"]["org.matrix.msc4140.delayed_events"]
    assert ok(alice.get("/_matrix/client/versions"))["unstable_features"]["org.matrix.msc4140"] is True
    path = f"{room_path(room_id)}/send/m.room.message/"
    too_long = {"org.matrix.msc4140.delay": limits["max_delay_ms"] + 1}
    refused(alice.put(path + "long", MESSAGE, **too_long), 403, "M_FORBIDDEN")
    for number in range(limits["max_scheduled"]):
        schedule(alice, room_id, 100_000, f"t{number}")
    response = alice.put(path + "more", MESSAGE, **{"org.matrix.msc4140.delay": 1000})
    refused(response, 429, "M_LIMIT_EXCEEDED")
    assert 90 <= int(response.headers["Retry-After"]) <= 100


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_what_falls_due_while_the_server_is_down(
    engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    database = request.getfixturevalue("postgres_server") if engine == "postgres" else None
    with HearthServer(engine, tmp_path, database) as server:
        alice = server.register("alice")
        room_id = alice.create_room()
        alice.sync()
        second, first = schedule(alice, room_id, 900, "b"), schedule(alice, room_id, 700, "a")
        later = schedule(alice, room_id, 60_000, "c")
        server.kill()
        time.sleep(1)
        server.start()
        events = [until_finalised(alice, delay_id)["event_id"] for delay_id in (first, second)]
        assert [event["event_id"] for event in alice.timeline(room_id)] == events
        assert [row["delay_id"] for row in scheduled(alice)] == [later]
        assert not server.internal_errors()


def test_nobody_may_delay(tmp_path: Path) -> None:
    with HearthServer("sqlite", tmp_path, settings={"max_event_delay_duration": None}) as server:
        alice = server.register("alice")
        path = f"{room_path(alice.create_room())}/send/m.room.message/t"
        refused(alice.put(path, MESSAGE, **{"org.matrix.msc4140.delay": 1}), 403, "M_FORBIDDEN")
        assert scheduled(alice) == []
