"""Which users' own rules an event could set off, found without asking each of them.

Every user with rules of their own stands here under their triggers (`protocol.push_rules.triggers`), for
the whole server; an event's triggers are looked up, and what is found is cut down to the room's members.
"""

from collections.abc import Set

from homeserver.protocol.push_rules import PushEvent, Ruleset, Trigger, triggered_by, triggers

_WORD = "word"


class TriggerIndex:
    def __init__(self) -> None:
        self._users: dict[Trigger, set[str]] = {}
        self._triggers: dict[str, frozenset[Trigger]] = {}
        self._words = 0

    def put(self, user_id: str, ruleset: Ruleset) -> None:
        new = triggers(ruleset)
        old = self._triggers.pop(user_id, frozenset())
        for trigger in old - new:
            users = self._users[trigger]
            users.discard(user_id)
            if not users:
                del self._users[trigger]
                self._words -= trigger[0] == _WORD
        for trigger in new - old:
            if trigger not in self._users:
                self._users[trigger] = set()
                self._words += trigger[0] == _WORD
            self._users[trigger].add(user_id)
        if new:
            self._triggers[user_id] = new

    def find(self, event: PushEvent, base: int, among: Set[str]) -> set[str]:
        """Those of `among` whose rules may do something else than the base."""
        found: set[str] = set()
        if self._users:
            for trigger in triggered_by(event, base, words=self._words > 0):
                users = self._users.get(trigger)
                if users is not None:
                    found.update(users & among)
        return found
