"""What an event does to single users, written with the event: exceptions from its base, and joins.

An ordinary message writes nothing here, however many members the room has.
"""

from collections.abc import Iterable
from typing import NamedTuple

from storage.transaction import Transaction

_COLUMNS = ("user_id", "room_id", "position", "event_id", "thread", "notify", "highlight")
_FROM_COLUMNS = ("user_id", "room_id", "position")
_FROM_UPSERT = "ON CONFLICT (user_id, room_id) DO UPDATE SET position = excluded.position"


class PushAction(NamedTuple):
    """The user's own outcome of one event; `joins`: the event only begins the user's stay in the room."""

    user_id: str
    room_id: str
    event_id: str
    thread: str | None
    notify: int
    highlight: int
    joins: bool = False


def add(tx: Transaction, position: int, actions: Iterable[PushAction]) -> None:
    """The actions of the event at this position, written with all others of this commit."""
    for action in actions:
        user_id, room_id, event_id, thread, notify, highlight, joins = action
        if joins:
            row = (user_id, room_id, position)
            tx.buffer("unread_from", _FROM_COLUMNS, row, _FROM_UPSERT, key=(user_id, room_id))
        else:
            tx.buffer(
                "push_action", _COLUMNS, (user_id, room_id, position, event_id, thread, notify, highlight)
            )
