"""To-device messages: each is handed out until acknowledged, and never again afterwards."""

from typing import Any

import orjson
import pytest

from homeserver.sync.inbox import DELETE_SECONDS, LIMIT, MOST_IN_A_BOX, Inbox
from storage import to_device
from storage.transaction import Change
from tests.homeserver.sync.fakes import FakeClock, run
from tests.storage.conftest import SynchronousDatabase

USER, DEVICE = "@a:here", "D"


class Post:
    """A device's letter box, as the sync uses it."""

    def __init__(self, db: SynchronousDatabase, devices: int = 50_000) -> None:
        self.db = db
        self.clock = FakeClock()
        self.last_news = 0
        self.inbox = Inbox(db.database, self.clock, lambda user_id: self.last_news, devices)

    def put(self, *names: str) -> None:
        for name in names:
            message = orjson.dumps(name)
            self.last_news = self.db.write(to_device.add, [(USER, DEVICE, message)])

    def look(self, since: int = 0, device: str = DEVICE) -> tuple[list[Any], int]:
        """What a sync hands out, and its token."""
        found, reached = run(self.inbox.waiting(USER, device, since, self.db.database.position))
        return [orjson.loads(orjson.dumps(each)) for each in found], reached

    def sync(self, since: int) -> tuple[list[Any], int]:
        self.inbox.acknowledge(USER, DEVICE, since)
        return self.look(since)

    def stored(self) -> int:
        self.clock.advance(DELETE_SECONDS)
        count: int = self.db.write(lambda tx: tx.value("SELECT count(*) FROM to_device_message"))
        return count


@pytest.fixture
def post(db: SynchronousDatabase) -> Post:
    return Post(db)


def test_messages_come_until_acknowledged(post: Post) -> None:
    post.put("a", "b")
    assert post.look()[0] == ["a", "b"]
    found, token = post.look()
    assert found == ["a", "b"]
    assert post.stored() == 2
    assert post.sync(token)[0] == []
    assert post.stored() == 0


def test_a_message_that_comes_meanwhile_is_not_acknowledged(post: Post) -> None:
    post.put("a")
    _, token = post.look()
    post.put("b")
    assert post.sync(token)[0] == ["b"]


def test_a_first_sync_before_the_deletion(post: Post) -> None:
    """Of a client that lost its token; the box was dropped meanwhile."""
    post.put("a")
    _, token = post.look()
    post.put("b")
    post.sync(token)
    post.inbox._boxes.clear()
    assert post.look()[0] == ["b"]
    assert post.stored() == 1


def test_an_answer_that_never_arrived_does_not_bring_acknowledged_ones_back(post: Post) -> None:
    post.put("a")
    _, token = post.look()
    post.put("b")
    assert post.look()[0] == ["a", "b"]  # asked for again, but the client took the first answer
    assert post.sync(token)[0] == ["b"]
    _, token = post.look()
    assert post.sync(token)[0] == []
    assert post.stored() == 0


def test_an_old_token_acknowledges_nothing_new(post: Post) -> None:
    _, old = post.look()
    post.put("a")
    post.look()
    assert post.sync(old)[0] == ["a"]


def test_many_come_in_portions(post: Post) -> None:
    names = [str(n) for n in range(LIMIT * 2 + 10)]
    post.put(*names)
    seen: list[str] = []
    found, token = post.look()
    while found:
        assert len(found) <= LIMIT
        seen += found
        found, token = post.sync(token)
    assert seen == names
    assert post.stored() == 0


def test_a_restart_between_handing_out_and_acknowledging(post: Post) -> None:
    post.put("a")
    _, token = post.look()
    post.put("b")
    restarted = Post(post.db)
    assert restarted.sync(token)[0] == ["b"]
    assert restarted.stored() == 1


def test_messages_from_before_a_restart_reach_a_client_from_before(post: Post) -> None:
    _, token = post.look()
    post.put("a")
    restarted = Post(post.db)
    found, token = restarted.sync(token)
    assert found == ["a"]
    assert restarted.sync(token)[0] == []


def test_an_empty_inbox_is_not_read_again(post: Post) -> None:
    _, token = post.look()
    post.sync(token)
    post.inbox._db = None  # type: ignore[assignment]
    assert post.sync(token)[0] == []


def test_messages_are_not_read_back(post: Post) -> None:
    _, token = post.look()
    post.inbox._db = None  # type: ignore[assignment]
    post.put("a")
    assert post.look(token)[0] == ["a"]


def test_devices_do_not_share(post: Post) -> None:
    post.put("a")
    assert post.look(device="E")[0] == []
    assert post.look()[0] == ["a"]


def test_dropped_boxes_lose_nothing(db: SynchronousDatabase) -> None:
    post = Post(db, devices=1)
    _, token = post.look()
    for n in range(5):
        post.look(device=f"E{n}")
    post.put("a")
    found, token = post.sync(token)
    assert found == ["a"]
    assert post.sync(token)[0] == []


def test_more_than_a_box_holds(post: Post) -> None:
    _, token = post.look()
    names = [str(n) for n in range(MOST_IN_A_BOX + 5)]
    post.put(*names)
    seen: list[str] = []
    found, token = post.sync(token)
    while found:
        seen += found
        found, token = post.sync(token)
    assert seen == names


def test_a_new_device_of_the_same_name_gets_nothing_of_the_old(post: Post) -> None:
    post.look()
    post.put("a")
    post.db.write(to_device.forget_devices, USER, [DEVICE])
    assert post.look()[0] == []


def test_what_is_told_after_the_box_was_read_is_in_it_once(post: Post) -> None:
    """A commit is visible to readers a moment before its followers hear of it."""
    post.put("a")
    assert post.look()[0] == ["a"]
    late = (USER, DEVICE, orjson.dumps("a"))
    post.inbox._follow([Change(post.last_news, "to_device", users=(USER,), data=[late])])
    post.put("b")
    assert post.look()[0] == ["a", "b"]
