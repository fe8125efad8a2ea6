"""What is said and set on one side is so on the other."""

from urllib.parse import quote

import pytest

from tests.harness import Client, Json, joined, ok, refused, room_path
from tests.interop.federation.sides import (
    Direction,
    Shared,
    bodies,
    history,
    membership,
    state,
    wait_for,
    wait_for_ephemeral,
)
from tests.waiting import until

pytestmark = pytest.mark.interop

WHOLE_TIMELINES = '{"room": {"timeline": {"limit": 100}}}'


def test_messages_come_in_order_and_once(direction: Direction) -> None:
    shared = direction.shared()
    for client in shared.both:
        client.sync()
    said: dict[str, list[str]] = {"owner": [], "guest": []}
    for number in range(20):
        for name, client in zip(said, shared.both, strict=True):
            client.send(shared.room_id, f"{name} {number}")
            said[name].append(f"{name} {number}")
    for client in shared.both:
        heard = listen(shared, client, 40)
        for name, texts in said.items():
            assert [each for each in heard if each.startswith(name)] == texts


def listen(shared: Shared, client: Client, count: int) -> list[str]:
    heard: list[str] = []

    def all_heard() -> bool:
        answer = client.sync(timeout=500, filter=WHOLE_TIMELINES)
        timeline = joined(answer, shared.room_id).get("timeline", {})
        heard.extend(bodies(timeline.get("events", [])))
        return len(heard) >= count

    until(all_heard)
    return heard


def relate(shared: Shared, author: Client, other: Client) -> None:
    message = author.send(shared.room_id, "tpyo")
    content = {
        "msgtype": "m.text", "body": "* typo", "m.new_content": {"msgtype": "m.text", "body": "typo"},
        "m.relates_to": {"rel_type": "m.replace", "event_id": message},
    }
    edit = author.send(shared.room_id, content)
    wait_for(other, shared.room_id, edit)
    edited = wait_for(other, shared.room_id, message)
    assert edited["unsigned"]["m.relations"]["m.replace"]["event_id"] == edit
    annotates = {"rel_type": "m.annotation", "event_id": message, "key": "👍"}
    reaction = other.send(shared.room_id, {"m.relates_to": annotates}, "m.reaction")
    wait_for(author, shared.room_id, reaction)
    relations = f"/_matrix/client/v1{room_path(shared.room_id)}/relations/{quote(message, safe='')}"
    path = f"{relations}/m.annotation"
    assert [each["event_id"] for each in ok(author.get(path))["chunk"]] == [reaction]
    threaded = {"msgtype": "m.text", "body": "in a thread",
                "m.relates_to": {"rel_type": "m.thread", "event_id": message}}
    reply = other.send(shared.room_id, threaded)
    wait_for(author, shared.room_id, reply)
    root = wait_for(author, shared.room_id, message)
    assert root["unsigned"]["m.relations"]["m.thread"]["latest_event"]["event_id"] == reply
    for client in (author, other):
        threads = ok(client.get(f"/_matrix/client/v1{room_path(shared.room_id)}/threads"))["chunk"]
        thread = next(each for each in threads if each["event_id"] == message)
        summary = thread["unsigned"]["m.relations"]["m.thread"]
        assert (summary["count"], summary["current_user_participated"]) == (1, True)


def test_edits_reactions_and_threads(direction: Direction) -> None:
    shared = direction.shared()
    for one, other in (shared.both, shared.both[::-1]):
        relate(shared, one, other)


def redact(shared: Shared, author: Client, other: Client) -> None:
    message = shared.say(author, "regrettable")
    path = f"{room_path(shared.room_id)}/redact/{quote(message, safe='')}/r"
    redaction = ok(author.put(path, {"reason": "oh"}))
    wait_for(other, shared.room_id, redaction["event_id"])
    until(lambda: wait_for(other, shared.room_id, message)["content"] == {})
    redacted = wait_for(other, shared.room_id, message)
    assert redacted["unsigned"]["redacted_because"]["event_id"] == redaction["event_id"]


