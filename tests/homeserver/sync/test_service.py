"""/sync against the clock: news that comes while an answer is put together is told once, by the next one."""

import orjson
from twisted.internet.defer import Deferred

from homeserver.sync.filters import parse
from homeserver.sync.people import _RoomMates
from storage import to_device
from tests.homeserver.rooms.house import ALICE, BOB, CAROL, House
from tests.homeserver.rooms.test_registry import writer_held
from tests.homeserver.sync.house import Body, SyncHouse, timeline
from tests.storage.conftest import SynchronousDatabase


def test_a_message_that_comes_meanwhile_is_told_by_the_next(db: SynchronousDatabase) -> None:
    house = SyncHouse(db)
    room_id = house.room(BOB)
    since = house.sync(BOB)["next_batch"]
    house.say(room_id, "one")
    house.after_window(lambda: house.rooms.send(room_id, ALICE, "m.room.message", {"body": "two"}))
    first = house.sync(BOB, since)
    second = house.sync(BOB, first["next_batch"])
    assert timeline(first, room_id) == ["one"]
    assert timeline(second, room_id) == ["two"]


def test_leaving_meanwhile_loses_and_repeats_nothing(db: SynchronousDatabase) -> None:
    house = SyncHouse(db)
    room_id = house.room(BOB)
    since = house.sync(BOB)["next_batch"]
    house.say(room_id, "one")
    house.after_window(lambda: house.rooms.leave(room_id, BOB))
    first = house.sync(BOB, since)
    second = house.sync(BOB, first["next_batch"])
    third = house.sync(BOB, second["next_batch"])
    assert (timeline(first, room_id), timeline(first, room_id, "leave")) == (["one"], [])
    assert (timeline(second, room_id), timeline(second, room_id, "leave")) == ([], ["leave"])
    assert "rooms" not in third


def test_leaving_and_being_banned_meanwhile(db: SynchronousDatabase) -> None:
    house = SyncHouse(db)
    room_id = house.room(BOB)
    since = house.sync(BOB)["next_batch"]
    house.say(room_id, "one")

    async def leave_and_be_banned() -> None:
        await house.rooms.leave(room_id, BOB)
        await house.rooms.ban(room_id, ALICE, BOB)

    house.after_window(leave_and_be_banned)
    first = house.sync(BOB, since)
    second = house.sync(BOB, first["next_batch"])
    assert timeline(first, room_id) == ["one"]
    assert timeline(second, room_id, "leave") == ["leave", "ban"]


def test_joining_meanwhile_is_for_the_next(db: SynchronousDatabase) -> None:
    house = SyncHouse(db)
    room_id = house.room(BOB)
    other = house.room()
    since = house.sync(BOB)["next_batch"]
    house.say(room_id, "one")
    house.after_window(lambda: house.rooms.join(other, BOB))
    first = house.sync(BOB, since)
    second = house.sync(BOB, first["next_batch"])
    assert list(first["rooms"]["join"]) == [room_id]
    assert list(second["rooms"]["join"]) == [other]
    assert len(second["rooms"]["join"][other]["state"]["events"]) > 3 or timeline(second, other)


def test_being_invited_meanwhile_is_for_the_next(db: SynchronousDatabase) -> None:
    house = SyncHouse(db)
    room_id = house.room(BOB)
    other = house.room(preset="private_chat")
    since = house.sync(BOB)["next_batch"]
    house.say(room_id, "one")
    house.after_window(lambda: house.rooms.invite(other, ALICE, BOB))
    first = house.sync(BOB, since)
    second = house.sync(BOB, first["next_batch"])
    assert list(first["rooms"]) == ["join"]
    assert list(second["rooms"]["invite"]) == [other]


def test_a_wait_ends_with_the_news(db: SynchronousDatabase) -> None:
    house = SyncHouse(db)
    room_id = house.room(BOB)
    since = house.sync(BOB)["next_batch"]
    waiting = Deferred.fromCoroutine(house.service.sync(house.request(BOB, since, timeout_ms=30_000)))
    house.say(room_id, "wake up")
    house.clock.advance(0)
    body: Body = orjson.loads(db._wait(waiting))
    assert timeline(body, room_id) == ["wake up"]


def test_news_between_looking_and_waiting_is_not_slept_through(db: SynchronousDatabase) -> None:
    house = SyncHouse(db)
    room_id = house.room(BOB, CAROL)
    left = _left(house)
    since = house.sync(BOB)["next_batch"]
    house.run(house.rooms.forget(BOB, left))
    # Something that concerns BOB but is nothing to tell; a message arrives while that is found out.
    house.after_window(lambda: house.rooms.send(room_id, ALICE, "m.room.message", {"body": "late"}))
    waiting = Deferred.fromCoroutine(house.service.sync(house.request(BOB, since, timeout_ms=30_000)))
    body: Body = orjson.loads(db._wait(waiting))
    assert timeline(body, room_id) == ["late"]


