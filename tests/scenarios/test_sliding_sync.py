"""Sliding sync over HTTP, one promise of the proposal after another.

https://github.com/matrix-org/matrix-spec-proposals/pull/4186
"""

from typing import Any

from tests.harness import Client, HearthServer, Json, ok, refused, room_path
from tests.scenarios.sliding import LAZY_STATE, Connection, UnstableConnection, everything

UNSTABLE_ALL = {"all": {"timeline_limit": 10, "required_state": [["*", "*"]], "ranges": [[0, 99]]}}


def bodies(part: Json) -> list[Any]:
    return [
        event["content"]["body"] for event in part.get("timeline", []) if event["type"] == "m.room.message"
    ]


def state_of(part: Json) -> set[tuple[str, str]]:
    return {(event["type"], event["state_key"]) for event in part.get("required_state", [])}


def two(server: HearthServer) -> tuple[Client, Client, str]:
    alice, bob = server.register("alice"), server.register("bob")
    room = alice.create_room(preset="public_chat", name="The room")
    bob.join(room)
    return alice, bob, room


def test_it_is_announced(server: HearthServer) -> None:
    features = ok(server.client().get("/_matrix/client/versions"))["unstable_features"]
    assert features["org.matrix.simplified_msc3575"] is True


def test_a_room_is_told_once_and_then_its_news(server: HearthServer) -> None:
    alice, bob, room = two(server)
    bob.send(room, "before")
    connection = Connection(alice)
    answer = connection.sync(lists=everything())
    assert answer["lists"] == {"all": {"count": 1}}
    part = answer["rooms"][room]
    assert part["initial"] is True
    assert part["name"] == "The room"
    assert part["membership"] == "join"
    assert part["lists"] == ["all"]
    assert (part["joined_count"], part["invited_count"]) == (2, 0)
    assert bodies(part) == ["before"]
    assert part["num_live"] == 0
    assert ("m.room.member", bob.user_id) in state_of(part)
    assert "notification_count" not in part
    stamp = part["bump_stamp"]
    assert connection.sync(lists=everything())["rooms"] == {}
    bob.send(room, "after")
    part = connection.sync(lists=everything())["rooms"][room]
    assert "initial" not in part
    assert bodies(part) == ["after"]
    assert part["num_live"] == 1
    assert part["limited"] is False
    assert part["bump_stamp"] > stamp
    assert "name" not in part


def test_reactions_do_not_bump(server: HearthServer) -> None:
    alice, bob, room = two(server)
    event_id = bob.send(room, "hello")
    connection = Connection(alice)
    stamp = connection.sync(lists=everything())["rooms"][room]["bump_stamp"]
    relation = {"rel_type": "m.annotation", "event_id": event_id, "key": "x"}
    bob.send(room, {"m.relates_to": relation}, "m.reaction")
    assert connection.sync(lists=everything())["rooms"][room]["bump_stamp"] == stamp


def test_windows_are_the_most_active_rooms(server: HearthServer) -> None:
    alice = server.register("alice")
    rooms = [alice.create_room(name=f"Room {number}") for number in range(6)]
    connection = Connection(alice)
    answer = connection.sync(lists=everything(range=[0, 1]))
    assert answer["lists"]["all"]["count"] == 6
    assert set(answer["rooms"]) == {rooms[5], rooms[4]}
    assert set(connection.sync(lists=everything(range=[0, 3]))["rooms"]) == {rooms[3], rooms[2]}
    alice.send(rooms[0], "up")
    assert set(connection.sync(lists=everything(range=[0, 1]))["rooms"]) == {rooms[0]}
    assert set(connection.sync(lists=everything())["rooms"]) == {rooms[1]}


