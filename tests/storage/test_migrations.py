"""The schema: every earlier version is upgraded in place, on both engines, and comes out like a new one."""

import sqlite3
from typing import Any

import pytest

from storage import migrations
from storage.engines import Engine, SQLiteEngine
from storage.migrations import Migration
from storage.transaction import Transaction
from tests.storage.conftest import SynchronousDatabase

KNOWN = migrations.available()
Schema = dict[str, list[tuple[Any, ...]]]


def schema_of(engine: Engine) -> Schema:
    """The tables with their columns, and the indexes."""
    connection = engine.connect(writer=True)
    tx = Transaction(engine.begin(connection), engine.dialect)
    try:
        if isinstance(engine, SQLiteEngine):
            names = tx.all("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
            tables = {name: tx.all(f"SELECT name, type, \"notnull\", pk FROM pragma_table_info('{name}')")
                      for (name,) in names}  # fmt: skip
            return {**tables, "indexes": tx.all("SELECT name, sql FROM sqlite_master WHERE type = 'index'")}
        columns: Schema = {}
        for table, *column in tx.all(
            "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns"
            " WHERE table_schema = 'public' ORDER BY table_name, ordinal_position"
        ):
            columns.setdefault(table, []).append(tuple(column))
        indexes = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexname"
        return {**columns, "indexes": tx.all(indexes)}
    finally:
        connection.rollback()
        connection.close()


def upgrade_to(engine: Engine, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "available", lambda: [each for each in KNOWN if each.number <= number])
        migrations.upgrade(engine)


def test_every_migration_has_a_number_of_its_own() -> None:
    numbers = [migration.number for migration in KNOWN]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("earlier", [migration.number for migration in KNOWN[:-1]])
def test_every_earlier_version_is_upgraded(
    engine: Engine, earlier: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade_to(engine, earlier, monkeypatch)
    old = SynchronousDatabase(engine)
    columns = ("nid", "room_id", "version", "depth", "position", "extremities")
    old.write(lambda tx: tx.insert("room", columns, [(7, "!kept:here", "10", 3, 1, b'["$e"]')]))
    old.write(lambda tx: tx.announce("test"))
    old.close()

    assert migrations.upgrade(engine) == [each.name for each in KNOWN if each.number > earlier]
    assert migrations.upgrade(engine) == []

    new = SynchronousDatabase(engine)
    try:
        assert new.read(lambda tx: tx.all("SELECT room_id, extremities FROM room")) == [
            ("!kept:here", b'["$e"]')
        ]
        assert new.database.position == 1
        assert new.write(lambda tx: tx.announce("test")) == 2
        assert new.database.ids.room() == 8
    finally:
        new.close()


def test_an_upgraded_schema_is_like_a_new_one(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for migration in KNOWN:
        upgrade_to(engine, migration.number, monkeypatch)
    stepwise = schema_of(engine)
    assert {"event", "room", "snapshot", "membership", "schema_version"} <= stepwise.keys()
    with SynchronousDatabaseOf(engine) as db:
        applied = db.read(lambda tx: tx.all("SELECT number, name FROM schema_version ORDER BY number"))
    assert applied == [(each.number, each.name) for each in KNOWN]
    if isinstance(engine, SQLiteEngine):
        fresh = SQLiteEngine(engine.path + ".fresh")
        migrations.upgrade(fresh)
        assert schema_of(fresh) == stepwise


class SynchronousDatabaseOf:
    """`with SynchronousDatabaseOf(engine) as db`."""

    def __init__(self, engine: Engine) -> None:
        self._db = SynchronousDatabase(engine)

    def __enter__(self) -> SynchronousDatabase:
        return self._db

    def __exit__(self, *_: object) -> None:
        self._db.close()


def test_a_migration_that_fails_leaves_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    migrations.upgrade(engine)
    before = schema_of(engine)
    number = KNOWN[-1].number + 1
    broken = Migration(number, f"{number:03}_x.sql", "CREATE TABLE halfway (n INTEGER);\nNOT SQL;")
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "available", lambda: [*KNOWN, broken])
        with pytest.raises(Exception) as caught:
            migrations.upgrade(engine)
        assert "syntax" in str(caught.value)
    assert schema_of(engine) == before
    mended = Migration(number, broken.name, "CREATE TABLE halfway (n INTEGER);")
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "available", lambda: [*KNOWN, mended])
        assert migrations.upgrade(engine) == [broken.name]
    with pytest.raises(migrations.SchemaTooNew):
        migrations.upgrade(engine)


def test_comments_are_no_statements() -> None:
    statements = Migration(1, "x", "-- a; comment\nCREATE TABLE t (n INTEGER); -- more\n\n;").statements()
    assert statements == ["CREATE TABLE t (n INTEGER)"]


@pytest.mark.parametrize("migration", KNOWN, ids=lambda migration: str(migration.name))
def test_statements_are_cut_where_they_end(migration: Migration) -> None:
    """Cutting at semicolons is right only as long as no text holds one."""
    for statement in migration.statements():
        assert sqlite3.complete_statement(statement + ";")
        assert statement.count("'") % 2 == 0
