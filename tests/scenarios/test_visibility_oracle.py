"""Changes of the setting × every kind of reader × every way to read, against what the specification says."""

from urllib.parse import quote

import pytest

from tests.harness import Client, HearthServer, Json, ok, room_path
from tests.scenarios.visibility_oracle import MEMBER, SETTINGS, VISIBILITY, Happened, Oracle

# What becomes of a reader before each of five messages. In the middle the setting changes.
STORIES = {
    "never": ("", "", "", "", ""),
    "always": ("join", "", "", "", ""),
    "late": ("", "", "", "", "join"),
    "left": ("", "join", "", "leave", ""),
    "again": ("join", "leave", "", "join", ""),
    "invited": ("", "invite", "", "join", ""),
    "declined": ("", "invite", "leave", "", ""),
    "banned": ("", "join", "", "", "ban"),
}
CHANGES_IN = 2
ASKED_AROUND = (VISIBILITY, "m.room.message")


class House:
    def __init__(self, server: HearthServer) -> None:
        self.owner = server.register("owner")
        self.readers = {name: server.register(name) for name in STORIES}

    def room(self, first: str, second: str) -> tuple[str, list[Happened]]:
        state = [
            {"type": "m.room.join_rules", "content": {"join_rule": "public"}},
            {"type": VISIBILITY, "content": {"history_visibility": first}},
        ]
        owner = self.owner
        room_id = owner.create_room(initial_state=state)
        root = ""
        for phase in range(5):
            if phase == CHANGES_IN:
                owner.send_state(room_id, VISIBILITY, {"history_visibility": second})
            for name, story in STORIES.items():
                self._act(room_id, self.readers[name], story[phase])
            owner.send_state(room_id, "m.room.topic", {"topic": f"topic {phase}"})
            content: Json = {"msgtype": "m.text", "body": f"needle {phase}"}
            if root:
                content["m.relates_to"] = {"rel_type": "m.thread", "event_id": root}
            event_id = owner.send(room_id, content)
            root = root or event_id
        chunk = ok(owner.get(f"{room_path(room_id)}/messages", dir="f", limit=100))["chunk"]
        events = [
            Happened(each["event_id"], each["type"], each["content"], each.get("state_key"))
            for each in chunk
        ]
        return room_id, events

    def _act(self, room_id: str, reader: Client, action: str) -> None:
        if action == "join":
            reader.join(room_id)
        elif action == "leave":
            reader.leave(room_id)
        elif action == "invite":
            self.owner.invite(room_id, reader.user_id)
        elif action == "ban":
            self.owner.ban(room_id, reader.user_id)


def ids(events: list[Json]) -> set[str]:
    return {each["event_id"] for each in events}


def check(reader: Client, room_id: str, events: list[Happened]) -> list[str]:
    """What the server shows otherwise than it should."""
    oracle = Oracle(events, reader.user_id)
    sees = {event.event_id: oracle.sees(number) for number, event in enumerate(events)}
    must, may = {key for key, each in sees.items() if each}, {k for k, e in sees.items() if e is not False}
    wrong = []

    def compare(what: str, shown: set[str], among: set[str] | None = None) -> None:
        for number, event in enumerate(events):
            expected = sees[event.event_id]
            if (among is None or event.event_id in among) and expected not in (None, event.event_id in shown):
                wrong.append(f"{what}: {number} {event.type} {event.content}: expected {expected}")

    path = room_path(room_id)
    for direction in ("b", "f"):
        response = reader.get(f"{path}/messages", dir=direction, limit=100)
        if oracle.may_read:
            compare(f"messages {direction}", ids(ok(response)["chunk"]))
        elif response.status_code != 403:
            wrong.append(f"messages {direction}: {response.status_code}")
    by_event, by_context = set(), set()
    for event in events:
        segment = quote(event.event_id, safe="")
        if reader.get(f"{path}/event/{segment}").status_code == 200:
            by_event.add(event.event_id)
        if event.type not in ASKED_AROUND:
            continue
        response = reader.get(f"{path}/context/{segment}", limit=100)
        if response.status_code == 200:
            by_context.add(event.event_id)
            body = response.json()
            compare("around", {event.event_id, *ids(body["events_before"] + body["events_after"])})
    compare("event", by_event)
    compare("context", by_context, {event.event_id for event in events if event.type in ASKED_AROUND})
    messages = [event for event in events if event.type == "m.room.message"]
    root, *children = (event.event_id for event in messages)
    v1 = f"/_matrix/client/v1{path}"
    response = reader.get(f"{v1}/relations/{quote(root, safe='')}", limit=50)
    if response.status_code == 200:
        compare("relations", {root, *ids(response.json()["chunk"])}, {root, *children})
    elif root in must:
        wrong.append(f"relations: {response.status_code}")
    response = reader.get(f"{v1}/threads")
    if response.status_code == 200:
        compare("threads", ids(response.json()["chunk"]), {root})
    sync = reader.sync(since=None, filter='{"room":{"include_leave":true,"timeline":{"limit":100}}}')
    for membership in ("join", "leave"):
        part = sync.get("rooms", {}).get(membership, {}).get(room_id, {})
        for event in part.get("timeline", {}).get("events", []):
            if event["event_id"] not in may:
                wrong.append(f"sync {membership}: {event['type']} {event['content']}")
    response = reader.get(f"{path}/state/m.room.topic/")
    topics = [event.content["topic"] for event in events if event.type == "m.room.topic"]
    if oracle.is_joined:
        expected = topics[-1]
    elif oracle.left_at is not None and not oracle.is_open:
        expected = [e.content["topic"] for e in events[: oracle.left_at] if e.type == "m.room.topic"][-1]
    else:
        expected = None
    if expected is not None and ok(response)["topic"] != expected:
        wrong.append(f"state: {response.text} instead of {expected}")
    if not oracle.may_read:
        for part in ("state", "members", "state/m.room.topic/", "joined_members"):
            if (status := reader.get(f"{path}/{part}").status_code) != 403:
                wrong.append(f"{part}: {status}")
    return wrong


@pytest.mark.parametrize("first", SETTINGS)
def test_everybody_sees_what_the_specification_says(server: HearthServer, first: str) -> None:
    house = House(server)
    seconds = (SETTINGS[SETTINGS.index(first) - 1],)
    wrong = []
    for second in seconds:
        room_id, events = house.room(first, second)
        assert any(event.type == MEMBER for event in events)
        for name, reader in house.readers.items():
            wrong += [f"{first} to {second}, {name}: {each}" for each in check(reader, room_id, events)]
    assert not wrong, "\n".join(wrong)
