"""What differs between SQLite and PostgreSQL, and nothing else does.

SQL is written once, with `?` for parameters, `INTEGER`, `TEXT` and `BLOB` for columns. In the schema, a
statement for one engine only begins with `@sqlite` or `@postgres`. (Full-text search is another matter on
each of them: see `storage.search`.)
"""

import functools
import re
from collections.abc import Collection, Sequence
from typing import Any

import orjson

_COLUMN_TYPES = {"INTEGER": "BIGINT", "BLOB": "BYTEA"}
_TYPE_WORDS = re.compile(r"\b(INTEGER|BLOB)\b")
_ONLY_FOR = re.compile(r"@(\w+)\s+")


def _own(sql: str, engine: str) -> str:
    """The statement if it is for this engine, else an empty one."""
    only = _ONLY_FOR.match(sql)
    if only is None:
        return sql
    return sql[only.end() :] if only[1] == engine else ""


class SQLite:
    name = "sqlite"

    @staticmethod
    def query(sql: str) -> str:
        return sql

    @staticmethod
    def ddl(sql: str) -> str:
        """A statement of the schema, empty if it is for the other engine."""
        return _own(sql, "sqlite")

    @staticmethod
    def any(column: str) -> str:
        return f"{column} IN (SELECT value FROM json_each(?))"

    @staticmethod
    def array(values: Collection[Any]) -> Any:
        return orjson.dumps(list(values)).decode()

    @staticmethod
    def insert(cursor: Any, sql: str, rows: Sequence[Sequence[Any]], conflict: str) -> None:
        placeholders = ",".join("?" * len(rows[0]))
        cursor.executemany(f"{sql} VALUES ({placeholders}) {conflict}", rows)


@functools.lru_cache(maxsize=2048)
def _percent_style(sql: str) -> str:
    return sql.replace("%", "%%").replace("?", "%s")


class PostgreSQL:
    name = "postgres"

    @staticmethod
    def query(sql: str) -> str:
        return _percent_style(sql)

    @staticmethod
    def ddl(sql: str) -> str:
        return _TYPE_WORDS.sub(lambda match: _COLUMN_TYPES[match[1]], _own(sql, "postgres"))

    @staticmethod
    def any(column: str) -> str:
        return f"{column} = ANY(?)"

    @staticmethod
    def array(values: Collection[Any]) -> Any:
        return list(values)

    @staticmethod
    def insert(cursor: Any, sql: str, rows: Sequence[Sequence[Any]], conflict: str) -> None:
        row = "(" + ",".join(["%s"] * len(rows[0])) + ")"
        for start in range(0, len(rows), 1000):
            chunk = rows[start : start + 1000]
            values = ",".join([row] * len(chunk))
            flat = [value for each in chunk for value in each]
            cursor.execute(f"{sql} VALUES {values} {conflict.replace('%', '%%')}", flat)


Dialect = type[SQLite] | type[PostgreSQL]
