"""Group commit: one thread that writes for the whole process.

It takes every job that waits, runs them in one transaction and commits once; only then do the callers
hear of it. Positions of the stream are given out inside the transaction, in order and without gaps.
When one job fails the transaction is rolled back and each job is tried by itself, so a bad job harms
nobody else; jobs must therefore change nothing but the transaction.

A connection that is lost during COMMIT leaves the outcome open. The stored position tells: it moves with
every announced change, so after reconnecting it says whether the commit took place.
"""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from storage.engines import Engine
from storage.transaction import Change, Transaction

MOST_JOBS_A_COMMIT = 500
RECONNECT_SECONDS = (0.05, 0.2, 1.0, 2.0, 5.0)


class Abandoned(Exception):
    """Not run, because the job it was built on failed."""


class Job:
    """Work for the writer, and how it ended. With a `previous` job, it runs only if that one succeeded."""

    __slots__ = ("args", "done", "error", "fn", "previous", "result")

    def __init__(
        self,
        fn: Callable[..., Any],
        args: Sequence[Any],
        done: Callable[["Job"], None],
        previous: "Job | None" = None,
    ) -> None:
        self.fn = fn
        self.args = args
        self.done = done
        self.previous = previous
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
        self._connection = engine.connect(writer=True)
        self.position = self._stored_position()

    def submit(self, job: Job) -> None:
        self._jobs.put(job)

    def stop(self) -> None:
        """Finishes what waits, then ends."""
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
        for attempt in range(len(RECONNECT_SECONDS) + 1):
            tx: Transaction | None = None
            try:
                cursor = self._engine.begin(self._connection)
                tx = Transaction(cursor, self._engine.dialect, self.position)
                for job in batch:
                    job.result = job.fn(tx, *job.args)
                tx.flush()
                if tx.position != self.position:
                    tx.execute("UPDATE stream_position SET position = ? WHERE writer = 0", [tx.position])
                self._connection.commit()
            except Exception as error:
                retry = self._engine.is_lost(error) or self._engine.is_conflict(error)
                if not retry or attempt == len(RECONNECT_SECONDS):
                    self._roll_back()
                    raise
                if self._engine.is_lost(error):
                    self._reconnect(attempt)
                    moved = tx is not None and tx.position != self.position
                    if moved and tx is not None and tx.position == self._stored_position():
                        break  # the COMMIT had taken place
                else:
                    self._roll_back()
                    time.sleep(0.01 * attempt)
            else:
                break
        assert tx is not None and tx.position is not None
        self.position = tx.position
        return tx.changes

    def _roll_back(self) -> None:
        try:
            self._connection.rollback()
        except Exception as error:
            if not self._engine.is_lost(error):
                raise
            self._reconnect(0)

    def _reconnect(self, attempt: int) -> None:
        while True:
            time.sleep(RECONNECT_SECONDS[min(attempt, len(RECONNECT_SECONDS) - 1)])
            try:
                self._connection = self._engine.connect(writer=True)
                return
            except Exception as error:
                if not self._engine.is_lost(error):
                    raise
                attempt += 1

    def _stored_position(self) -> int:
        cursor = self._engine.begin(self._connection)
        cursor.execute("SELECT position FROM stream_position WHERE writer = 0")
        position = int(cursor.fetchone()[0])
        self._connection.rollback()
        return position
