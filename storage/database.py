"""The database as services see it: `await db.read(fn, …)`, `await db.write(fn, …)`, `db.follow(…)`.

Store functions take an open transaction and run on database threads, never on the reactor. All writes of
the process join one group commit (see `storage.writer`); the awaiting caller goes on after the COMMIT,
when all followers have heard of it.
"""

import itertools
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from storage.engines import Engine
from storage.transaction import Change, Transaction
from storage.writer import Job, Writer

__all__ = ["Change", "Database", "Transaction"]

T = TypeVar("T")
U = TypeVar("U")
P = ParamSpec("P")
Follower = Callable[[Sequence[Change]], None]
log = Logger()


class Reactor(Protocol):
    def callFromThread(self, call: Callable[..., Any], *args: Any) -> Any: ...


def _waiting() -> "tuple[Deferred[Any], Callable[[Job], None]]":
    """A Deferred and the function that fires it with a job's outcome."""
    deferred: Deferred[Any] = Deferred()

    def done(job: Job) -> None:
        if deferred.called:
            return  # cancelled meanwhile
        if job.error is None:
            deferred.callback(job.result)
        else:
            deferred.errback(job.error)

    return deferred, done


class Identifiers:
    """Numbers for new rows, given out in memory: one process writes, and gaps do no harm."""

    def __init__(self, event: int, room: int, snapshot: int, old_position: int) -> None:
        self._event = itertools.count(event + 1)
        self._room = itertools.count(room + 1)
        self._snapshot = itertools.count(snapshot + 1)
        self._old_position = itertools.count(min(0, old_position) - 1, -1)

    def event(self) -> int:
        return next(self._event)

    def room(self) -> int:
        return next(self._room)

    def snapshot(self) -> int:
        return next(self._snapshot)

    def old_position(self) -> int:
        """The place of an event of the past in the order of arrival: negative, lower each time."""
        return next(self._old_position)


class Database:
    def __init__(self, engine: Engine, reactor: Reactor) -> None:
        self._reactor = reactor
        self._engine = engine
        self._followers: list[Follower] = []
        self._reads: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._writer = Writer(engine, self._committed)
        self.position = self._writer.position
        self.ids = self._load_identifiers()
        self._readers = [
            threading.Thread(target=self._read_loop, name=f"hearth-reader-{n}", daemon=True)
            for n in range(engine.readers)
        ]

    def start(self) -> None:
        self._writer.start()
        for reader in self._readers:
            reader.start()

    def stop(self) -> None:
        """Blocks until what was submitted is committed."""
        self._writer.stop()
        for _ in self._readers:
            self._reads.put(None)
        for reader in self._readers:
            reader.join()

    def follow(self, follower: Follower) -> None:
        """Calls it on the reactor after each commit, in the order of commits and of registration."""
        self._followers.append(follower)

    def read(
        self, fn: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> "Deferred[T]":
        """Runs fn(tx, *args) on a reader. What was committed before is seen."""
        return self._submit(self._reads.put, fn, args)

    def write(
        self, fn: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> "Deferred[T]":
        """Runs fn(tx, *args) in the next group commit; fires after the COMMIT."""
        return self._submit(self._writer.submit, fn, args)

    def write_together(self, fn: Callable[[Transaction, Sequence[U]], Sequence[T]], item: U) -> "Deferred[T]":
        """Like `write`, but runs fn(tx, items) once for the items of all callers that wait for a commit."""
        deferred, done = _waiting()
        self._writer.submit(Job(fn, (item,), done, together=True))
        return deferred

    def write_after(
        self, previous: Job | None, fn: Callable[..., T], *args: Any
    ) -> tuple[Job, "Deferred[T]"]:
        """Like `write`, but fails if `previous` failed: for work that was built on it."""
        deferred, done = _waiting()
        job = Job(fn, args, done, previous)
        self._writer.submit(job)
        return job, deferred

    def is_duplicate(self, error: BaseException) -> bool:
        return self._engine.is_duplicate(error)

    def _submit(self, put: Callable[[Job], None], fn: Callable[..., T], args: Sequence[Any]) -> "Deferred[T]":
        deferred, done = _waiting()
        put(Job(fn, args, done))
        return deferred

    def _committed(self, changes: Sequence[Change], jobs: Sequence[Job], position: int) -> None:
        self._reactor.callFromThread(self._publish, changes, jobs, position)

    def _publish(self, changes: Sequence[Change], jobs: Sequence[Job], position: int) -> None:
        self.position = position
        if changes:
            for follower in self._followers:
                try:
                    follower(changes)
                except Exception:
                    log.failure("a follower of the stream failed; the others go on")
        for job in jobs:
            job.done(job)

    def _read_loop(self) -> None:
        connection: Any = None
        while (job := self._reads.get()) is not None:
            for _attempt in range(3):
                job.error = None
                try:
                    if connection is None:
                        connection = self._engine.connect(writer=False)
                    cursor = self._engine.begin(connection)
                    job.result = job.fn(Transaction(cursor, self._engine.dialect), *job.args)
                    connection.rollback()
                    break
                except Exception as error:
                    job.error = error
                    connection = self._usable(connection, error)
                    if connection is not None and not self._engine.is_conflict(error):
                        break
            self._reactor.callFromThread(job.done, job)
        if connection is not None:
            connection.close()

    def _usable(self, connection: Any, error: Exception) -> Any:
        """The connection after a failure, rolled back; None if there is to be a new one."""
        if connection is None or self._engine.is_lost(error):
            return None
        try:
            connection.rollback()
        except Exception:
            return None
        return connection

    def _load_identifiers(self) -> Identifiers:
        connection = self._engine.connect(writer=False)
        try:
            tx = Transaction(self._engine.begin(connection), self._engine.dialect)
            tables = ("event", "room", "snapshot")
            highest = [tx.value(f"SELECT coalesce(max(nid), 0) FROM {name}") for name in tables]
            lowest = tx.value("SELECT coalesce(min(position), 0) FROM event")
            return Identifiers(highest[0], highest[1], highest[2], lowest)
        finally:
            connection.close()
