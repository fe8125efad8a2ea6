"""What the server tells its users. https://spec.matrix.org/v1.19/client-server-api/#server-notices"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.harness import ENGINES, PASSWORD, Client, HearthServer, Json, joined, ok, refused, room_path

PATH = "/_synapse/admin/v1/send_server_notice"
CANNOT_LEAVE = "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM"
NOTICES = {
    "system_mxid_localpart": "notices",
    "system_mxid_display_name": "The Server",
    "room_name": "Notices",
    "room_topic": "What the server says",
}
BODY = {"msgtype": "m.text", "body": "We are closed on Monday."}


@pytest.fixture(scope="module", params=ENGINES)
def noticing(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HearthServer]:
    database = request.getfixturevalue("postgres_server") if request.param == "postgres" else None
    directory = tmp_path_factory.mktemp("notices")
    with HearthServer(request.param, directory, database, settings={"server_notices": NOTICES}) as server:
        yield server
        assert not server.internal_errors()


def notice(admin: Client, to: Client, body: str = "Hear, hear.", txn: str = "", **fields: Any) -> Any:
    whole = {"user_id": to.user_id, "content": {"msgtype": "m.text", "body": body}, **fields}
    return admin.put(f"{PATH}/{txn}", whole) if txn else admin.post(PATH, whole)


def invites(person: Client) -> Json:
    found: Json = person.sync(since=None).get("rooms", {}).get("invite", {})
    return found


def bodies(person: Client, room_id: str) -> list[str]:
    events = joined(person.sync(since=None), room_id)["timeline"]["events"]
    return [event["content"]["body"] for event in events if event["type"] == "m.room.message"]


def test_a_room_for_each_user(noticing: HearthServer) -> None:
    admin, alice, bob = noticing.register_admin(), noticing.register("alice"), noticing.register("bob")
    first = ok(notice(admin, alice, "one"))["event_id"]
    ok(notice(admin, bob))
    [(room_id, invite)] = invites(alice).items()
    state = {event["type"]: event for event in invite["invite_state"]["events"]}
    assert state["m.room.name"]["content"] == {"name": "Notices"}
    assert state["m.room.member"]["sender"] == "@notices:localhost"
    tags = ok(alice.get(f"/user/{alice.user_id}/rooms/{quote(room_id)}/tags"))["tags"]
    assert tags == {"m.server_notice": {}}
    alice.join(room_id)
    ok(notice(admin, alice, "two"))
    assert bodies(alice, room_id) == ["one", "two"]
    event = ok(alice.get(f"{room_path(room_id)}/event/{quote(first)}"))
    assert event["sender"] == "@notices:localhost"
    assert ok(alice.get("/profile/@notices:localhost"))["displayname"] == "The Server"
    assert room_id not in invites(bob)
    refused(alice.put(f"{room_path(room_id)}/send/m.room.message/1", BODY), 403, "M_FORBIDDEN")
    refused(alice.post(f"{room_path(room_id)}/invite", {"user_id": bob.user_id}), 403, "M_FORBIDDEN")
    noticing.restart()
    ok(notice(admin, alice, "three"))
    assert bodies(alice, room_id) == ["one", "two", "three"]
    assert len(ok(alice.get("/joined_rooms"))["joined_rooms"]) == 1 and not invites(alice)


def test_it_can_be_left_but_not_declined(noticing: HearthServer) -> None:
    admin, alice = noticing.register_admin(), noticing.register("alice")
    ok(notice(admin, alice))
    [room_id] = invites(alice)
    refused(alice.post(f"{room_path(room_id)}/leave"), 403, CANNOT_LEAVE)
    member = f"{room_path(room_id)}/state/m.room.member/{quote(alice.user_id)}"
    refused(alice.put(member, {"membership": "leave"}), 403, CANNOT_LEAVE)
    assert room_id in invites(alice)
    alice.join(room_id)
    alice.leave(room_id)
    ok(alice.post(f"{room_path(room_id)}/forget"))
    ok(notice(admin, alice, "again"))
    assert list(invites(alice)) == [room_id], "there is one room for each user"
    alice.join(room_id)
    assert bodies(alice, room_id)[-1] == "again"


def test_it_is_heard_by_who_ignores_and_blocks(noticing: HearthServer) -> None:
    admin, alice = noticing.register_admin(), noticing.register("alice")
    data = f"/user/{alice.user_id}/account_data"
    ok(alice.put(f"{data}/m.ignored_user_list", {"ignored_users": {"@notices:localhost": {}}}))
    ok(alice.put(f"{data}/m.invite_permission_config", {"default_action": "block"}))
    ok(notice(admin, alice, "all the same"))
    [room_id] = invites(alice)
    alice.join(room_id)
    assert bodies(alice, room_id) == ["all the same"]


def test_as_administrators_ask_for_it(noticing: HearthServer) -> None:
    admin, alice = noticing.register_admin(), noticing.register("alice")
    once = ok(notice(admin, alice, "once", txn="t1"))
    assert ok(notice(admin, alice, "twice", txn="t1")) == once
    content = {"pinned": [once["event_id"]]}
    ok(notice(admin, alice, type="m.room.pinned_events", state_key="", content=content))
    [room_id] = invites(alice)
    alice.join(room_id)
    assert bodies(alice, room_id) == ["once"]
    assert ok(alice.state(room_id, "m.room.pinned_events")) == content
    refused(notice(alice, alice), 403, "M_FORBIDDEN")
    body = {"content": BODY}
    refused(admin.post(PATH, {**body, "user_id": "@nobody:localhost"}), 404, "M_NOT_FOUND")
    refused(admin.post(PATH, {**body, "user_id": "@bob:elsewhere.example"}), 400, "M_INVALID_PARAM")
    refused(admin.post(PATH, {"user_id": alice.user_id}), 400, "M_BAD_JSON")


def test_the_name_is_taken(noticing: HearthServer) -> None:
    body = {"username": "notices", "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
    refused(noticing.client().post("/register", body), 400, "M_USER_IN_USE")
    login = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "notices"}}
    refused(noticing.client().post("/login", {**login, "password": ""}), 403, "M_FORBIDDEN")


def test_where_they_are_not_wanted(server: HearthServer) -> None:
    admin = server.register_admin()
    refused(notice(admin, admin), 400, "M_UNKNOWN")


def test_people_may_be_in_the_room_at_once(tmp_path: Any) -> None:
    settings = {"server_notices": {**NOTICES, "auto_join": True}}
    with HearthServer("sqlite", tmp_path, settings=settings) as server:
        admin, alice = server.register_admin(), server.register("alice")
        ok(notice(admin, alice, "come"))
        [room_id] = ok(alice.get("/joined_rooms"))["joined_rooms"]
        assert bodies(alice, room_id) == ["come"]
        assert not server.internal_errors()
