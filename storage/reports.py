"""What users reported to the administrators: events, rooms, people."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from storage.transaction import Transaction

Kind = Literal["event", "room", "user"]

_SELECT = (
    "SELECT p.number, p.kind, p.reporter, p.room_id, p.event_id, p.reported_user, p.reason, p.score, p.ts,"
    " e.sender FROM report p LEFT JOIN event e ON e.event_id = p.event_id WHERE "
)


@dataclass(frozen=True, slots=True)
class Report:
    """`sender` is that of the reported event."""

    number: int
    kind: Kind
    reporter: str
    room_id: str | None
    event_id: str | None
    reported_user: str | None
    reason: str | None
    score: int | None
    ts: int
    sender: str | None = None


def add(
    tx: Transaction,
    kind: Kind,
    reporter: str,
    ts: int,
    *,
    room_id: str | None = None,
    event_id: str | None = None,
    reported_user: str | None = None,
    reason: str | None = None,
    score: int | None = None,
) -> int:
    """The report's number."""
    number = tx.announce("report")
    columns = (
        "number", "kind", "reporter", "room_id", "event_id", "reported_user", "reason", "score", "ts",
    )  # fmt: skip
    row = (number, kind, reporter, room_id, event_id, reported_user, reason, score, ts)
    tx.insert("report", columns, [row])
    return number


def page(
    tx: Transaction,
    kind: Kind,
    containing: Mapping[str, str],
    *,
    skip: int,
    limit: int,
    newest_first: bool,
) -> tuple[list[Report], int]:
    """Some reports, and how many there are. `containing`: columns (of p or e) and what their text holds."""
    where = "p.kind = ?"
    params: list[Any] = [kind]
    for column, text in containing.items():
        where += f" AND {column} LIKE ? ESCAPE '~'"
        params.append(f"%{_literal(text)}%")
    order = "DESC" if newest_first else "ASC"
    rows = tx.all(f"{_SELECT}{where} ORDER BY p.number {order} LIMIT ? OFFSET ?", [*params, limit, skip])
    total: int = tx.value(
        f"SELECT count(*) FROM report p LEFT JOIN event e ON e.event_id = p.event_id WHERE {where}", params
    )
    return [_report(row) for row in rows], total


def get(tx: Transaction, kind: Kind, number: int) -> Report | None:
    row = tx.one(f"{_SELECT}p.kind = ? AND p.number = ?", [kind, number])
    return _report(row) if row is not None else None


def delete(tx: Transaction, kind: Kind, number: int) -> bool:
    """Whether there was such a report."""
    return tx.execute("DELETE FROM report WHERE kind = ? AND number = ?", [kind, number]) > 0


def _report(row: tuple[Any, ...]) -> Report:
    return Report(*row)


def _literal(text: str) -> str:
    return text.replace("~", "~~").replace("%", "~%").replace("_", "~_")
