"""`hearth db` tells and mends the state of the schema, on both engines."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from homeserver.app import db
from homeserver.app.config import Config, Database
from storage import migrations
from storage.transaction import Transaction
from tests.postgres import PostgresServer


@pytest.fixture(params=["sqlite3", "psycopg2"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Config]:
    if request.param == "sqlite3":
        args = {"database": str(tmp_path / "homeserver.db")}
        yield Config(server_name="a", database=Database(args=args))
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    args = server.create_database()
    yield Config(server_name="a", database=Database(name="psycopg2", args=args))
    server.drop_database(args["dbname"])


def test_upgrade_brings_it_up_to_date(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    assert db.status(config) == 0
    assert db.upgrade(config) == 0
    capsys.readouterr()
    assert db.status(config) == 0
    names = [migration.name for migration in migrations.available()]
    assert capsys.readouterr().out.splitlines() == [f"applied  {name}" for name in names]
    assert db.upgrade(config) == 0
    assert "up to date" in capsys.readouterr().out


def test_a_newer_schema_is_refused(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    db.upgrade(config)
    engine = db.engine_of(config)
    connection = engine.connect(writer=True)
    tx = Transaction(engine.begin(connection), engine.dialect)
    tx.insert("schema_version", ("number", "name", "digest"), [(999, "999_later.sql", "")])
    connection.commit()
    connection.close()
    capsys.readouterr()
    assert db.status(config) == 1
    assert "newer    999" in capsys.readouterr().out
    assert db.upgrade(config) == 1
    assert "999" in capsys.readouterr().err


def test_status_changes_nothing(config: Config) -> None:
    db.status(config)
    path = db.sqlite_path(config)
    assert path is None or not path.exists()
    if path is None:
        assert db.read_schema(db.engine_of(config)).applied == frozenset()
