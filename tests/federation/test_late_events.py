"""Events of another server that come late, while people here went on: nothing falls between the pages.

https://spec.matrix.org/v1.19/client-server-api/#syncing
"""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.federation.company import company
from tests.harness import Json, joined, ok, room_path


def test_prev_batch_leads_to_what_was_said_meanwhile(tmp_path: Path) -> None:
    with company(tmp_path) as between:
        alice, room = between.shared_room()
        tip, late = list(room.extremities), []
        said = [alice.send(room.room_id, f"meanwhile {number}") for number in range(5)]
        for number in range(3):
            late.append(room.say(f"late {number}", prev=tip))
            tip = [late[-1].event_id]
        between.send(*late)
        few = json.dumps({"room": {"timeline": {"limit": 2}}})
        timeline = joined(alice.sync(filter=few), room.room_id)["timeline"]
        assert [event["event_id"] for event in timeline["events"]] == [pdu.event_id for pdu in late[1:]]
        assert timeline["limited"]
        query = {"dir": "b", "from": timeline["prev_batch"]}
        page = ok(alice.get(f"{room_path(room.room_id)}/messages", **query))
        found = [event["event_id"] for event in page["chunk"]]
        assert set(found) >= {*said, late[0].event_id}
        assert not set(found) & {pdu.event_id for pdu in late[1:]}


@pytest.mark.parametrize("then", [0, 1])
def test_a_timeline_undoes_no_state(tmp_path: Path, then: int) -> None:
    """A topic that was set long ago on a fork comes late, and is not the topic: a client would take it so."""
    with company(tmp_path) as between:
        alice, room = between.shared_room()
        tip = list(room.extremities)
        old = room.make("m.room.topic", {"topic": "old"}, "", prev=tip)
        between.send(room.send("m.room.topic", {"topic": "new"}, ""))
        assert _topic([], _part(alice.sync(), room.room_id)) == "new"
        between.send(room.add(old), *(room.say("then", prev=[old.event_id]) for _ in range(then)))
        timeline = joined(answer := alice.sync(), room.room_id)["timeline"]
        assert _topic(["new"], _part(answer, room.room_id)) == "new"
        assert (len(timeline["events"]), timeline["limited"]) == (then, True)
        query = {"dir": "b", "from": timeline["prev_batch"]}
        page = ok(alice.get(f"{room_path(room.room_id)}/messages", **query))
        assert old.event_id in [event["event_id"] for event in page["chunk"]]
        assert _topic([], _part(alice.sync(since=None), room.room_id)) == "new"


def test_who_joined_on_a_fork_is_there_though_what_came_next_is_soft_failed(tmp_path: Path) -> None:
    """Those who were sent away meanwhile went on speaking there, and are not heard."""
    with company(tmp_path) as between:
        alice, room = between.shared_room()
        stranger, newcomer = (f"@{name}:{room.server_name}" for name in ("stranger", "newcomer"))
        between.send(room.join(stranger))
        tip = list(room.extremities)
        join = room.make("m.room.member", {"membership": "join"}, newcomer, sender=newcomer, prev=tip)
        between.send(room.send("m.room.member", {"membership": "leave"}, stranger))
        room.add(join)
        unheard = room.say("unheard", stranger, prev=[join.event_id])
        heard = room.say("heard", newcomer, prev=[unheard.event_id])
        between.send(join, unheard, heard)
        members = ok(alice.get(f"{room_path(room.room_id)}/joined_members"))["joined"]
        assert newcomer in members and stranger not in members
        told = [event["event_id"] for event in joined(alice.sync(), room.room_id)["timeline"]["events"]]
        assert heard.event_id in told and unheard.event_id not in told


def _part(sync: Json, room_id: str) -> list[Json]:
    """The events that a client takes state from, in their order."""
    part = joined(sync, room_id)
    return [*part["state"]["events"], *part["timeline"]["events"]]


def _topic(known: Iterable[str], events: list[Json]) -> str:
    told: list[str] = [event["content"]["topic"] for event in events if event["type"] == "m.room.topic"]
    return [*known, *told][-1]