def _left(house: SyncHouse) -> str:
    room_id = house.room(BOB)
    house.leave(room_id, BOB)
    return room_id


def test_a_wait_ends_in_time_with_a_token_of_now(db: SynchronousDatabase) -> None:
    house = SyncHouse(db)
    house.room(BOB)
    since = house.sync(BOB)["next_batch"]
    other = house.room()
    waiting = Deferred.fromCoroutine(house.service.sync(house.request(BOB, since, timeout_ms=10_000)))
    house.say(other, "none of Bob's business")
    house.clock.advance(9)
    assert not waiting.called
    house.clock.advance(2)
    body: Body = orjson.loads(db._wait(waiting))
    assert "rooms" not in body
    assert body["next_batch"] == str(house.notifier.now())
    assert not house.notifier._feeds[BOB].waiters


def test_whoever_goes_away_while_waiting_leaves_nothing_behind(db: SynchronousDatabase) -> None:
    house = SyncHouse(db)
    house.room(BOB)
    since = house.sync(BOB)["next_batch"]
    waiting = Deferred.fromCoroutine(house.service.sync(house.request(BOB, since, timeout_ms=10_000)))
    waiting.addErrback(lambda failure: None)
    waiting.cancel()
    assert not house.notifier._feeds[BOB].waiters
    assert not house.clock.reactor.getDelayedCalls()


def test_a_token_of_a_later_database_goes_on_from_now(db: SynchronousDatabase) -> None:
    house = SyncHouse(db)
    room_id = house.room(BOB)
    house.sync(BOB)
    first = house.sync(BOB, "s999999999_0")
    house.say(room_id, "one")
    assert timeline(house.sync(BOB, first["next_batch"]), room_id) == ["one"]
    db.write(to_device.add, [(BOB, "DEVICE", b'{"type":"m.x","sender":"@a:here","content":{}}')])
    assert len(house.sync(BOB, first["next_batch"])["to_device"]["events"]) == 1


def test_sync_goes_on_after_a_restart(db: SynchronousDatabase) -> None:
    house = SyncHouse(db)
    room_id = house.room(BOB)
    since = house.sync(BOB)["next_batch"]
    house.say(room_id, "before")
    restarted = SyncHouse(db)
    restarted.say(room_id, "after")
    body = restarted.sync(BOB, since)
    assert timeline(body, room_id) == ["before", "after"]
    assert "rooms" not in restarted.sync(BOB, body["next_batch"])


def test_all_events_of_a_commit_are_told_once(db: SynchronousDatabase) -> None:
    house = SyncHouse(db)
    room_id = house.room(BOB)
    token = house.sync(BOB)["next_batch"]
    seen: list[str] = []
    for portion in range(4):
        with writer_held(db):
            sent = [
                Deferred.fromCoroutine(
                    house.rooms.send(room_id, ALICE, "m.room.message", {"body": f"{portion}-{n}"})
                )
                for n in range(5)
            ]
        for each in sent:
            db._wait(each)
        body = house.sync(BOB, token)
        token = body["next_batch"]
        seen += timeline(body, room_id)
    assert seen == [f"{portion}-{n}" for portion in range(4) for n in range(5)]


def test_members_of_an_answer_that_got_lost_are_told_again(db: SynchronousDatabase) -> None:
    lazy = parse('{"room": {"state": {"lazy_load_members": true}, "timeline": {"limit": 1}}}')
    house = SyncHouse(db)
    room_id = house.room(BOB, CAROL, name="so that nobody is a hero")
    house.say(room_id, "first")
    since = house.sync(BOB, filter=lazy)["next_batch"]

    def members(body: Body) -> list[str]:
        state = body["rooms"]["join"][room_id]["state"]["events"]
        return [event["state_key"] for event in state if event["type"] == "m.room.member"]

    house.say(room_id, "hello", CAROL)
    assert members(house.sync(BOB, since, filter=lazy)) == [CAROL]
    retried = house.sync(BOB, since, filter=lazy)
    assert members(retried) == [CAROL]
    house.say(room_id, "again", CAROL)
    assert members(house.sync(BOB, retried["next_batch"], filter=lazy)) == []


def test_room_mates_are_known_where_their_room_is_not_in_memory(db: SynchronousDatabase) -> None:
    room_id = House(db).room(BOB)
    House(db).room(creator=CAROL)
    house = SyncHouse(db)
    for user_id in (ALICE, CAROL):
        house.run(house.memberships.joined_rooms(user_id))
    feed = house.run(house.notifier.feed(BOB))
    assert house.registry.cached(room_id) is None
    mates = _RoomMates(house.rooms, feed.rooms, BOB)
    assert ALICE in mates
    assert BOB in mates
    assert CAROL not in mates
