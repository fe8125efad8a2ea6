"""Events of another server that come late, while people here went on: nothing falls between the pages.

https://spec.matrix.org/v1.19/client-server-api/#syncing
"""

import json
from pathlib import Path

from tests.federation.company import company
from tests.harness import joined, ok, room_path


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