def test_a_room_out_of_sight_is_told_from_where_it_was_left(server: HearthServer) -> None:
    alice = server.register("alice")
    first, second = alice.create_room(), alice.create_room()
    connection = Connection(alice)
    connection.sync(lists=everything())
    alice.send(first, "one")
    alice.send(second, "two")
    answer = connection.sync(lists=everything(range=[0, 0]))
    assert set(answer["rooms"]) == {second}
    alice.send(second, "three")
    assert set(connection.sync(lists=everything(range=[0, 0]))["rooms"]) == {second}
    part = connection.sync(lists=everything())["rooms"][first]
    assert "initial" not in part
    assert bodies(part) == ["one"]
    assert part["num_live"] == 0  # it happened before the last answer


def test_the_same_pos_gives_the_same_again(server: HearthServer) -> None:
    alice, bob, room = two(server)
    connection = Connection(alice)
    connection.sync(lists=everything())
    pos = connection.pos
    bob.send(room, "one")
    assert bodies(connection.sync(lists=everything())["rooms"][room]) == ["one"]
    connection.pos = pos
    bob.send(room, "two")
    assert bodies(connection.sync(lists=everything())["rooms"][room]) == ["one", "two"]
    server.restart()
    for person in (alice, bob):
        person.http.base_url = server.url
    connection.pos = pos
    assert bodies(connection.sync(lists=everything())["rooms"][room]) == ["one", "two"]
    assert connection.sync(lists=everything())["rooms"] == {}
    bob.send(room, "three")
    assert bodies(connection.sync(lists=everything())["rooms"][room]) == ["three"]


def test_only_its_own_device_knows_a_pos(server: HearthServer) -> None:
    alice, bob, _ = two(server)
    connection = Connection(alice)
    connection.sync(lists=everything())
    stolen = Connection(bob)
    refused(stolen.request({}, connection.pos), 400, "M_UNKNOWN_POS")
    refused(Connection(alice, "other").request({}, connection.pos), 400, "M_UNKNOWN_POS")
    refused(connection.request({}, "nonsense"), 400, "M_UNKNOWN_POS")
    old = connection.pos
    connection.pos = None
    connection.sync(lists=everything())
    refused(connection.request({}, old), 400, "M_UNKNOWN_POS")


def test_connections_of_a_device_are_independent(server: HearthServer) -> None:
    alice, _, room = two(server)
    rooms, keys = UnstableConnection(alice, "room-list"), UnstableConnection(alice, "encryption")
    assert room in rooms.sync(lists=UNSTABLE_ALL)["rooms"]
    extensions = {"e2ee": {"enabled": True}, "to_device": {"enabled": True}}
    answer = keys.sync(extensions=extensions)
    assert answer["rooms"] == {}
    assert "device_one_time_keys_count" in answer["extensions"]["e2ee"]
    assert rooms.sync(lists=UNSTABLE_ALL)["rooms"] == {}


def test_invites_are_stripped_and_then_joined(server: HearthServer) -> None:
    alice, bob = server.register("alice"), server.register("bob")
    connection, older = Connection(bob), UnstableConnection(bob, "older")
    connection.sync(lists=everything())
    room = alice.create_room(name="Come", invite=[bob.user_id])
    part = connection.sync(lists=everything())["rooms"][room]
    assert part["membership"] == "invite"
    assert "m.room.name" in {event["type"] for event in part["stripped_state"]}
    assert "timeline" not in part
    assert "name" not in part
    assert "invite_state" in older.sync(lists=UNSTABLE_ALL)["rooms"][room]
    bob.join(room)
    part = connection.sync(lists=everything())["rooms"][room]
    assert part["initial"] is True
    assert part["membership"] == "join"
    assert part["name"] == "Come"


def test_declined_invites_are_told_once(server: HearthServer) -> None:
    alice, bob = server.register("alice"), server.register("bob")
    room = alice.create_room(invite=[bob.user_id])
    connection = Connection(bob)
    connection.sync(lists=everything())
    bob.leave(room)
    part = connection.sync(lists=everything())["rooms"][room]
    assert part["membership"] == "leave"
    assert [event["type"] for event in part["stripped_state"]] == ["m.room.member"]
    assert connection.sync(lists=everything())["rooms"] == {}
    assert Connection(bob, "new").sync(lists=everything())["rooms"] == {}


