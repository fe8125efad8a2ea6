"""`hearth db status` and `hearth db upgrade`: the schema of the database against what this program knows."""

import sys
from dataclasses import dataclass
from pathlib import Path

from homeserver.app.config import Config
from storage import migrations
from storage.engines import Engine, engine_from_config
from storage.transaction import Transaction


@dataclass(frozen=True)
class Schema:
    applied: frozenset[int]
    known: tuple[migrations.Migration, ...]

    @property
    def missing(self) -> list[migrations.Migration]:
        return [migration for migration in self.known if migration.number not in self.applied]

    @property
    def newer(self) -> list[int]:
        """Schema numbers that a later version of Hearth wrote."""
        return sorted(self.applied - {migration.number for migration in self.known})


def engine_of(config: Config) -> Engine:
    """The configured database; an unreachable one fails soon instead of hanging."""
    args = dict(config.database.args)
    if config.database.name == "psycopg2":
        args = {"connect_timeout": 5, **args}
    return engine_from_config(config.database.name, args)


def sqlite_path(config: Config) -> Path | None:
    return Path(config.database.args["database"]) if config.database.name == "sqlite3" else None


def read_schema(engine: Engine) -> Schema:
    """What the database has; changes nothing in it."""
    connection = engine.connect(writer=False)
    try:
        tx = Transaction(engine.begin(connection), engine.dialect)
        tables = (
            "SELECT name FROM sqlite_master WHERE name = 'schema_version'"
            if tx.engine == "sqlite"
            else "SELECT to_regclass('schema_version')"
        )
        applied = tx.all("SELECT number FROM schema_version") if tx.value(tables) is not None else []
        return Schema(frozenset(number for (number,) in applied), tuple(migrations.available()))
    finally:
        connection.close()


def status(config: Config) -> int:
    path = sqlite_path(config)
    if path is not None and not path.exists():
        print(f"{path} is not there yet; the first `hearth run` makes it.")
        return 0
    schema = read_schema(engine_of(config))
    for migration in schema.known:
        print(f"{'applied' if migration.number in schema.applied else 'missing'}  {migration.name}")
    if schema.newer:
        print(f"newer    {', '.join(map(str, schema.newer))}: written by a later Hearth; run that version.")
        return 1
    if schema.missing:
        print("`hearth db upgrade` brings it up to date; `hearth run` does so as well.")
    return 0


def upgrade(config: Config) -> int:
    try:
        names = migrations.upgrade(engine_of(config))
    except migrations.SchemaTooNew as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(f"applied  {name}" for name in names) or "The schema is up to date.")
    return 0
