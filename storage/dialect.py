"""What differs between SQLite and PostgreSQL, and nothing else does.

SQL is written once, with `?` for parameters, `INTEGER`, `TEXT` and `BLOB` for columns.
"""

import functools
import re
from collections.abc import Collection, Sequence
from typing import Any

import orjson

_COLUMN_TYPES = {"INTEGER": "BIGINT", "BLOB": "BYTEA"}
_TYPE_WORDS = re.compile(r"\b(INTEGER|BLOB)\b")


class SQLite:
    name = "sqlite"

    @staticmethod
    def query(sql: str) -> str:
        return sql

    @staticmethod
    def ddl(sql: str) -> str:
        return sql

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
        return _TYPE_WORDS.sub(lambda match: _COLUMN_TYPES[match[1]], sql)

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
