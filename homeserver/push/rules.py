"""Users' push rules in memory: read by every event, changed now and then.

https://spec.matrix.org/v1.19/client-server-api/#push-rules-api

The subtle idea: events are evaluated on the reactor and cannot wait for a database, so the changes of all
users are held in memory as the bytes they are stored as; only the recently used ones are compiled. They
follow the stream, so a change counts from its commit on, for whoever was told of it.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from homeserver.errors import BadJson, MatrixError, NotFound, TooLarge
from homeserver.protocol import canonical_json
from homeserver.protocol.push_rules import DEFAULT, Rule, Ruleset, UnknownRule, extended
from homeserver.push.index import TriggerIndex
from storage import push_rules as store
from storage.database import Change, Database, Transaction

MOST_BYTES = 512 * 1024
_COMPILED = 10_000


class PushRules:
    """`load` reads everybody's changes and must have run before the first event."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._stored: dict[str, bytes] = {}
        self._compiled: OrderedDict[str, Ruleset] = OrderedDict()
        self.index = TriggerIndex()
        db.follow(self._follow)

    async def load(self) -> None:
        for user_id, changes in await self._db.read(store.all_changes):
            if user_id not in self._stored:
                self._put(user_id, changes)

    def of(self, user_id: str) -> Ruleset:
        stored = self._stored.get(user_id)
        if stored is None:
            return DEFAULT
        ruleset = self._compiled.get(user_id)
        if ruleset is None:
            ruleset = self._compiled[user_id] = Ruleset.load(stored)
            if len(self._compiled) > _COMPILED:
                self._compiled.popitem(last=False)
        else:
            self._compiled.move_to_end(user_id)
        return ruleset

    def version(self, user_id: str) -> object:
        """The same object for as long as the user's rules are the same; None for the defaults."""
        return self._stored.get(user_id)

    def as_account_data(self, user_id: str) -> dict[str, Any]:
        """The content of the user's `m.push_rules`."""
        return {"global": self.of(user_id).as_json(user_id)}

    def rule(self, user_id: str, kind: str, rule_id: str) -> dict[str, Any]:
        """One rule as clients read it. NotFound if there is none."""
        try:
            return self.of(user_id).get(kind, rule_id).as_json(user_id)
        except UnknownRule:
            raise _not_found() from None

    async def put(
        self, user_id: str, rule: Rule, *, before: str | None = None, after: str | None = None
    ) -> None:
        """Adds or replaces one of the user's own rules; `before` and `after` as `Ruleset.with_rule`."""

        def edit(ruleset: Ruleset) -> Ruleset:
            try:
                return ruleset.with_rule(rule, before=before, after=after)
            except UnknownRule as error:
                raise MatrixError(f"before/after rule not found: {error}") from None

        await self._change(user_id, edit)

    async def delete(self, user_id: str, kind: str, rule_id: str) -> None:
        """NotFound for rules that are not the user's own, the defaults included."""
        await self._change(user_id, lambda ruleset: ruleset.without(kind, rule_id))

    async def set_enabled(self, user_id: str, kind: str, rule_id: str, enabled: bool) -> None:
        await self._change(user_id, lambda ruleset: ruleset.with_enabled(kind, rule_id, enabled))

    async def set_actions(self, user_id: str, kind: str, rule_id: str, actions: tuple[Any, ...]) -> None:
        await self._change(user_id, lambda ruleset: ruleset.with_actions(kind, rule_id, actions))

    async def extend_to(self, user_id: str, replacement: str, *, replaced: str) -> None:
        """What the user wants of a room goes for the room it was upgraded to as well."""
        if extended(self.of(user_id), replaced, replacement) is not self.of(user_id):
            await self._change(user_id, lambda ruleset: extended(ruleset, replaced, replacement))

    @staticmethod
    def tell_threads_apart(tx: Transaction, user_id: str) -> None:
        """Of the threads, only those that the user follows notify from now on."""

        def edit(stored: bytes | None) -> bytes:
            return _dump((Ruleset.load(stored) if stored is not None else DEFAULT).with_threads())

        store.change(tx, user_id, edit)

    async def _change(self, user_id: str, edit: Callable[[Ruleset], Ruleset]) -> None:
        def edit_stored(stored: bytes | None) -> bytes:
            return _dump(_edited(Ruleset.load(stored) if stored is not None else DEFAULT, edit))

        _dump(_edited(self.of(user_id), edit))  # what is wrong is best found before it gets to the writer
        await self._db.write(store.change, user_id, edit_stored)

    def _follow(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.stream == "push_rules":
                for user_id in change.users:
                    self._put(user_id, change.data)

    def _put(self, user_id: str, stored: bytes) -> None:
        ruleset = Ruleset.load(stored)
        self._compiled.pop(user_id, None)
        self._stored.pop(user_id, None)
        if not ruleset.is_default:
            self._stored[user_id] = stored
        self.index.put(user_id, ruleset)


def _edited(ruleset: Ruleset, edit: Callable[[Ruleset], Ruleset]) -> Ruleset:
    try:
        return edit(ruleset)
    except UnknownRule:
        raise _not_found() from None


def _dump(ruleset: Ruleset) -> bytes:
    stored = ruleset.dump()
    if len(stored) > MOST_BYTES:
        raise TooLarge("You have too many push rules.")
    return stored


def check_json(value: Any) -> None:
    """BadJson for what could not be served again (absurd depth)."""
    try:
        canonical_json.encode(value)
    except canonical_json.NotCanonical as error:
        raise BadJson(str(error)) from None


def _not_found() -> NotFound:
    return NotFound("The push rule was not found.")