def test_redactions(direction: Direction) -> None:
    shared = direction.shared()
    for one, other in (shared.both, shared.both[::-1]):
        redact(shared, one, other)
    # The owner may redact what the guest says, and the guest's side sees that.
    message = shared.say(shared.guest, "rude")
    ok(shared.owner.put(f"{room_path(shared.room_id)}/redact/{quote(message, safe='')}/s", {}))
    until(lambda: wait_for(shared.guest, shared.room_id, message)["content"] == {})
    # Not the other way round.
    message = shared.say(shared.owner, "right")
    path = f"{room_path(shared.room_id)}/redact/{quote(message, safe='')}/t"
    refused(shared.guest.put(path), 403, "M_FORBIDDEN")


def test_state_and_power(direction: Direction) -> None:
    shared = direction.shared()
    owner, guest, room_id = shared.owner, shared.guest, shared.room_id
    topic = owner.send_state(room_id, "m.room.topic", {"topic": "by the owner"})
    wait_for(guest, room_id, topic)
    assert (state(guest, room_id, "m.room.topic") or {})["topic"] == "by the owner"
    refused(guest.put(f"{room_path(room_id)}/state/m.room.topic/", {"topic": "mine"}), 403, "M_FORBIDDEN")
    levels = state(owner, room_id, "m.room.power_levels") or {}
    levels["users"][guest.user_id] = 50
    wait_for(guest, room_id, owner.send_state(room_id, "m.room.power_levels", levels))
    topic = guest.send_state(room_id, "m.room.topic", {"topic": "by the guest"})
    wait_for(owner, room_id, topic)
    assert (state(owner, room_id, "m.room.topic") or {})["topic"] == "by the guest"
    guest.send_state(room_id, "org.example.odd", {"deep": {"list": [1, None, "ü", True]}}, guest.user_id)
    until(lambda: state(owner, room_id, "org.example.odd", guest.user_id))
    shared.agree()


def rename(shared: Shared, client: Client, other: Client) -> None:
    path = f"/profile/{quote(client.user_id)}/displayname"
    ok(client.put(path, {"displayname": "Someone Else"}))

    def seen() -> bool:
        found = state(other, shared.room_id, "m.room.member", client.user_id) or {}
        return found.get("displayname") == "Someone Else"

    until(seen)
    assert ok(other.get(path)) == {"displayname": "Someone Else"}
    path = f"/profile/{quote(client.user_id)}/m.tz"
    ok(client.put(path, {"m.tz": "Europe/Rome"}))
    assert ok(other.get(path)) == {"m.tz": "Europe/Rome"}


def test_profile_changes(direction: Direction) -> None:
    shared = direction.shared()
    for one, other in (shared.both, shared.both[::-1]):
        rename(shared, one, other)


def type_and_read(shared: Shared, client: Client, other: Client) -> None:
    message = shared.say(other, "read this")
    other.sync()
    ok(client.put(f"{room_path(shared.room_id)}/typing/{quote(client.user_id)}",
                  {"typing": True, "timeout": 30_000}))
    user_id = client.user_id
    room_id = shared.room_id
    wait_for_ephemeral(other, room_id, "m.typing", lambda content: user_id in content["user_ids"])
    ok(client.put(f"{room_path(shared.room_id)}/typing/{quote(client.user_id)}", {"typing": False}))
    wait_for_ephemeral(other, room_id, "m.typing", lambda content: user_id not in content["user_ids"])
    ok(client.post(f"{room_path(shared.room_id)}/receipt/m.read/{quote(message, safe='')}"))
    wait_for_ephemeral(
        other, shared.room_id, "m.receipt",
        lambda content: user_id in content.get(message, {}).get("m.read", {}),
    )
    threaded = shared.say(other, "in the main thread")
    path = f"{room_path(shared.room_id)}/receipt/m.read/{quote(threaded, safe='')}"
    ok(client.post(path, {"thread_id": "main"}))
    found = wait_for_ephemeral(
        other, shared.room_id, "m.receipt",
        lambda content: user_id in content.get(threaded, {}).get("m.read", {}),
    )
    assert found["content"][threaded]["m.read"][user_id]["thread_id"] == "main"


