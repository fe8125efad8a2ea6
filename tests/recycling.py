"""Databases with the schema in them, for tests that need one each: emptied after use instead of made anew.

Making a PostgreSQL database and its tables takes some 150 ms of a quiet machine, emptying one takes 2 ms,
and there are more than a thousand such tests.
"""

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import sql

from storage import migrations
from storage.engines import PostgresEngine, SQLiteEngine
from tests.postgres import PostgresServer


class RecycledPostgres:
    """One database, for one test after another."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self.arguments = server.create_database()
        migrations.upgrade(PostgresEngine(self.arguments))
        with closing(psycopg2.connect(**self.arguments)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            self._tables = [name for (name,) in cursor.fetchall()]
            self._rows = {table: self._rows_of(cursor, table) for table in self._tables}

    def clean(self) -> None:
        """As it was after the migrations, whatever the test did and left open."""
        self._server.administer(
            sql.SQL("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {}").format(
                sql.Literal(self.arguments["dbname"])
            )
        )
        with closing(psycopg2.connect(**self.arguments)) as connection, connection.cursor() as cursor:
            for table in self._tables:
                cursor.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
            for table, rows in self._rows.items():
                for row in rows:
                    values = sql.SQL(", ").join(map(sql.Literal, row))
                    cursor.execute(
                        sql.SQL("INSERT INTO {} VALUES ({})").format(sql.Identifier(table), values)
                    )
            connection.commit()

    @staticmethod
    def _rows_of(cursor: Any, table: str) -> list[tuple[Any, ...]]:
        cursor.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table)))
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


class SQLiteTemplate:
    """A file with the schema, to be copied."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "template.db"
        migrations.upgrade(SQLiteEngine(str(self._path)))

    def copy(self, path: Path) -> str:
        shutil.copyfile(self._path, path)
        return str(path)