def test_leaving_is_told_once_and_kicks_to_all(server: HearthServer) -> None:
    alice, bob, room = two(server)
    connection = Connection(bob)
    connection.sync(lists=everything())
    alice.send(room, "last words")
    alice.kick(room, bob.user_id)
    alice.send(room, "secret")
    part = connection.sync(lists=everything())["rooms"][room]
    assert part["membership"] == "leave"
    assert bodies(part) == ["last words"]
    assert part["timeline"][-1]["content"]["membership"] == "leave"
    assert connection.sync(lists=everything())["rooms"] == {}
    assert Connection(bob, "new").sync(lists=everything())["rooms"][room]["membership"] == "leave"
    bob.join(room)
    bob.leave(room)
    assert Connection(bob, "new").sync(lists=everything())["rooms"] == {}
    assert connection.sync(lists=everything())["rooms"][room]["membership"] == "leave"


def test_banned_without_having_been_there_is_nothing(server: HearthServer) -> None:
    alice, bob = server.register("alice"), server.register("bob")
    room = alice.create_room()
    alice.ban(room, bob.user_id)
    assert Connection(bob, "new").sync(lists=everything())["rooms"] == {}


def test_lazy_members(server: HearthServer) -> None:
    alice, bob, room = two(server)
    carol = server.register("carol")
    carol.join(room)
    for number in range(3):
        bob.send(room, f"{number}")
    connection = Connection(alice)
    lists = everything(required_state=LAZY_STATE, timeline_limit=2)
    part = connection.sync(lists=lists)["rooms"][room]
    assert {key[1] for key in state_of(part) if key[0] == "m.room.member"} == {bob.user_id}
    assert ("m.room.create", "") in state_of(part)
    bob.send(room, "again")
    assert "required_state" not in connection.sync(lists=lists)["rooms"][room]
    carol.send(room, "hello")
    part = connection.sync(lists=lists)["rooms"][room]
    assert state_of(part) == {("m.room.member", carol.user_id)}


def test_state_that_is_wanted_later_comes_then(server: HearthServer) -> None:
    alice, _, room = two(server)
    connection = Connection(alice)
    part = connection.sync(lists=everything(required_state={}))["rooms"][room]
    assert "required_state" not in part
    wish = {"include": [{"type": "m.room.create", "state_key": ""}]}
    subscription = {room: {"timeline_limit": 10, "required_state": wish}}
    answer = connection.sync(lists=everything(required_state={}), room_subscriptions=subscription)
    assert state_of(answer["rooms"][room]) == {("m.room.create", "")}
    assert connection.sync(lists=everything(required_state={}))["rooms"] == {}


def test_timelines_that_grow(server: HearthServer) -> None:
    alice, bob, room = two(server)
    for number in range(6):
        bob.send(room, f"{number}")
    connection = Connection(alice)
    part = connection.sync(lists=everything(timeline_limit=1))["rooms"][room]
    assert (bodies(part), part["limited"]) == (["5"], True)
    part = connection.sync(lists=everything(timeline_limit=4))["rooms"][room]
    assert bodies(part) == ["2", "3", "4", "5"]
    assert part["expanded_timeline"] is True
    assert part["num_live"] == 0
    assert connection.sync(lists=everything(timeline_limit=1))["rooms"] == {}
    assert connection.sync(lists=everything(timeline_limit=4))["rooms"] == {}
    page = ok(alice.get(f"{room_path(room)}/messages", dir="b", limit=2, **{"from": part["prev_batch"]}))
    assert [event["content"]["body"] for event in page["chunk"]] == ["1", "0"]
    page = ok(alice.get(f"{room_path(room)}/messages", dir="b", limit=1, **{"from": connection.pos}))
    assert page["chunk"][0]["content"]["body"] == "5"


