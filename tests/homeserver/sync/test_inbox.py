"""To-device messages: each is handed out until acknowledged, and never again afterwards."""

from typing import Any

import orjson
import pytest

from homeserver.sync.inbox import LIMIT, Inbox
from storage import to_device
from tests.homeserver.sync.fakes import run
from tests.storage.conftest import SynchronousDatabase

USER, DEVICE = "@a:here", "D"


class Post:
    """A device's letter box, as the sync uses it."""

    def __init__(self, db: SynchronousDatabase, devices: int = 50_000) -> None:
        self.db = db
        self.inbox = Inbox(db.database, devices)
        self.started_at = db.database.position
        self.last_news: int | None = None

    def put(self, *names: str) -> None:
        for name in names:
            message = orjson.dumps(name)
            self.last_news = self.db.write(to_device.add, [(USER, DEVICE, message)])

    def look(self) -> tuple[list[Any], int]:
        """What a sync without `since` hands out, and its token."""
        upto = self.db.database.position
        found, reached = run(self.inbox.waiting(USER, DEVICE, upto, self.last_news))
        return [orjson.loads(orjson.dumps(each)) for each in found], reached

    def sync(self, since: int) -> tuple[list[Any], int]:
        run(self.inbox.acknowledge(USER, DEVICE, since, self.started_at))
        return self.look()

    def stored(self) -> int:
        count: int = self.db.read(lambda tx: tx.value("SELECT count(*) FROM to_device_message"))
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


def test_devices_do_not_share(db: SynchronousDatabase) -> None:
    post = Post(db)
    post.put("a")
    other, _ = run(post.inbox.waiting(USER, "E", db.database.position, post.last_news))
    assert other == []
    assert post.look()[0] == ["a"]


def test_forgotten_devices_lose_nothing(db: SynchronousDatabase) -> None:
    post = Post(db, devices=1)
    _, token = post.look()
    for n in range(5):
        run(post.inbox.waiting(USER, f"E{n}", db.database.position, None))
    post.put("a")
    found, token = post.sync(token)
    assert found == ["a"]
    assert post.sync(token)[0] == []
