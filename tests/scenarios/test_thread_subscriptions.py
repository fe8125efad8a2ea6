"""Following threads. https://github.com/matrix-org/matrix-spec-proposals/pull/4306, and pull/4308"""

import json
from typing import Any
from urllib.parse import quote

from tests.harness import Client, HearthServer, Json, joined, ok, refused, room_path
from tests.scenarios.sliding import Connection

UNSTABLE = "/_matrix/client/unstable"
CONFLICT = "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION"
NOT_IN_THREAD = "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD"
EXTENSION = "io.element.msc4308.thread_subscriptions"


def path(room_id: str, thread: str) -> str:
    names = quote(room_id, safe=""), quote(thread, safe="")
    return UNSTABLE + "/io.element.msc4306/rooms/{}/thread/{}/subscription".format(*names)


def subscribe(person: Client, room_id: str, thread: str, cause: str | None = None) -> Any:
    return person.put(path(room_id, thread), {"automatic": cause} if cause is not None else {})


def reply(person: Client, room_id: str, thread: str, mentions: str | None = None) -> str:
    relation = {"rel_type": "m.thread", "event_id": thread}
    content = {"msgtype": "m.text", "body": "in the thread", "m.relates_to": relation}
    if mentions is not None:
        content["m.mentions"] = {"user_ids": [mentions]}
    return person.send(room_id, content)


def pair(server: HearthServer) -> tuple[Client, Client, str]:
    alice, bob = server.register("alice"), server.register("bob")
    room_id = alice.create_room(preset="public_chat")
    bob.join(room_id)
    return alice, bob, room_id


def test_by_hand_and_automatically(server: HearthServer) -> None:
    alice, bob, room_id = pair(server)
    assert ok(alice.get("/_matrix/client/versions"))["unstable_features"]["org.matrix.msc4306"] is True
    root = alice.send(room_id, "root")
    refused(bob.get(path(room_id, root)), 404, "M_NOT_FOUND")
    assert ok(bob.delete(path(room_id, root))) == {}
    said = reply(alice, room_id, root)
    assert ok(subscribe(bob, room_id, root, said)) == {}
    assert ok(bob.get(path(room_id, root))) == {"automatic": True}
    ok(subscribe(bob, room_id, root))
    ok(subscribe(bob, room_id, root, said))
    assert ok(bob.get(path(room_id, root))) == {"automatic": False}, "what one wants oneself goes first"
    refused(alice.get(path(room_id, root)), 404, "M_NOT_FOUND")
    ok(bob.delete(path(room_id, root)))
    ok(bob.delete(path(room_id, root)))
    refused(bob.get(path(room_id, root)), 404, "M_NOT_FOUND")
    refused(subscribe(bob, room_id, root, said), 409, CONFLICT)
    ok(subscribe(bob, room_id, root, reply(alice, room_id, root)))
    ok(bob.delete(path(room_id, root)))
    ok(subscribe(bob, room_id, root))


def test_what_is_no_thread_and_what_is_not_in_it(server: HearthServer) -> None:
    alice, bob, room_id = pair(server)
    root, other = alice.send(room_id, "root"), alice.send(room_id, "other")
    said = reply(alice, room_id, root)
    for cause in (root, other, "$nothing", reply(alice, room_id, other)):
        refused(subscribe(bob, room_id, root, cause), 400, NOT_IN_THREAD)
    for thread in (said, "$nothing"):
        refused(subscribe(bob, room_id, thread), 404, "M_NOT_FOUND")
        refused(bob.delete(path(room_id, thread)), 404, "M_NOT_FOUND")
    hidden = alice.create_room()
    secret = alice.send(hidden, "secret")
    refused(subscribe(bob, hidden, secret), 404, "M_NOT_FOUND")
    refused(subscribe(bob, room_id, secret), 404, "M_NOT_FOUND")


