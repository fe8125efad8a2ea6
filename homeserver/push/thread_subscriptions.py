"""Following threads: who follows which, and what an unsubscription outlasts.

https://github.com/matrix-org/matrix-spec-proposals/pull/4306

The subtle idea: subscriptions and events are given positions in one stream. So whether the event that would
subscribe somebody came before they unsubscribed is a comparison of two numbers.

Two push rules make unfollowed threads silent and followed ones heard. They are switched on with a user's
first subscription: people whose clients know nothing of it would miss what is said in threads.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

from homeserver.errors import MatrixError, NotFound
from homeserver.push.rules import PushRules
from storage import thread_subscriptions as store
from storage.database import Change, Database, Transaction
from storage.events import StoredEvent
from storage.thread_subscriptions import AUTOMATIC, BY_HAND, GONE, Subscription

Seen = Callable[[str, str, str], Awaitable[StoredEvent]]
"""(room, user, event) to the event, or NotFound where the user may not see it."""

_NOBODY: frozenset[str] = frozenset()


class ConflictingUnsubscription(MatrixError):
    status, errcode = 409, "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION"


class NotInThread(MatrixError):
    errcode = "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD"


class Subscribers:
    """Who follows a thread, in memory: events are evaluated on the reactor and cannot wait for a database."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._threads: dict[tuple[str, str], set[str]] = {}
        db.follow(self._follow)

    async def load(self) -> None:
        """Must have run before the first event."""
        for user_id, room_id, thread in await self._db.read(store.everybody):
            self._threads.setdefault((room_id, thread), set()).add(user_id)

    def of(self, room_id: str, thread: str) -> Collection[str]:
        return self._threads.get((room_id, thread), _NOBODY)

    def _follow(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.stream == "thread_subscription":
                for user_id in change.users:
                    self._change(user_id, change.data)

    def _change(self, user_id: str, data: tuple[str, str, bool] | None) -> None:
        if data is None:
            for key in list(self._threads):
                self._remove(user_id, key)
            return
        room_id, thread, subscribed = data
        if subscribed:
            self._threads.setdefault((room_id, thread), set()).add(user_id)
        else:
            self._remove(user_id, (room_id, thread))

    def _remove(self, user_id: str, key: tuple[str, str]) -> None:
        users = self._threads.get(key)
        if users is not None:
            users.discard(user_id)
            if not users:
                del self._threads[key]


class ThreadSubscriptions:
    def __init__(self, db: Database, rules: PushRules, seen: Seen) -> None:
        self._db = db
        self._rules = rules
        self._seen = seen

    async def subscribe(self, user_id: str, room_id: str, thread: str, cause: str | None = None) -> None:
        """`cause`: the event for whose sake a client subscribes its user; None: the user wants it.

        Raises NotFound, NotInThread, ConflictingUnsubscription.
        """
        await self._require_thread(user_id, room_id, thread)
        position = None if cause is None else await self._position(user_id, room_id, thread, cause)
        await self._db.write(self._subscribe, user_id, room_id, thread, position)

    async def unsubscribe(self, user_id: str, room_id: str, thread: str) -> None:
        await self._require_thread(user_id, room_id, thread)
        await self._db.write(_unsubscribe, user_id, room_id, thread)

    async def get(self, user_id: str, room_id: str, thread: str) -> Subscription:
        """Raises NotFound where there is none."""
        await self._require_thread(user_id, room_id, thread)
        found = await self._db.read(store.get, user_id, room_id, thread)
        if found is None or found.subscribed == GONE:
            raise NotFound("You do not follow this thread.")
        return found

    async def changes(
        self, user_id: str, since: int, upto: int, limit: int
    ) -> tuple[list[Subscription], int | None]:
        """The last changes in since < position <= upto; and up to which position there are more."""
        found = await self._db.read(store.changes, user_id, since, upto, limit + 1)
        if len(found) <= limit:
            return found, None
        return found[:limit], found[limit].position

    async def forget(self, user_id: str, erased: bool) -> None:
        """Nobody will use this account again."""
        await self._db.write(store.forget_user, user_id)

    # how it is done

    async def _require_thread(self, user_id: str, room_id: str, thread: str) -> None:
        """What is in a thread begins none; what is not may begin one with the next message."""
        if (await self._seen(room_id, user_id, thread)).thread is not None:
            raise NotFound("There is no such thread.")

    async def _position(self, user_id: str, room_id: str, thread: str, cause: str) -> int:
        try:
            stored = await self._seen(room_id, user_id, cause)
        except NotFound:
            raise NotInThread("The event is not in this thread.") from None
        if stored.thread != thread or stored.position is None:
            raise NotInThread("The event is not in this thread.")
        return stored.position

    def _subscribe(
        self, tx: Transaction, user_id: str, room_id: str, thread: str, cause: int | None
    ) -> None:
        known = store.get(tx, user_id, room_id, thread)
        if known is not None:
            if known.subscribed == BY_HAND or (known.subscribed == AUTOMATIC and cause is not None):
                return
            if cause is not None and cause <= known.unsubscribed_at:
                raise ConflictingUnsubscription("You unsubscribed from this thread after that event.")
        elif not store.has_any(tx, user_id):
            self._rules.tell_threads_apart(tx, user_id)
        unsubscribed_at = known.unsubscribed_at if known is not None else 0
        how = BY_HAND if cause is None else AUTOMATIC
        store.put(tx, user_id, room_id, thread, how, unsubscribed_at)


def _unsubscribe(tx: Transaction, user_id: str, room_id: str, thread: str) -> None:
    known = store.get(tx, user_id, room_id, thread)
    if known is not None and known.subscribed != GONE:
        store.put(tx, user_id, room_id, thread, GONE)


def shown(found: Sequence[Subscription]) -> dict[str, Any]:
    """As clients are told of changes: by kind, room and thread."""
    body: dict[str, Any] = {}
    for each in found:
        content: dict[str, Any] = {"bump_stamp": each.position}
        if each.subscribed != GONE:
            content["automatic"] = each.subscribed == AUTOMATIC
        kind = "unsubscribed" if each.subscribed == GONE else "subscribed"
        body.setdefault(kind, {}).setdefault(each.room_id, {})[each.thread] = content
    return body
