"""What differs between SQLite and PostgreSQL, and nothing else does.

SQL is written once, with `?` for parameters, `INTEGER`, `TEXT` and `BLOB` for columns. In the schema, a
statement for one engine only begins with `@sqlite` or `@postgres`. (Full-text search is another matter on
each of them: see `storage.search`.)
"""

import functools
import io
import re
import struct
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import orjson

_COLUMN_TYPES = {"INTEGER": "BIGINT", "BLOB": "BYTEA"}
_TYPE_WORDS = re.compile(r"\b(INTEGER|BLOB)\b")
COPY_FROM = 12
"""So many rows are copied rather than inserted, """
COPY_APART_FROM = 100
"""and so many if others are copied: it takes another round trip."""

COPIED_AT_ONCE = 1 << 18
Insert = tuple[str, Sequence[Sequence[Any]], str]
"""`INSERT INTO table (columns)`, the rows, and what follows the VALUES."""

_INT8 = struct.Struct("!iq").pack
_LENGTH = struct.Struct("!i").pack
_NULL = _LENGTH(-1)
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
        if (data := _copied(rows, conflict)) is not None:
            cursor.copy_expert(_copy(sql), data, COPIED_AT_ONCE)
        else:
            for statement in _insert(cursor, sql, rows, conflict):
                cursor.execute(statement)

    @staticmethod
    def last_inserts(cursor: Any, inserts: Sequence[Insert]) -> tuple[io.BytesIO | None, list[str]]:
        """The statements for these rows, to be sent as one; the first copies, if there is data to copy."""
        copied = None
        statements: list[str] = []
        for sql, rows, conflict in sorted(inserts, key=_size, reverse=True):
            few = copied is not None and len(rows) < COPY_APART_FROM
            data = None if few else _copied(rows, conflict)
            if data is None:
                statements += _insert(cursor, sql, rows, conflict)
            elif copied is None:
                copied = data
                statements.insert(0, _copy(sql))
            else:  # there can be but one in a round trip
                cursor.copy_expert(_copy(sql), data, COPIED_AT_ONCE)
        return copied, statements


def _size(insert: Insert) -> int:
    return len(insert[1])


def _insert(cursor: Any, sql: str, rows: Sequence[Sequence[Any]], conflict: str) -> Iterator[str]:
    row = "(" + ",".join(["%s"] * len(rows[0])) + ")"
    for start in range(0, len(rows), 1000):
        chunk = rows[start : start + 1000]
        values = ",".join([row] * len(chunk))
        flat = [value for each in chunk for value in each]
        yield cursor.mogrify(f"{sql} VALUES {values} {conflict.replace('%', '%%')}", flat).decode()


def _copy(sql: str) -> str:
    return f"COPY {sql.removeprefix('INSERT INTO ')} FROM STDIN BINARY"


def _copied(rows: Sequence[Sequence[Any]], conflict: str) -> io.BytesIO | None:
    return _binary(rows) if len(rows) >= COPY_FROM and not conflict else None


def _binary(rows: Sequence[Sequence[Any]]) -> io.BytesIO | None:
    """Rows as binary COPY takes them, at less than half of what an INSERT costs on either side.

    https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS-BINARY
    None if a value is of a kind that no column declared as above has.
    """
    width = struct.pack("!h", len(rows[0]))
    parts = [b"PGCOPY\n\xff\r\n\0" + bytes(8)]
    for row in rows:
        parts.append(width)
        for value in row:
            kind = type(value)
            if kind is str:
                value = value.encode()
            elif kind is int:
                parts.append(_INT8(8, value))
                continue
            elif value is None:
                parts.append(_NULL)
                continue
            elif kind is not bytes:
                return None
            parts.append(_LENGTH(len(value)))
            parts.append(value)
    parts.append(b"\xff\xff")
    return io.BytesIO(b"".join(parts))


Dialect = type[SQLite] | type[PostgreSQL]
