"""Connections to SQLite and PostgreSQL: how they are opened, begun, committed, and what their failures mean.

PostgreSQL gets BEGIN with a transaction's first statement, and what its end needs with the COMMIT: on a busy
machine each round trip costs more than what is asked for in it.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import psycopg2
import psycopg2.extensions

from storage.dialect import COPIED_AT_ONCE, Dialect, Insert, PostgreSQL, SQLite

_BYTES = psycopg2.extensions.new_type(
    (17,), "BYTES", lambda value, cursor: None if value is None else bytes.fromhex(str(value)[2:])
)

_SHUTDOWNS = ("57P01", "57P02", "57P03", "57P05")
_POSITION = "SELECT position FROM stream_position WHERE writer = 0"


class SecondWriter(Exception):
    """The stream moved without this writer."""

    def __init__(self) -> None:
        super().__init__("Somebody else writes to this database: two Hearths must not share one.")


class Engine(Protocol):
    @property
    def dialect(self) -> Dialect: ...

    @property
    def readers(self) -> int: ...

    def connect(self, *, writer: bool) -> Any: ...

    def begin(self, connection: Any) -> Any:
        """Opens a transaction and returns its cursor."""
        ...

    def commit(
        self, connection: Any, cursor: Any, inserts: Sequence[Insert], moved: tuple[int, int] | None
    ) -> None:
        """Adds these rows, moves the stream's position from the one to the other, and commits.

        Raises SecondWriter if the position was another one.
        """
        ...

    def locked_position(self, connection: Any) -> int:
        """The stream's position, once no other transaction is about to move it; opens a transaction."""
        ...

    def is_lost(self, error: BaseException) -> bool:
        """The connection is gone; a new one may do."""
        ...

    def is_conflict(self, error: BaseException) -> bool:
        """Another transaction was in the way; the same work may be tried again."""
        ...

    def is_duplicate(self, error: BaseException) -> bool:
        """A UNIQUE constraint said no."""
        ...


class SQLiteEngine:
    """WAL, synchronous=FULL: a commit is on disk before it is acknowledged."""

    dialect: Dialect = SQLite

    def __init__(self, path: str, *, readers: int = 2) -> None:
        self.path = path
        self.readers = readers

    def connect(self, *, writer: bool) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=30)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA cache_size=-32000")
        if not writer:
            connection.execute("PRAGMA query_only=1")
        return connection

    def begin(self, connection: sqlite3.Connection) -> sqlite3.Cursor:
        cursor = connection.cursor()
        cursor.execute("BEGIN")
        return cursor

    def commit(
        self,
        connection: sqlite3.Connection,
        cursor: sqlite3.Cursor,
        inserts: Sequence[Insert],
        moved: tuple[int, int] | None,
    ) -> None:
        for insert in inserts:
            SQLite.insert(cursor, *insert)
        if moved is not None:
            before, after = moved
            update = "UPDATE stream_position SET position = ? WHERE writer = 0 AND position = ?"
            if cursor.execute(update, (after, before)).rowcount != 1:
                raise SecondWriter
        connection.commit()

    def locked_position(self, connection: sqlite3.Connection) -> int:
        cursor = connection.cursor()
        cursor.execute("BEGIN IMMEDIATE")
        return _first(cursor.execute(_POSITION))

    def is_lost(self, error: BaseException) -> bool:
        return False

    def is_conflict(self, error: BaseException) -> bool:
        return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)

    def is_duplicate(self, error: BaseException) -> bool:
        return isinstance(error, sqlite3.IntegrityError) and "UNIQUE" in str(error)


class _Writing(psycopg2.extensions.connection):
    """A connection that sends BEGIN together with the first statement of a transaction."""

    begun = False

    def begin(self) -> str:
        """What comes before the next statement."""
        if self.begun:
            return ""
        self.begun = True
        return "BEGIN;"

    def commit(self) -> None:
        self._end("COMMIT")

    def rollback(self) -> None:
        self._end("ROLLBACK")

    def _end(self, how: str) -> None:
        if self.begun:
            with self.cursor() as cursor:
                cursor.execute(how)
            self.begun = False


class _WritingCursor(psycopg2.extensions.cursor):
    connection: _Writing

    def execute(self, query: Any, params: Any = None) -> None:
        super().execute(self.connection.begin() + query, params)

    def copy_expert(self, sql: Any, file: Any, size: int = 8192) -> None:
        super().copy_expert(self.connection.begin() + sql, file, size)


class PostgresEngine:
    dialect: Dialect = PostgreSQL

    def __init__(self, args: Mapping[str, Any], *, readers: int = 3) -> None:
        self.args = dict(args)
        self.readers = readers

    def connect(self, *, writer: bool) -> Any:
        if not writer:
            connection = psycopg2.connect(**self.args)
            connection.set_session(readonly=True, autocommit=True)
        else:
            connection = psycopg2.connect(
                **self.args, connection_factory=_Writing, cursor_factory=_WritingCursor
            )
            connection.autocommit = True
        psycopg2.extensions.register_type(_BYTES, connection)
        connection.set_client_encoding("UTF8")
        return connection

    def begin(self, connection: Any) -> Any:
        return connection.cursor()

    def commit(
        self, connection: Any, cursor: Any, inserts: Sequence[Insert], moved: tuple[int, int] | None
    ) -> None:
        if not (connection.begun or inserts or moved):
            return
        copied, statements = PostgreSQL.last_inserts(cursor, inserts)
        if moved is not None:
            before, after = moved
            statements.append(
                # NULL is refused, and what follows is not done.
                f"UPDATE stream_position SET position = CASE WHEN position = {before} THEN {after} END"
                " WHERE writer = 0"
            )
        statements.append("COMMIT")
        try:
            if copied is None:
                cursor.execute(";".join(statements))
            else:
                cursor.copy_expert(";".join(statements), copied, COPIED_AT_ONCE)
        except psycopg2.errors.NotNullViolation as error:
            if error.diag.table_name == "stream_position":
                raise SecondWriter from None
            raise
        connection.begun = False

    def locked_position(self, connection: Any) -> int:
        cursor = connection.cursor()
        cursor.execute(_POSITION + " FOR UPDATE")
        return _first(cursor)

    def is_lost(self, error: BaseException) -> bool:
        # Many refusals are OperationalErrors, too (a full disk, a value too long for its index): those came
        # over a connection that is well. A lost one has no code, or that of a shutdown.
        return isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError) and (
            error.pgcode is None or error.pgcode[:2] == "08" or error.pgcode in _SHUTDOWNS
        )

    def is_conflict(self, error: BaseException) -> bool:
        return isinstance(error, psycopg2.extensions.TransactionRollbackError)

    def is_duplicate(self, error: BaseException) -> bool:
        return isinstance(error, psycopg2.errors.UniqueViolation)


def engine_from_config(name: str, args: Mapping[str, Any]) -> Engine:
    """`name` and `args` as in the `database` section of homeserver.yaml."""
    if name == "sqlite3":
        return SQLiteEngine(str(args["database"]))
    pool = {"cp_min", "cp_max", "cp_reconnect", "cp_noisy", "cp_openfun"}
    return PostgresEngine({key: value for key, value in args.items() if key not in pool})


def _first(cursor: Any) -> int:
    return int(cursor.fetchone()[0])
