"""The user directory: people by the words of their names, as far as somebody may see them.

https://spec.matrix.org/v1.19/client-server-api/#user-directory

Nothing is stored of who may see whom: it follows from who is in which room, and from which rooms are open.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import orjson

from storage import state_at
from storage.transaction import Transaction

FOLLOWER = "user_directory"
JOIN_RULES, HISTORY_VISIBILITY = "m.room.join_rules", "m.room.history_visibility"
_OPEN = (("join_rule", "public"), ("history_visibility", "world_readable"))


class Person(NamedTuple):
    user_id: str
    display_name: str | None
    avatar_url: str | None


class Changes(NamedTuple):
    """`members`: (user, room, membership) of memberships that changed; `rooms` whose openness may have."""

    members: list[tuple[str, str, str]]
    rooms: set[str]


def progress(tx: Transaction) -> int:
    return tx.value("SELECT position FROM follower WHERE name = ?", [FOLLOWER]) or 0


def save_progress(tx: Transaction, position: int) -> None:
    upsert = "ON CONFLICT (name) DO UPDATE SET position = excluded.position"
    tx.insert("follower", ("name", "position"), [(FOLLOWER, position)], upsert)


def changes(tx: Transaction, above: int, upto: int) -> Changes:
    members = tx.all(
        "SELECT user_id, room_id, membership FROM membership WHERE position > ? AND position <= ?",
        [above, upto],
    )
    rooms = tx.all(
        "SELECT DISTINCT r.room_id FROM event e JOIN room r ON r.nid = e.room"
        f" WHERE e.position > ? AND e.position <= ? AND e.type IN ('{JOIN_RULES}', '{HISTORY_VISIBILITY}')",
        [above, upto],
    )
    return Changes([(user, room, membership) for user, room, membership in members], {r for (r,) in rooms})


def local_users(tx: Transaction, after: str, limit: int) -> list[str]:
    rows = tx.all(
        "SELECT user_id FROM account WHERE user_id > ? AND deactivated = 0 ORDER BY user_id LIMIT ?",
        [after, limit],
    )
    return [user_id for (user_id,) in rows]


def judge_rooms(tx: Transaction, room_ids: Iterable[str]) -> None:
    """Notes whether everybody may join or read these rooms."""
    for room_id in room_ids:
        row = tx.one("SELECT nid, snapshot FROM room WHERE room_id = ?", [room_id])
        if row is not None and row[1] is not None and _is_open(tx, row[0], row[1]):
            tx.insert("open_room", ("room_id",), [(room_id,)], "ON CONFLICT (room_id) DO NOTHING")
        else:
            tx.execute("DELETE FROM open_room WHERE room_id = ?", [room_id])


def _is_open(tx: Transaction, room: int, snapshot: int) -> bool:
    found = state_at.entries(tx, room, snapshot, [(JOIN_RULES, ""), (HISTORY_VISIBILITY, "")])
    contents = _contents(tx, [entry.event_id for entry in found.values()])
    return any(content.get(key) == value for content in contents for key, value in _OPEN)


def _contents(tx: Transaction, event_ids: Collection[str]) -> list[dict[str, Any]]:
    rows = tx.all(f"SELECT json FROM event WHERE {tx.any('event_id')}", [tx.array(event_ids)])
    contents = [orjson.loads(json).get("content") for (json,) in rows]
    return [content for content in contents if isinstance(content, dict)]


def local_person(tx: Transaction, user_id: str) -> Person | None:
    """As the profile says; None for nobody, or nobody any more."""
    row = tx.one(
        "SELECT p.fields FROM account a LEFT JOIN profile p ON p.user_id = a.user_id"
        " WHERE a.user_id = ? AND a.deactivated = 0",
        [user_id],
    )
    if row is None:
        return None
    return _person(user_id, orjson.loads(row[0]) if row[0] is not None else {})


def remote_person(tx: Transaction, user_id: str) -> Person | None:
    """As the last of their member events says, one in an open room if there is any: there is no other
    word on them here. None for those who are in no room any more."""
    event_id = tx.value(
        "SELECT m.event_id FROM membership m LEFT JOIN open_room o ON o.room_id = m.room_id"
        " WHERE m.user_id = ? AND m.membership = 'join'"
        " ORDER BY CASE WHEN o.room_id IS NULL THEN 1 ELSE 0 END, m.position DESC LIMIT 1",
        [user_id],
    )
    if event_id is None:
        return None
    content = _contents(tx, [event_id])
    return _person(user_id, content[0] if content else {})


def _person(user_id: str, fields: dict[str, Any]) -> Person:
    name, avatar = fields.get("displayname"), fields.get("avatar_url")
    return Person(
        user_id,
        name if isinstance(name, str) and name.strip() else None,
        avatar if isinstance(avatar, str) and avatar.startswith("mxc://") else None,
    )


def put(tx: Transaction, person: Person, words: Collection[str]) -> None:
    remove(tx, person.user_id)
    tx.insert("directory_user", ("user_id", "display_name", "avatar_url"), [person])
    rows = [(word.encode(), person.user_id) for word in words]
    tx.insert("directory_word", ("word", "user_id"), rows)


def remove(tx: Transaction, user_id: str) -> None:
    tx.execute("DELETE FROM directory_user WHERE user_id = ?", [user_id])
    tx.execute("DELETE FROM directory_word WHERE user_id = ?", [user_id])


def known(tx: Transaction, user_id: str) -> Person | None:
    row = tx.one("SELECT user_id, display_name, avatar_url FROM directory_user WHERE user_id = ?", [user_id])
    return Person(*row) if row is not None else None


_IN_OPEN_ROOM = (
    "EXISTS (SELECT 1 FROM membership m JOIN open_room o ON o.room_id = m.room_id"
    " WHERE m.user_id = u.user_id AND m.membership = 'join')"
)
_IN_SHARED_ROOM = (
    "EXISTS (SELECT 1 FROM membership m JOIN membership mine ON mine.room_id = m.room_id"
    " WHERE m.user_id = u.user_id AND m.membership = 'join'"
    " AND mine.user_id = ? AND mine.membership = 'join')"
)
_HAS_WORD = (
    "EXISTS (SELECT 1 FROM directory_word w WHERE w.user_id = u.user_id AND w.word >= ? AND w.word < ?)"
)


def find(tx: Transaction, reader: str, prefixes: Sequence[str], all_local: bool, limit: int) -> list[Person]:
    """People with words that begin like all of these, whom the reader may see.

    `all_local`: our own users are seen by everybody.
    """
    first, *others = sorted(prefixes, key=len, reverse=True)
    ranges = [(prefix.encode(), prefix.encode() + b"\xff") for prefix in (first, *others)]
    seen = f"({'a.user_id IS NOT NULL OR ' if all_local else ''}{_IN_OPEN_ROOM} OR {_IN_SHARED_ROOM})"
    rows = tx.all(
        "SELECT u.user_id, u.display_name, u.avatar_url FROM directory_user u"
        " LEFT JOIN account a ON a.user_id = u.user_id"
        " WHERE u.user_id IN (SELECT user_id FROM directory_word WHERE word >= ? AND word < ?)"
        f"{''.join([' AND ' + _HAS_WORD] * len(others))}"
        " AND u.user_id <> ? AND (a.user_id IS NULL OR (a.deactivated = 0 AND a.suspended = 0))"
        f" AND {seen} LIMIT ?",
        [*(bound for pair in ranges for bound in pair), reader, reader, limit],
    )
    return [Person(*row) for row in rows]
