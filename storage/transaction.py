"""One open transaction, as the store functions see it: synchronous, on a database thread.

The subtle idea is `buffer`: rows that many jobs of one group commit add to the same table are held back
and written as one statement. Any other statement flushes them first, so a job always reads what it and
its predecessors wrote.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from storage.dialect import Dialect, Insert


@dataclass(frozen=True, slots=True)
class Change:
    """One step of the stream, as followers get it after the commit.

    `users` are to be woken, and the local joined members of `rooms`; `data` belongs to the stream.
    """

    position: int
    stream: str
    rooms: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    data: Any = None


@dataclass(slots=True)
class _Buffer:
    columns: Sequence[str]
    conflict: str
    rows: list[Sequence[Any]] = field(default_factory=list)
    keyed: dict[Any, Sequence[Any]] = field(default_factory=dict)


class Transaction:
    """Statements on one connection. `position` is the last position given out (write transactions)."""

    def __init__(self, cursor: Any, dialect: Dialect, position: int | None = None) -> None:
        self._cursor = cursor
        self._dialect = dialect
        self._buffers: dict[tuple[str, str], _Buffer] = {}
        self.engine: str = dialect.name
        self.position = position
        self.changes: list[Change] = []

    def execute(self, sql: str, params: Sequence[Any] = ()) -> int:
        """Runs one statement; the number of rows it touched."""
        if self._buffers:
            self.flush()
        self._cursor.execute(self._dialect.query(sql), tuple(params))
        return int(self._cursor.rowcount)

    def one(self, sql: str, params: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        self.execute(sql, params)
        row: tuple[Any, ...] | None = self._cursor.fetchone()
        return row

    def all(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        self.execute(sql, params)
        rows: list[tuple[Any, ...]] = self._cursor.fetchall()
        return rows

    def value(self, sql: str, params: Sequence[Any] = ()) -> Any:
        row = self.one(sql, params)
        return row[0] if row is not None else None

    def any(self, column: str) -> str:
        """The condition "column is one of …"; its single parameter is made by `array`."""
        return self._dialect.any(column)

    def array(self, values: Collection[Any]) -> Any:
        return self._dialect.array(values)

    @staticmethod
    def values(width: int, count: int) -> str:
        """What stands after VALUES for so many rows of parameters."""
        return ",".join([f"({','.join('?' * width)})"] * count)

    def insert(
        self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], conflict: str = ""
    ) -> None:
        """Many rows at once, now."""
        if self._buffers:
            self.flush()
        if rows := list(rows):
            self._dialect.insert(self._cursor, _insert_into(table, columns), rows, conflict)

    def buffer(
        self, table: str, columns: Sequence[str], row: Sequence[Any], conflict: str = "", *, key: Any = None
    ) -> None:
        """One row, written together with all others buffered for this table.

        With a `key`, a later row replaces an earlier one of the same key (an upsert may not touch a row
        twice in one statement).
        """
        buffer = self._buffer(table, columns, conflict)
        if key is None:
            buffer.rows.append(row)
        else:
            buffer.keyed[key] = row

    def buffer_all(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        self._buffer(table, columns, "").rows.extend(rows)

    def _buffer(self, table: str, columns: Sequence[str], conflict: str) -> _Buffer:
        buffer = self._buffers.get((table, conflict))
        if buffer is None:
            buffer = self._buffers[table, conflict] = _Buffer(columns, conflict)
        return buffer

    def flush(self) -> None:
        for insert in self.take_buffered():
            self._dialect.insert(self._cursor, *insert)

    def take_buffered(self) -> list[Insert]:
        """What `flush` would write, for the end of the transaction to write."""
        buffers, self._buffers = self._buffers, {}
        return [
            (_insert_into(table, buffer.columns), [*buffer.rows, *buffer.keyed.values()], buffer.conflict)
            for (table, _), buffer in buffers.items()
        ]

    def announce(
        self, stream: str, *, rooms: Sequence[str] = (), users: Sequence[str] = (), data: Any = None
    ) -> int:
        """Takes the next position of the stream, to be stored in the row this change is about."""
        if self.position is None:
            raise RuntimeError("announce needs a write transaction")
        self.position += 1
        self.changes.append(Change(self.position, stream, tuple(rooms), tuple(users), data))
        return self.position


def _insert_into(table: str, columns: Sequence[str]) -> str:
    return f"INSERT INTO {table} ({','.join(columns)})"
