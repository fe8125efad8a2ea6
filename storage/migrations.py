"""Schema versions: the numbered files of `storage/schema`, each applied once, in one transaction.

A server refuses a schema newer than itself. https://spec.matrix.org has no say here; the promise is ours:
every earlier version can be upgraded in place, on both engines.
"""

import hashlib
import re
from dataclasses import dataclass
from importlib import resources

from storage.engines import Engine
from storage.transaction import Transaction

_FILE_NAME = re.compile(r"(\d{3})_\w+\.sql")


class SchemaTooNew(Exception):
    """The database was written by a later Hearth."""


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    sql: str

    def statements(self) -> list[str]:
        without_comments = re.sub(r"--[^\n]*", "", self.sql)
        return [statement for part in without_comments.split(";") if (statement := part.strip())]


def available() -> list[Migration]:
    """All migrations this program knows, in order."""
    found = [
        Migration(int(match[1]), entry.name, entry.read_text())
        for entry in resources.files("storage").joinpath("schema").iterdir()
        if (match := _FILE_NAME.fullmatch(entry.name))
    ]
    return sorted(found, key=lambda migration: migration.number)


def applied(tx: Transaction) -> set[int]:
    tx.execute(
        "CREATE TABLE IF NOT EXISTS schema_version"
        " (number INTEGER PRIMARY KEY, name TEXT NOT NULL, digest TEXT NOT NULL)"
    )
    return {number for (number,) in tx.all("SELECT number FROM schema_version")}


def upgrade(engine: Engine) -> list[str]:
    """Applies what is missing; the names of what was applied."""
    connection = engine.connect(writer=True)
    try:
        tx = Transaction(engine.begin(connection), engine.dialect)
        done = applied(tx)
        connection.commit()
        known = available()
        newer = done - {migration.number for migration in known}
        if newer:
            raise SchemaTooNew(
                f"The database has schema {max(newer)}, this Hearth knows up to {known[-1].number}."
                " Start the newer version of Hearth again, or restore a backup."
            )
        names = []
        for migration in known:
            if migration.number in done:
                continue
            tx = Transaction(engine.begin(connection), engine.dialect)
            for statement in migration.statements():
                if ddl := engine.dialect.ddl(statement):
                    tx.execute(ddl)
            digest = hashlib.sha256(migration.sql.encode()).hexdigest()
            row = (migration.number, migration.name, digest)
            tx.insert("schema_version", ("number", "name", "digest"), [row])
            connection.commit()
            names.append(migration.name)
        return names
    finally:
        connection.close()
