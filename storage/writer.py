"""Group commit: one thread that writes for the whole process.

It takes every job that waits, runs them in one transaction and commits once; only then do the callers
hear of it. Positions of the stream are given out inside the transaction, in order and without gaps.
When one job fails the transaction is rolled back and each job is tried by itself, so a bad job harms
nobody else; jobs must therefore change nothing but the transaction.

Jobs that do the same to many things may be run `together`: the function is called once for all of them in
the commit, in the place of the first. Nobody can tell, as none was acknowledged before another was asked.

A connection that is lost during COMMIT leaves the outcome open. The stored position tells: it moves with
every announced change, so after reconnecting it says whether the commit took place.
"""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from twisted.logger import Logger

from storage.engines import Engine
from storage.transaction import Change, Transaction

MOST_JOBS_A_COMMIT = 500
RECONNECT_SECONDS = (0.05, 0.2, 1.0, 2.0, 5.0)
MOST_RETRIES = 5
log = Logger()


class Abandoned(Exception):
    """Not run, because the job it was built on failed."""


class Job:
    """Work for the writer, and how it ended. With a `previous` job, it runs only if that one succeeded.

    `together`: `fn` takes a list of what such jobs have as their only argument; it returns a result for each.
    """

    __slots__ = ("args", "done", "error", "fn", "previous", "result", "together")

    def __init__(
        self,
        fn: Callable[..., Any],
        args: Sequence[Any],
        done: Callable[["Job"], None],
        previous: "Job | None" = None,
        *,
        together: bool = False,
    ) -> None:
        self.fn = fn
        self.args = args
        self.done = done
        self.previous = previous
        self.together = together
        self.result: Any = None
        self.error: BaseException | None = None


class Writer(threading.Thread):
    """`deliver(changes, jobs, position)` is called on this thread after each commit."""

    def __init__(
        self, engine: Engine, deliver: Callable[[Sequence[Change], Sequence[Job], int], None]
    ) -> None:
        super().__init__(name="hearth-writer", daemon=True)
        self._engine = engine
        self._deliver = deliver
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._connection = engine.connect(writer=True)
        self.position = self._stored_position()

    def submit(self, job: Job) -> None:
        self._jobs.put(job)

    def stop(self) -> None:
        """Finishes what waits, then ends; does not wait for a database that is away."""
        self._stopping.set()
        self._jobs.put(None)
        self.join()

    def run(self) -> None:
        while True:
            batch: list[Job] = []
            job = self._jobs.get()
            while job is not None:
                batch.append(job)
                if len(batch) >= MOST_JOBS_A_COMMIT:
                    break
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
            if batch:
                self._commit_all(batch)
            if job is None:
                self._connection.close()
                return

    def _commit_all(self, batch: list[Job]) -> None:
        runnable = []
        for job in batch:
            if job.previous is not None and job.previous.error is not None:
                job.error = Abandoned()
            else:
                runnable.append(job)
        abandoned = [job for job in batch if job.error is not None]
        if abandoned:
            self._deliver([], abandoned, self.position)
            if runnable:
                self._commit_all(runnable)
            return
        try:
            changes = self._commit(batch)
        except Exception as error:
            if len(batch) > 1:
                for job in batch:
                    self._commit_all([job])
                return
            batch[0].error = error
            changes = []
        for job in batch:
            job.previous = None
        self._deliver(changes, batch, self.position)

    def _commit(self, batch: list[Job]) -> list[Change]:
        """One transaction. Tried again while the connection or other transactions are to blame."""
        attempt = 0
        while True:
            tx: Transaction | None = None
            try:
                cursor = self._engine.begin(self._connection)
                tx = Transaction(cursor, self._engine.dialect, self.position)
                _run(tx, batch)
                assert tx.position is not None
                moved = (self.position, tx.position) if tx.position != self.position else None
                self._engine.commit(self._connection, cursor, tx.take_buffered(), moved)
                break
            except Exception as error:
                lost = self._engine.is_lost(error)
                if lost:
                    stored = self._reconnect(error, attempt)
                    if stored != self.position and tx is not None and stored == tx.position:
                        break  # the COMMIT had taken place
                else:
                    self._roll_back()
                if attempt == MOST_RETRIES or not (lost or self._engine.is_conflict(error)):
                    raise
                if not lost:
                    time.sleep(0.01 * attempt)
                attempt += 1
        assert tx.position is not None
        self.position = tx.position
        return tx.changes

    def _roll_back(self) -> None:
        try:
            self._connection.rollback()
        except Exception as error:
            if not self._engine.is_lost(error):
                raise
            self._reconnect(error, 0)

    def _reconnect(self, error: Exception, attempt: int) -> int:
        """Opens a new connection, however long it takes, and returns the stored position.

        Gives up, with the error, only when the writer is to stop.
        """
        log.warn("the database is away: {error}", error=str(error).strip())
        while True:
            self._stopping.wait(RECONNECT_SECONDS[min(attempt, len(RECONNECT_SECONDS) - 1)])
            attempt += 1
            try:
                self._connection = self._engine.connect(writer=True)
                position = self._stored_position()
            except Exception as failure:
                if self._stopping.is_set() or not self._engine.is_lost(failure):
                    raise
            else:
                log.info("the database is back")
                return position

    def _stored_position(self) -> int:
        """Waits for a commit that a lost connection, or a killed process before us, may have under way."""
        position = self._engine.locked_position(self._connection)
        self._connection.rollback()
        return position


def _run(tx: Transaction, batch: Sequence[Job]) -> None:
    together: dict[Callable[..., Any], list[Job]] = {}
    for job in batch:
        if job.together:
            together.setdefault(job.fn, []).append(job)
    for job in batch:
        if not job.together:
            job.result = job.fn(tx, *job.args)
        elif jobs := together.pop(job.fn, None):
            results = job.fn(tx, [each.args[0] for each in jobs])
            for each, result in zip(jobs, results, strict=True):
                each.result = result
