"""What another server may see of a room's history, judged inside a database transaction.

https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility

It is the rule for people (`homeserver.rooms.sight`) with "one of the server's users" for the reader. What a
server may not see it gets in redacted form, so that it can still follow the room's graph. Rooms that never
had another visibility than `shared` or `world_readable`, which are most, are decided at once.
"""

from collections.abc import Collection, Iterable

from homeserver.protocol import visibility
from homeserver.protocol.ids import server_of
from homeserver.protocol.redaction import redact_event
from homeserver.protocol.visibility import SHARED, VISIBILITY_KEY
from storage import state_at
from storage.events import StoredEvent, select
from storage.state_at import MEMBER, StateKey
from storage.transaction import Transaction

_OPEN: tuple[str, frozenset[str | None]] = (SHARED, frozenset())


class ServerSight:
    """The server takes part in the room now; that is checked before."""

    def __init__(self, tx: Transaction, room: int, server_name: str) -> None:
        self._tx = tx
        self._room = room
        self._server_name = server_name
        self._settings = {
            stored.nid: visibility.history_visibility(stored.event.content)
            for stored in select(
                tx,
                "WHERE e.room = ? AND e.type = 'm.room.history_visibility' AND e.state_key = ''",
                [room],
            )
        }
        self._everything = visibility.sees_all_while_joined(self._settings.values())

    def visible(self, events: Iterable[StoredEvent]) -> list[StoredEvent]:
        events = list(events)
        hidden = self._hidden(events)
        return [stored for stored in events if stored.nid not in hidden]

    def served(self, events: Iterable[StoredEvent]) -> list[bytes]:
        """The JSON of each event as this server gets it."""
        events = list(events)
        hidden = self._hidden(events)
        return [
            redact_event(stored.event).json if stored.nid in hidden else stored.event.json
            for stored in events
        ]

    def _hidden(self, events: Collection[StoredEvent]) -> set[int]:
        if self._everything:
            return set()
        before = self._before({each.state_before for each in events if each.state_before is not None})
        return {stored.nid for stored in events if not self._sees(stored, before)}

    def _sees(
        self, stored: StoredEvent, before: dict[int, tuple[str, frozenset[str | None]]]
    ) -> bool:
        event = stored.event
        if server_of(event.sender) == self._server_name:
            return True
        if stored.state_before is None and event.is_state:
            # The create event; or an outlier, which nobody can judge, and which the rules need.
            return True
        setting, memberships = before.get(stored.state_before or 0, _OPEN)
        if event.type == MEMBER and event.state_key and server_of(event.state_key) == self._server_name:
            memberships = memberships | {event.membership}
        return visibility.server_may_see_event(event, setting, memberships)

    def _before(self, snapshots: Collection[int]) -> dict[int, tuple[str, frozenset[str | None]]]:
        """(history visibility, memberships of the server's users) in each of these states."""
        users = self._users_events()
        candidates: dict[int, StateKey] = {nid: (MEMBER, user) for nid, (user, _) in users.items()}
        candidates.update(dict.fromkeys(self._settings, VISIBILITY_KEY))
        result = {}
        for snapshot, state in state_at.at(self._tx, snapshots, candidates).items():
            setting = self._settings[state[VISIBILITY_KEY]] if VISIBILITY_KEY in state else SHARED
            memberships = frozenset(users[nid][1] for key, nid in state.items() if key != VISIBILITY_KEY)
            result[snapshot] = (setting, memberships)
        return result

    def _users_events(self) -> dict[int, tuple[str, str | None]]:
        """Every membership event of the server's users in the room: (user, membership) by number."""
        rows = self._tx.all(
            "SELECT nid, state_key, membership FROM event"
            " WHERE room = ? AND type = 'm.room.member' AND state_key LIKE ?",
            [self._room, f"%:{self._server_name}"],
        )
        return {
            nid: (user, membership)
            for nid, user, membership in rows
            if server_of(user) == self._server_name
        }
