"""Servers that do not answer, on both engines."""

from storage import destinations
from storage.destinations import Failing
from tests.storage.conftest import SynchronousDatabase


def test_failing_and_answering(db: SynchronousDatabase) -> None:
    assert db.read(destinations.failing, "a.test") is None
    for state in (Failing(1, 2_000_000_000_000, 3), Failing(1, 20, 30)):
        db.write(destinations.set_failing, "a.test", state)
        assert db.read(destinations.failing, "a.test") == state
    db.write(destinations.set_failing, "b.test", Failing(4, 5, 6))
    assert db.read(destinations.all_failing) == {"a.test": Failing(1, 20, 30), "b.test": Failing(4, 5, 6)}
    assert db.write(destinations.set_answering, "a.test") is True
    assert db.write(destinations.set_answering, "a.test") is False
    assert list(db.read(destinations.all_failing)) == ["b.test"]