def test_what_notifies(server: HearthServer) -> None:
    """Whose client never followed a thread is notified as ever; others of what they follow, and mentions."""
    alice, bob, room_id = pair(server)
    carol = server.register("carol")
    carol.join(room_id)
    followed, unfollowed = alice.send(room_id, "one"), alice.send(room_id, "two")
    ok(subscribe(bob, room_id, followed))
    # The room is muted but for mentions, as clients do it.
    ok(bob.put(f"/pushrules/global/room/{quote(room_id, safe='')}", {"actions": []}))
    for person in (bob, carol):
        ok(person.post(f"{room_path(room_id)}/receipt/m.read/{quote(unfollowed)}"))
    heard = reply(alice, room_id, followed)
    reply(alice, room_id, unfollowed)
    alice.send(room_id, "to all")
    mentioned = reply(alice, room_id, unfollowed, mentions=bob.user_id)
    apart = json.dumps({"room": {"timeline": {"unread_thread_notifications": True}}})

    def counts(person: Client) -> tuple[Json, Json]:
        part = joined(person.sync(since=None, filter=apart), room_id)
        return part["unread_notifications"], part["unread_thread_notifications"]

    assert counts(bob) == (
        {"notification_count": 0, "highlight_count": 0},
        {
            followed: {"notification_count": 1, "highlight_count": 0},
            unfollowed: {"notification_count": 1, "highlight_count": 1},
        },
    )
    assert counts(carol) == (
        {"notification_count": 1, "highlight_count": 0},
        {
            followed: {"notification_count": 1, "highlight_count": 0},
            unfollowed: {"notification_count": 2, "highlight_count": 0},
        },
    )
    listed = ok(bob.get("/notifications"))["notifications"]
    assert [each["event"]["event_id"] for each in listed] == [mentioned, heard]
    assert listed[1]["actions"] == ["notify", {"set_tweak": "sound", "value": "default"}]
    server.restart()
    again = reply(alice, room_id, followed)
    assert ok(bob.get("/notifications", limit=1))["notifications"][0]["event"]["event_id"] == again
    ok(bob.delete(path(room_id, followed)))
    reply(alice, room_id, followed)
    assert ok(bob.get("/notifications", limit=1))["notifications"][0]["event"]["event_id"] == again


def test_the_rules(server: HearthServer) -> None:
    alice, _, room_id = pair(server)
    rule = "/pushrules/global/postcontent/.io.element.msc4306.rule.subscribed_thread"
    assert ok(alice.get(rule))["conditions"] == [
        {"kind": "io.element.msc4306.thread_subscription", "subscribed": True}
    ]
    assert ok(alice.get(f"{rule}/enabled")) == {"enabled": False}
    ok(subscribe(alice, room_id, alice.send(room_id, "root")))
    assert ok(alice.get(f"{rule}/enabled")) == {"enabled": True}
    ok(alice.put(f"{rule}/enabled", {"enabled": False}))
    ok(subscribe(alice, room_id, alice.send(room_id, "another")))
    assert ok(alice.get(f"{rule}/enabled")) == {"enabled": False}, "only the first subscription switches on"
    mine = {"actions": ["notify"], "conditions": []}
    refused(alice.put("/pushrules/global/postcontent/mine", mine), 400, "M_INVALID_PARAM")


def test_in_sliding_sync(server: HearthServer) -> None:
    alice, _, room_id = pair(server)
    roots = [alice.send(room_id, str(number)) for number in range(5)]
    for root in roots[:3]:
        ok(subscribe(alice, room_id, root))
    ok(alice.delete(path(room_id, roots[0])))
    asked = {EXTENSION: {"enabled": True, "limit": 2}}
    sliding = Connection(alice)
    answer = sliding.sync(extensions=asked)["extensions"][EXTENSION]
    assert set(answer["unsubscribed"][room_id]) == {roots[0]}
    assert set(answer["subscribed"][room_id]) == {roots[2]}
    assert answer["subscribed"][room_id][roots[2]]["automatic"] is False
    pages = f"{UNSTABLE}/io.element.msc4308/thread_subscriptions"
    rest = ok(alice.get(pages, dir="b", **{"from": answer["prev_batch"]}))
    assert set(rest["subscribed"][room_id]) == {roots[1]} and "end" not in rest

    assert EXTENSION not in sliding.sync(extensions=asked)["extensions"]
    to = sliding.pos
    for root in roots:
        ok(subscribe(alice, room_id, root))
    answer = sliding.sync(extensions=asked)["extensions"][EXTENSION]
    assert list(answer["subscribed"][room_id]) == [roots[4], roots[3]]
    rest = ok(alice.get(pages, dir="b", **{"from": answer["prev_batch"], "to": to}))
    assert list(rest["subscribed"][room_id]) == [roots[0]], "the others are as they were"
    stamps = [answer["subscribed"][room_id][roots[4]], rest["subscribed"][room_id][roots[0]]]
    assert stamps[0]["bump_stamp"] > stamps[1]["bump_stamp"]

    found: list[str] = []
    token = None
    while True:
        page = ok(alice.get(pages, dir="b", limit=2, **({"from": token} if token else {})))
        found += page["subscribed"][room_id]
        token = page.get("end")
        if token is None:
            break
    assert found == [roots[4], roots[3], roots[0], roots[2], roots[1]]
    for wrong in ({"dir": "f"}, {"limit": "0"}, {"from": "x"}, {"to": "t1_1"}):
        refused(alice.get(pages, **{"dir": "b", **wrong}), 400, "M_INVALID_PARAM")
    refused(alice.get(pages), 400, "M_MISSING_PARAM")