def test_typing_and_receipts(direction: Direction) -> None:
    shared = direction.shared()
    for one, other in (shared.both, shared.both[::-1]):
        type_and_read(shared, one, other)


def appear(shared: Shared, client: Client, other: Client) -> None:
    other.sync()
    ok(client.put(f"/presence/{quote(client.user_id)}/status",
                  {"presence": "online", "status_msg": "here I am"}))
    user_id = client.user_id

    def seen(sync: Json) -> bool:
        return any(
            each["sender"] == user_id and each["content"].get("status_msg") == "here I am"
            for each in sync.get("presence", {}).get("events", [])
        )

    other.sync_until(seen)


def test_presence(direction: Direction) -> None:
    shared = direction.shared()
    for one, other in (shared.both, shared.both[::-1]):
        appear(shared, one, other)


def test_five_hundred_events_of_the_past(direction: Direction) -> None:
    owner, guest = direction.home.register("owner"), direction.away.register("guest")
    room_id = direction.room(owner)
    for number in range(500):
        owner.send(room_id, f"message {number}")
    direction.join(guest, room_id)
    until(lambda: membership(owner, room_id, guest.user_id) == "join")
    found = history(guest, room_id, limit=50)
    assert bodies(found) == [f"message {number}" for number in range(500)]
    ids = [each["event_id"] for each in found]
    assert len(set(ids)) == len(ids)
    assert found[0]["type"] == "m.room.create"
    assert ids == [each["event_id"] for each in history(owner, room_id)]


def test_an_upgrade_is_followed(direction: Direction) -> None:
    shared = direction.shared()
    version = "11" if direction.version == "10" else "10"
    answer = ok(shared.owner.post(f"{room_path(shared.room_id)}/upgrade", {"new_version": version}))
    replacement = answer["replacement_room"]

    def tombstone() -> bool:
        found = state(shared.guest, shared.room_id, "m.room.tombstone")
        return found is not None and found["replacement_room"] == replacement

    until(tombstone)
    direction.join(shared.guest, replacement)
    until(lambda: membership(shared.owner, replacement, shared.guest.user_id) == "join")
    created = state(shared.guest, replacement, "m.room.create") or {}
    assert created["predecessor"]["room_id"] == shared.room_id
    assert created["room_version"] == version


def be_found(shared: Shared, client: Client, other: Client) -> None:
    name = f"Findable {client.user_id[1:].partition(':')[0]}"
    ok(client.put(f"/profile/{quote(client.user_id)}/displayname", {"displayname": name}))

    def found() -> bool:
        answer = ok(other.post("/user_directory/search", {"search_term": name}))
        return client.user_id in [each["user_id"] for each in answer["results"]]

    until(found, 30, f"{other.user_id} finds {name}")


def test_people_are_found(direction: Direction) -> None:
    shared = direction.shared()
    for one, other in (shared.both, shared.both[::-1]):
        be_found(shared, one, other)


def knock(shared: Shared, client: Client, other: Client) -> None:
    other.sync()
    for number in range(3):
        body = {"messages": {other.user_id: {other.device_id: {"number": number}}}}
        ok(client.put(f"/sendToDevice/org.example.knock/{number}{client.device_id}", body))
    heard: list[int] = []

    def listen() -> bool:
        events = other.sync(timeout=500).get("to_device", {}).get("events", [])
        heard.extend(each["content"]["number"] for each in events if each["type"] == "org.example.knock")
        return len(heard) >= 3

    until(listen)
    assert heard == [0, 1, 2]


def test_to_device_messages(direction: Direction) -> None:
    shared = direction.shared()
    for one, other in (shared.both, shared.both[::-1]):
        knock(shared, one, other)
