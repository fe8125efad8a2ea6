"""The index of texts, and how far it has come. What is alike on both engines is the rows that come out.

https://spec.matrix.org/v1.19/client-server-api/#server-side-search

SQLite has FTS5, PostgreSQL `tsvector` and GIN; here both only find words, which Python has cut (see
`homeserver.search.words`). The subtle idea is that the room, too, is a word of the index: a search in three
rooms of a server with ten thousand never touches what was said in the others. And a search reads the newest
matches only, a window of them, so it costs much the same however common the word is.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from storage.transaction import Transaction

MESSAGE, NAME, TOPIC = "m.room.message", "m.room.name", "m.room.topic"
REDACTION = "m.room.redaction"
TYPES = (MESSAGE, NAME, TOPIC)
LIVE, PAST = "search", "search:past"
_KINDS = {MESSAGE: "kb", NAME: "kn", TOPIC: "kt"}
_MOST_ROOMS_IN_INDEX = 200
_LAST_PLACE = 16_383  # of a word in a tsvector


class Text(NamedTuple):
    """What is to be found at a position. `words`: in order, with a blank between."""

    position: int
    room: int
    type: str
    words: str


class Source(NamedTuple):
    """An event that may have a text, or take one away."""

    position: int
    room: int
    type: str
    redacted: int
    json: bytes


class Match(NamedTuple):
    """A text that was found, and where it stands."""

    position: int
    nid: int
    room: int
    sender: str
    type: str
    ts: int
    snapshot: int
    event_id: str
    words: str
    original: str | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """`terms`: (words that follow one another, whether the last one may be longer); all must be there.

    `rooms` by number; of those in `bounds`, only what arrived by then. `types` is empty for all.
    """

    terms: Sequence[tuple[Sequence[str], bool]]
    rooms: Collection[int]
    bounds: Mapping[int, int] = field(default_factory=dict)
    types: Collection[str] = ()
    senders: Collection[str] | None = None


# Keeping the index


def progress(tx: Transaction) -> tuple[int, int]:
    """(highest position that was looked at, lowest)."""
    rows = dict(tx.all("SELECT name, position FROM follower WHERE name IN (?, ?)", [LIVE, PAST]))
    return rows.get(LIVE, 0), rows.get(PAST, 0)


def save_progress(tx: Transaction, name: str, position: int) -> None:
    upsert = "ON CONFLICT (name) DO UPDATE SET position = excluded.position"
    tx.insert("follower", ("name", "position"), [(name, position)], upsert)


def sources(tx: Transaction, above: int, upto: int, limit: int) -> list[Source]:
    """The first events with above < position <= upto that matter to the index."""
    return _sources(tx, "position > ? AND position <= ?", [above, upto], "ASC", limit)


def past_sources(tx: Transaction, below: int, limit: int) -> list[Source]:
    """The last events from before this server took part in their rooms, with position < below."""
    return _sources(tx, "position < ? AND position < 0", [below], "DESC", limit)


def _sources(tx: Transaction, where: str, params: list[Any], order: str, limit: int) -> list[Source]:
    types = ", ".join(f"'{type}'" for type in (*TYPES, REDACTION))
    rows = tx.all(
        "SELECT position, room, type, redacted_by IS NOT NULL, json FROM event"
        f" WHERE {where} AND status = 0 AND type IN ({types}) ORDER BY position {order} LIMIT ?",
        [*params, limit],
    )
    return [Source(*row) for row in rows]


def lowest_position(tx: Transaction) -> int:
    return tx.value("SELECT min(position) FROM event") or 0


def put(tx: Transaction, texts: Sequence[Text]) -> None:
    """Adds texts, in place of what stood at their positions."""
    remove(tx, [text.position for text in texts])
    if tx.engine == "sqlite":
        scoped = [(text.position, f"r{text.room} {_KINDS[text.type]}", text.words) for text in texts]
        tx.insert("search_text", ("rowid", "scope", "words"), scoped)
    elif texts:
        # Not by `insert`: a vector is written as text, but is none.
        tx.execute(
            f"INSERT INTO search_text (position, words, vector) VALUES {tx.values(3, len(texts))}",
            [value for text in texts for value in (text.position, text.words, _vector(text))],
        )


def remove(tx: Transaction, positions: Collection[int]) -> None:
    if positions:
        column = "rowid" if tx.engine == "sqlite" else "position"
        tx.execute(f"DELETE FROM search_text WHERE {tx.any(column)}", [tx.array(positions)])


def remove_redacted(tx: Transaction, event_ids: Collection[str]) -> None:
    """Of these events, those that are redacted lose their texts."""
    rows = tx.all(
        f"SELECT position FROM event WHERE {tx.any('event_id')} AND redacted_by IS NOT NULL"
        " AND position IS NOT NULL",
        [tx.array(event_ids)],
    )
    remove(tx, [position for (position,) in rows])


def _vector(text: Text) -> str:
    """A tsvector as PostgreSQL reads it. What begins with a slash is no word of a text."""
    places: dict[str, list[str]] = {}
    for place, word in enumerate(text.words.split(" "), 1):
        places.setdefault(word, []).append(str(min(place, _LAST_PLACE)))
    lexemes = [f"'{word}':{','.join(found[:255])}" for word, found in places.items()]
    return " ".join([f"'/r{text.room}' '/{_KINDS[text.type]}'", *lexemes])


# Searching


def window(tx: Transaction, wanted: Wanted, upto: int, limit: int) -> list[Match]:
    """The newest matches with position <= upto, newest first."""
    scoped = wanted.rooms if len(wanted.rooms) <= _MOST_ROOMS_IN_INDEX else ()
    kinds = [_KINDS[type] for type in wanted.types]
    conditions, params = ["e.status = 0", "e.redacted_by IS NULL"], list[Any]()
    if not scoped:
        conditions.append(tx.any("e.room"))
        params.append(tx.array(wanted.rooms))
    if wanted.senders is not None:
        conditions.append(tx.any("e.sender"))
        params.append(tx.array(wanted.senders))
    bounds, bound_values = "", list[Any]()
    if wanted.bounds:
        pairs = ", ".join(["(?, ?)"] * len(wanted.bounds))
        bound_values = [value for pair in wanted.bounds.items() for value in pair]
        bounds = f"bound(room, upto) AS (VALUES {pairs})"
        conditions.append(
            "NOT EXISTS (SELECT 1 FROM bound b WHERE b.room = e.room AND e.position > b.upto)"
        )
    columns = (
        "e.position, e.nid, e.room, e.sender, e.type, e.ts, coalesce(e.state_before, 0), e.event_id, t.words,"
        " (SELECT r.parent FROM relation r WHERE r.child = e.nid AND r.rel_type = 'm.replace')"
    )
    where = " AND ".join(conditions)
    if tx.engine == "sqlite":
        sql = (
            f"{'WITH ' + bounds if bounds else ''} SELECT {columns} FROM search_text t"
            " CROSS JOIN event e ON e.position = t.rowid"
            f" WHERE t.search_text MATCH ? AND t.rowid <= ? AND {where} ORDER BY t.rowid DESC LIMIT ?"
        )
        query = _fts5_query(wanted.terms, scoped, kinds)
        values = [*bound_values, query, upto, *params, limit]
    else:
        # The index first, whatever the planner thinks of how rare the words are together; then the newest
        # one after the other, until there are enough.
        sql = (
            f"WITH found AS MATERIALIZED (SELECT position FROM search_text WHERE vector @@ ?::tsquery)"
            f"{', ' + bounds if bounds else ''} SELECT {columns}"
            " FROM (SELECT position FROM found WHERE position <= ? ORDER BY position DESC) f"
            " CROSS JOIN LATERAL (SELECT * FROM event WHERE event.position = f.position OFFSET 0) e"
            " CROSS JOIN LATERAL (SELECT words FROM search_text s WHERE s.position = f.position OFFSET 0) t"
            f" WHERE {where} ORDER BY f.position DESC LIMIT ?"
        )
        query = _ts_query(wanted.terms, scoped, kinds)
        values = [query, *bound_values, upto, *params, limit]
    return [Match(*row) for row in tx.all(sql, values)]


def _fts5_query(
    terms: Sequence[tuple[Sequence[str], bool]], rooms: Collection[int], kinds: Collection[str]
) -> str:
    parts = [f'words : "{" ".join(words)}"{" *" if prefix else ""}' for words, prefix in terms]
    if rooms:
        parts.append(f"scope : ({' OR '.join(f'r{room}' for room in rooms)})")
    if kinds:
        parts.append(f"scope : ({' OR '.join(kinds)})")
    return " AND ".join(parts)


def _ts_query(
    terms: Sequence[tuple[Sequence[str], bool]], rooms: Collection[int], kinds: Collection[str]
) -> str:
    parts = []
    for words, prefix in terms:
        lexemes = [f"'{word}'" for word in words]
        lexemes[-1] += ":*" if prefix else ""
        parts.append(f"({' <-> '.join(lexemes)})")
    if rooms:
        parts.append("(" + " | ".join(f"'/r{room}'" for room in rooms) + ")")
    if kinds:
        parts.append("(" + " | ".join(f"'/{kind}'" for kind in kinds) + ")")
    return " & ".join(parts)


def rooms_by_id(tx: Transaction, room_ids: Collection[str]) -> dict[str, int]:
    return dict(tx.all(f"SELECT room_id, nid FROM room WHERE {tx.any('room_id')}", [tx.array(room_ids)]))
