"""Who is woken by what, and that nobody who waits is forgotten."""

from twisted.internet.defer import Deferred

from homeserver.sync.notifier import IDLE_FEED_SECONDS, WOKEN_AT_ONCE, Feed
from homeserver.sync.tokens import StreamToken
from storage.transaction import Transaction
from tests.homeserver.rooms.house import ALICE, BOB, CAROL
from tests.homeserver.sync.house import SyncHouse
from tests.storage.conftest import SynchronousDatabase


def feed_of(house: SyncHouse, user_id: str) -> Feed:
    return house.run(house.notifier.feed(user_id))


def waiting(house: SyncHouse, feed: Feed, seconds: float = 60) -> "Deferred[None]":
    return Deferred.fromCoroutine(house.notifier.wait(feed, seconds))


def test_members_are_woken_and_others_sleep_on(db: SynchronousDatabase) -> None:
    house = SyncHouse(db)
    room_id = house.room(BOB)
    bob, carol = feed_of(house, BOB), feed_of(house, CAROL)
    before = house.notifier.now()
    woken, asleep = waiting(house, bob), waiting(house, carol)
    house.say(room_id, "hello")
    house.clock.advance(0)
    assert woken.called
    assert not asleep.called
    assert bob.has_news_since(before)
    assert not carol.has_news_since(before)
    assert not bob.has_news_since(house.notifier.now())
    house.clock.advance(61)
    assert asleep.called


def test_whoever_joins_is_woken_by_their_join_and_by_what_follows(db: SynchronousDatabase) -> None:
    house = SyncHouse(db)
    room_id = house.room()
    carol = feed_of(house, CAROL)
    for step in (
        lambda: house.join(room_id, CAROL),
        lambda: house.say(room_id, "hello"),
        lambda: house.leave(room_id, CAROL),
    ):
        woken = waiting(house, carol)
        step()
        house.clock.advance(0)
        assert woken.called
    asleep = waiting(house, carol)
    house.say(room_id, "without Carol")
    house.clock.advance(0)
    assert not asleep.called
    assert room_id not in house.notifier._by_room
    asleep.addErrback(lambda failure: None)
    asleep.cancel()


def test_whoever_is_invited_or_kicked_is_woken(db: SynchronousDatabase) -> None:
    house = SyncHouse(db)
    room_id = house.room()
    bob = feed_of(house, BOB)
    woken = waiting(house, bob)
    house.run(house.rooms.invite(room_id, ALICE, BOB))
    house.clock.advance(0)
    assert woken.called
    house.join(room_id, BOB)
    house.clock.advance(0)
    woken = waiting(house, bob)
    house.run(house.rooms.kick(room_id, ALICE, BOB))
    house.clock.advance(0)
    assert woken.called


def test_typing_wakes_the_members(db: SynchronousDatabase) -> None:
    house = SyncHouse(db)
    room_id = house.room(BOB)
    bob, carol = feed_of(house, BOB), feed_of(house, CAROL)
    before = house.notifier.now()
    woken, asleep = waiting(house, bob), waiting(house, carol)
    house.typing.set(room_id, ALICE, True, 5000)
    house.clock.advance(1)
    assert woken.called
    assert not asleep.called
    assert bob.has_news_since(before)
    house.clock.advance(61)
    assert asleep.called


def test_all_of_a_crowd_are_woken(db: SynchronousDatabase) -> None:
    house = SyncHouse(db)
    room_id = house.room()
    users = [f"@u{n}:here" for n in range(WOKEN_AT_ONCE * 2 + 3)]
    feeds = [feed_of(house, user_id) for user_id in users]
    for feed in feeds:
        house.notifier._enter(feed, room_id)
    waits = [waiting(house, feed) for feed in feeds]
    house.say(room_id, "hello")
    assert not any(wait.called for wait in waits)
    house.clock.advance(0)
    house.say(room_id, "and again, while some still sleep")
    for _ in range(4):
        house.clock.advance(0)
    assert all(wait.called for wait in waits)


def test_one_who_waits_again_at_once_is_woken_again(db: SynchronousDatabase) -> None:
    house = SyncHouse(db)
    room_id = house.room(BOB)
    bob = feed_of(house, BOB)
    again: list[Deferred[None]] = []
    first = waiting(house, bob)
    first.addCallback(lambda _: again.append(waiting(house, bob)))
    house.say(room_id, "one")
    house.clock.advance(0)
    assert len(again) == 1 and not again[0].called
    house.say(room_id, "two")
    house.clock.advance(0)
    assert again[0].called


def test_a_token_from_before_the_feed_is_looked_at(db: SynchronousDatabase) -> None:
    house = SyncHouse(db)
    house.room(BOB)
    bob = feed_of(house, BOB)
    assert bob.has_news_since(StreamToken(bob.since - 1, bob.last_ephemeral))
    assert not bob.has_news_since(StreamToken(bob.since, bob.last_ephemeral))


def test_feeds_nobody_uses_are_dropped(db: SynchronousDatabase) -> None:
    house = SyncHouse(db)
    room_id = house.room(BOB)
    feed_of(house, ALICE)
    bob = feed_of(house, BOB)
    wait = waiting(house, bob, IDLE_FEED_SECONDS * 10)
    house.clock.advance(IDLE_FEED_SECONDS + 1)
    feed_of(house, CAROL)
    assert set(house.notifier._feeds) == {BOB, CAROL}
    assert house.notifier._by_room == {room_id: {bob}}
    house.say(room_id, "Bob still listens")
    house.clock.advance(0)
    assert wait.called
    alice = feed_of(house, ALICE)
    assert alice.rooms == {room_id}
    assert alice.since == db.database.position


def test_a_feed_made_while_its_user_joins_has_the_room(db: SynchronousDatabase) -> None:
    house = SyncHouse(db)
    rooms = [house.room() for _ in range(10)]
    for room_id in rooms:
        house.memberships._users.clear()
        house.notifier._feeds.clear()
        making = Deferred.fromCoroutine(house.notifier.feed(BOB))
        joining = Deferred.fromCoroutine(house.rooms.join(room_id, BOB))
        feed = db._wait(making)
        db._wait(joining)
        assert room_id in feed.rooms


def test_changes_for_a_user_alone(db: SynchronousDatabase) -> None:
    house = SyncHouse(db)
    bob = feed_of(house, BOB)
    wait = waiting(house, bob)

    def announce(tx: Transaction) -> int:
        return tx.announce("account_data", users=[BOB], data=(None, "m.x"))

    position = db.write(announce)
    house.clock.advance(0)
    assert wait.called
    assert house.notifier.user_news(BOB) == {"account_data": position}
    assert house.notifier.user_news(CAROL) == {}
