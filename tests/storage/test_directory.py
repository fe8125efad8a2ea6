"""Aliases and published rooms in the database."""

from storage import directory
from storage.directory import OWN, Alias, Published
from storage.transaction import Transaction
from tests.storage.conftest import SynchronousDatabase


def test_an_alias_belongs_to_who_came_first(db: SynchronousDatabase) -> None:
    assert db.write(directory.add_alias, "#pub:x", "!a:x", "@a:x", 1)
    assert not db.write(directory.add_alias, "#pub:x", "!b:x", "@b:x", 2)
    assert db.read(directory.find_alias, "#pub:x") == Alias("#pub:x", "!a:x", "@a:x")
    assert db.read(directory.find_alias, "#nothing:x") is None


def test_the_aliases_of_a_room(db: SynchronousDatabase) -> None:
    db.write(directory.add_alias, "#z:x", "!a:x", "@a:x", 1)
    db.write(directory.add_alias, "#a:x", "!a:x", "@a:x", 2)
    db.write(directory.add_alias, "#b:x", "!b:x", "@a:x", 3)
    assert db.read(directory.aliases_of, "!a:x") == ["#z:x", "#a:x"]
    assert db.read(directory.room_ids, ["#z:x", "#b:x", "#no:x"]) == {"#z:x": "!a:x", "#b:x": "!b:x"}
    assert db.write(directory.remove_alias, "#z:x")
    assert not db.write(directory.remove_alias, "#z:x")
    assert db.read(directory.aliases_of, "!a:x") == ["#a:x"]


def test_publishing_is_announced(db: SynchronousDatabase) -> None:
    db.write(directory.publish, "!a:x")
    db.write(directory.publish, "!a:x")
    db.write(directory.publish, "!a:x", "irc")
    assert db.read(directory.is_published, "!a:x")
    assert sorted(db.read(directory.published)) == [("!a:x", OWN), ("!a:x", "irc")]
    db.write(directory.unpublish, "!a:x")
    db.write(directory.unpublish, "!never:x")
    assert not db.read(directory.is_published, "!a:x")
    news = [change.data for change in db.changes if change.stream == "directory"]
    assert news[0] == Published("!a:x", OWN, True)
    assert news[-1] == Published("!a:x", OWN, False)


def test_what_summaries_are_made_of(db: SynchronousDatabase) -> None:
    def write(tx: Transaction) -> None:
        columns = ("nid", "room_id", "version", "snapshot", "depth", "position", "extremities")
        rooms = [(1, "!a:x", "11", 5, 0, 0, b"[]"), (2, "!b:x", "11", None, 0, 0, b"[]")]
        tx.insert("room", columns, rooms)
        members = ("user_id", "room_id", "membership", "event_id", "sender", "position", "forgotten")
        tx.insert(
            "membership",
            members,
            [
                ("@a:x", "!a:x", "join", "$1", "@a:x", 1, 0),
                ("@b:x", "!a:x", "join", "$2", "@b:x", 2, 0),
                ("@c:x", "!a:x", "leave", "$3", "@c:x", 3, 0),
            ],
        )

    db.write(write)
    assert db.read(directory.joined_counts, ["!a:x", "!b:x"]) == {"!a:x": 2}
    assert db.read(directory.current_snapshots, ["!a:x", "!b:x"]) == {"!a:x": (1, 5)}