def test_filters(server: HearthServer) -> None:
    alice, bob = server.register("alice"), server.register("bob")
    plain = alice.create_room()
    secret = alice.create_room(
        initial_state=[{"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}]
    )
    space = alice.create_room(creation_content={"type": "m.space"})
    invited = bob.create_room(invite=[alice.user_id])
    alice.send_state(space, "m.space.child", {"via": ["localhost"]}, plain)
    alice.send_state(space, "m.space.child", {}, secret)
    ok(alice.put(f"/user/{alice.user_id}/rooms/{plain}/tags/m.favourite", {"order": 0.1}))
    ok(alice.put(f"/user/{alice.user_id}/account_data/m.direct", {bob.user_id: [secret]}))

    def listed(**filters: Any) -> set[str]:
        return set(Connection(alice).sync(lists=everything(filters=filters))["rooms"])

    assert listed() == {plain, secret, space, invited}
    assert listed(is_dm=True) == {secret}
    assert listed(is_dm=False) == {plain, space, invited}
    assert listed(is_encrypted=True) == {secret}
    assert listed(is_invited=True) == {invited}
    assert listed(is_invited=False) == {plain, secret, space}
    assert listed(room_types=["m.space"]) == {space}
    assert listed(room_types=[None]) == {plain, secret, invited}
    assert listed(not_room_types=["m.space"]) == {plain, secret, invited}
    assert listed(spaces=[space]) == {plain}
    assert listed(spaces=["!unknown:localhost"]) == set()
    assert listed(tags=["m.favourite"]) == {plain}
    assert listed(not_tags=["m.favourite"]) == {secret, space, invited}


def test_direct_rooms_change(server: HearthServer) -> None:
    alice, bob, room = two(server)
    connection = Connection(alice)
    assert "is_dm" not in connection.sync(lists=everything())["rooms"][room]
    ok(alice.put(f"/user/{alice.user_id}/account_data/m.direct", {bob.user_id: [room]}))
    assert connection.sync(lists=everything())["rooms"][room]["is_dm"] is True
    ok(alice.put(f"/user/{alice.user_id}/account_data/m.direct", {}))
    assert connection.sync(lists=everything())["rooms"][room]["is_dm"] is False


def test_names_and_heroes(server: HearthServer) -> None:
    alice, bob = server.register("alice"), server.register("bob")
    room = alice.create_room(invite=[bob.user_id])
    connection = Connection(alice)
    part = connection.sync(lists=everything())["rooms"][room]
    assert "name" not in part
    assert [hero["user_id"] for hero in part["heroes"]] == [bob.user_id]
    alice.send_state(room, "m.room.name", {"name": "Named"})
    part = connection.sync(lists=everything())["rooms"][room]
    assert part["name"] == "Named"
    assert "heroes" not in part
    alice.send_state(room, "m.room.name", {})
    part = connection.sync(lists=everything())["rooms"][room]
    assert part["name"] is None
    assert [hero["user_id"] for hero in part["heroes"]] == [bob.user_id]


def test_subscriptions_show_only_what_may_be_seen(server: HearthServer) -> None:
    alice, bob = server.register("alice"), server.register("bob")
    room = alice.create_room()
    connection = Connection(bob)
    config = {"timeline_limit": 5, "required_state": {}}
    assert connection.sync(room_subscriptions={room: config, "!no:where": config})["rooms"] == {}


def test_waiting(server: HearthServer) -> None:
    alice, bob, room = two(server)
    connection = Connection(alice)
    connection.sync(lists=everything())
    assert connection.sync(timeout=50, lists=everything())["rooms"] == {}
    bob.send(room, "hello")
    assert bodies(connection.sync(timeout=10_000, lists=everything())["rooms"][room]) == ["hello"]


def test_unread_counts_in_the_older_form(server: HearthServer) -> None:
    alice, bob, room = two(server)
    connection = UnstableConnection(alice)
    assert connection.sync(lists=UNSTABLE_ALL)["rooms"][room]["notification_count"] == 0
    event_id = bob.send(room, "hello")
    assert connection.sync(lists=UNSTABLE_ALL)["rooms"][room]["notification_count"] == 1
    ok(alice.post(f"{room_path(room)}/receipt/m.read/{event_id}"))
    assert connection.sync(lists=UNSTABLE_ALL)["rooms"][room]["notification_count"] == 0


def test_the_older_form(server: HearthServer) -> None:
    alice, bob, room = two(server)
    bob.send(room, "hello")
    connection = UnstableConnection(alice)
    state = [["m.room.member", "$LAZY"], ["m.room.member", "$ME"], ["m.room.create", ""]]
    lists = {"all": {"timeline_limit": 1, "required_state": state, "ranges": [[0, 20]]}}
    part = connection.sync(lists=lists)["rooms"][room]
    assert state_of(part) == {
        ("m.room.member", alice.user_id), ("m.room.member", bob.user_id), ("m.room.create", "")
    }  # fmt: skip
    lists["all"]["timeline_limit"] = 3
    assert connection.sync(lists=lists)["rooms"][room]["unstable_expanded_timeline"] is True
    many = {f"!{n}": {"timeline_limit": 1, "required_state": []} for n in range(150)}
    connection.sync(room_subscriptions=many)


def test_account_data(server: HearthServer) -> None:
    alice, _, room = two(server)
    connection = Connection(alice)
    extensions = {"account_data": {"enabled": True}}
    ok(alice.put(f"/user/{alice.user_id}/rooms/{room}/account_data/org.example.a", {"a": 1}))
    found = connection.sync(lists=everything(), extensions=extensions)["extensions"]["account_data"]
    assert "m.push_rules" in {event["type"] for event in found["global"]}
    assert found["rooms"] == {room: [{"type": "org.example.a", "content": {"a": 1}}]}
    assert "account_data" not in connection.sync(lists=everything(), extensions=extensions)["extensions"]
    ok(alice.put(f"/user/{alice.user_id}/account_data/org.example.b", {"b": 1}))
    found = connection.sync(lists=everything(), extensions=extensions)["extensions"]["account_data"]
    assert found == {"global": [{"type": "org.example.b", "content": {"b": 1}}]}
    ok(alice.put(f"/user/{alice.user_id}/rooms/{room}/account_data/org.example.a", {"a": 2}))
    assert connection.sync(lists={}, extensions=extensions)["extensions"] == {}
    found = connection.sync(lists=everything(), extensions=extensions)["extensions"]["account_data"]
    assert found == {"rooms": {room: [{"type": "org.example.a", "content": {"a": 2}}]}}


def test_receipts_and_typing(server: HearthServer) -> None:
    alice, bob, room = two(server)
    event_id = alice.send(room, "read me")
    ok(bob.post(f"{room_path(room)}/receipt/m.read/{event_id}"))
    connection = Connection(alice)
    extensions = {"receipts": {"enabled": True}, "typing": {"enabled": True}}
    found = connection.sync(lists=everything(), extensions=extensions)["extensions"]
    assert bob.user_id in found["receipts"]["rooms"][room]["content"][event_id]["m.read"]
    ok(bob.put(f"{room_path(room)}/typing/{bob.user_id}", {"typing": True}))
    found = connection.sync(lists=everything(), extensions=extensions)["extensions"]
    assert found == {
        "typing": {"rooms": {room: {"type": "m.typing", "content": {"user_ids": [bob.user_id]}}}}
    }
    event_id = bob.send(room, "more")
    ok(bob.post(f"{room_path(room)}/receipt/m.read/{event_id}"))
    found = connection.sync(lists=everything(), extensions=extensions)["extensions"]
    assert bob.user_id in found["receipts"]["rooms"][room]["content"][event_id]["m.read"]
    ok(alice.post(f"{room_path(room)}/receipt/m.read.private/{event_id}"))
    found = connection.sync(lists=everything(), extensions=extensions)["extensions"]
    assert list(found["receipts"]["rooms"][room]["content"][event_id]) == ["m.read.private"]


def test_who_types_in_a_room_that_was_out_of_the_window(server: HearthServer) -> None:
    """Typing moves no position in the stream; a room that is behind may be so by nothing else."""
    alice, bob, quiet = two(server)
    alice.create_room(name="The newer room")
    connection = UnstableConnection(alice)
    extensions = {"typing": {"enabled": True}}

    def sync(last: int) -> Json:
        lists = {"all": {"timeline_limit": 1, "required_state": [], "ranges": [[0, last]]}}
        found: Json = connection.sync(lists=lists, extensions=extensions)["extensions"]
        return dict(found.get("typing", {}).get("rooms", {}))

    assert sync(1) == {}
    ok(bob.put(f"{room_path(quiet)}/typing/{bob.user_id}", {"typing": True}))
    assert sync(0) == {}
    assert sync(1)[quiet]["content"] == {"user_ids": [bob.user_id]}
    assert sync(1) == {}


def test_to_device_messages_wait_until_acknowledged(server: HearthServer) -> None:
    alice, bob = server.register("alice"), server.register("bob")
    connection = Connection(alice, "encryption")

    def sync(since: str | None, limit: int = 100) -> tuple[list[Any], str]:
        to_device: Json = {"enabled": True, "limit": limit}
        if since is not None:
            to_device["since"] = since
        found = connection.sync(extensions={"to_device": to_device})["extensions"]["to_device"]
        return [event["content"]["n"] for event in found["events"]], found["next_batch"]

    for number in range(3):
        messages = {alice.user_id: {alice.device_id: {"n": number}}}
        ok(bob.put(f"/sendToDevice/org.example.t/{number}", {"messages": messages}))
    got, _ = sync(None)
    assert got == [0, 1, 2]
    got, since = sync(None, limit=2)
    assert got == [0, 1]
    got, later = sync(since)
    assert got == [2]
    got, _ = sync(since)
    assert got == [2]
    got, _ = sync(later)
    assert got == []
    connection.pos = None
    got, _ = sync(None)
    assert got == []


def test_e2ee(server: HearthServer) -> None:
    alice, bob, room = two(server)
    connection = Connection(alice, "encryption")
    extensions = {"e2ee": {"enabled": True}}
    assert "device_lists" not in connection.sync(extensions=extensions)["extensions"]["e2ee"]
    bob.leave(room)
    found = connection.sync(extensions=extensions)["extensions"]["e2ee"]
    assert found["device_lists"] == {"changed": [], "left": [bob.user_id]}
    assert found["device_unused_fallback_key_types"] == []
    key = {"key": "a" * 43, "signatures": {alice.user_id: {f"ed25519:{alice.device_id}": "b" * 86}}}
    ok(alice.post("/keys/upload", {"one_time_keys": {"signed_curve25519:AAAA": key}}))
    found = connection.sync(timeout=5000, extensions=extensions)["extensions"]["e2ee"]
    assert found["device_one_time_keys_count"]["signed_curve25519"] == 1


def test_too_much_is_refused(server: HearthServer) -> None:
    alice = server.register("alice")
    connection = Connection(alice)
    config = {"timeline_limit": 1, "required_state": {}}
    refused(connection.request({"lists": {f"{n}": config for n in range(101)}}, None), 400, "M_INVALID_PARAM")
    refused(
        connection.request({"room_subscriptions": {f"!{n}": config for n in range(101)}}, None),
        400,
        "M_INVALID_PARAM",
    )
    refused(connection.request({"set_presence": "asleep"}, None), 400, "M_INVALID_PARAM")
    refused(connection.request({"lists": {"a": {**config, "range": [3, 1]}}}, None), 400, "M_INVALID_PARAM")
    refused(connection.request({"lists": {"a": {"required_state": {}}}}, None), 400, "M_BAD_JSON")
