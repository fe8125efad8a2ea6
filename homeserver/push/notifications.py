"""The list of what a user was notified of.

https://spec.matrix.org/v1.19/client-server-api/#listing-notifications

Nothing is kept for it: it is told from the events' bases, the user's own rows, and their rules as they are
now. A token is the position of the last event shown.
"""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any

from homeserver.errors import InvalidParam
from homeserver.protocol.events import Event
from homeserver.protocol.push_rules import DEFAULT_BASES, Facts, bases
from homeserver.push.rules import PushRules
from homeserver.rooms.head import Head
from homeserver.rooms.registry import Registry
from storage import notifications as store
from storage.events import StoredEvent

MOST = 100
_LATEST = 2**62


@dataclass(frozen=True, slots=True)
class Notified:
    stored: StoredEvent
    actions: list[Any]
    read: bool


class Notifications:
    """`facts(event, head)`: what push rules ask about the room; `ignored(user_id)`: whom the user ignores."""

    def __init__(
        self,
        registry: Registry,
        rules: PushRules,
        facts: Callable[[Event, Head], Facts],
        ignored: Callable[[str], Awaitable[Collection[str]]],
    ) -> None:
        self._registry = registry
        self._db = registry.db
        self._rules = rules
        self._facts = facts
        self._ignored = ignored

    async def page(
        self, user_id: str, start: str | None, limit: int, *, only_highlights: bool
    ) -> tuple[list[Notified], str | None]:
        """The latest first, and the token of the next page if there is one. Raises InvalidParam."""
        before = _position(start)
        ruleset = self._rules.of(user_id)
        rooms = await self._db.read(store.rooms, user_id, not ruleset.is_default)
        wanted = {}
        for room in rooms:
            table = DEFAULT_BASES
            if not ruleset.is_default:
                table = bases(ruleset, room.room_id, room.members)
            wanted[room.nid] = [
                base
                for base, (notify, highlight) in enumerate(table)
                if base and (highlight if only_highlights else notify)
            ]
        silent = [user_id, *await self._ignored(user_id)]
        most = min(limit, MOST)
        upto = self._db.position
        found = await self._db.read(
            lambda tx: store.page(
                tx,
                user_id,
                rooms,
                wanted,
                silent,
                before=before,
                limit=most + 1,
                only_highlights=only_highlights,
                upto=upto,
            )
        )
        notified = [await self._notified(user_id, each) for each in found[:most]]
        end = str(notified[-1].stored.position) if len(found) > most else None
        return notified, end

    async def _notified(self, user_id: str, found: store.Notification) -> Notified:
        stored = found.stored
        ruleset = self._rules.of(user_id)
        room = await self._registry.get(stored.event.room_id)
        outcome = found.outcome
        if outcome is None:
            outcome = bases(ruleset, room.room_id, room.head.joined)[stored.notify]
        rule = ruleset.evaluate(stored.event, self._facts(stored.event, room.head), user_id)
        if rule is not None and rule.outcome == outcome:
            return Notified(stored, list(rule.actions), found.read)
        # The room or the rules were others then.
        highlight: list[Any] = [{"set_tweak": "highlight"}] if outcome[1] else []
        return Notified(stored, ["notify", *highlight], found.read)


def _position(token: str | None) -> int:
    if token is None:
        return _LATEST
    if not token.isascii() or not token.isdigit() or len(token) > 18:
        raise InvalidParam("The token is not one of this server's.")
    return int(token)
