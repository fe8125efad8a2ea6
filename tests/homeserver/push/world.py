"""Rooms without a server around them: events go to the push rules and the database as the real ones do."""

import itertools
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import orjson
from immutables import Map
from twisted.internet.defer import ensureDeferred

from homeserver.protocol.events import Event
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.push.actions import PushActions
from homeserver.push.rules import PushRules
from homeserver.push.thread_subscriptions import Subscribers
from homeserver.push.unread import Unread, UnreadCounts
from homeserver.rooms.head import BEFORE_CREATION, Committed, Head
from homeserver.rooms.state import RoomState, StateEntry
from storage import receipts, rooms
from storage.events import StoredEvent
from storage.memberships import Membership
from storage.push_actions import PushAction
from storage.rooms import Append
from tests.storage.conftest import SynchronousDatabase

ALICE, BOB, CAROL, DAVE = "@alice:here", "@bob:here", "@carol:here", "@dave:there"
ROOM = "!room:here"
VERSION = ROOM_VERSIONS["11"]

T = TypeVar("T")


class Power:
    """Everybody may notify the room, but for Dave."""

    def user(self, user_id: str) -> int:
        return 0 if user_id == DAVE else 50

    def notifications(self, key: str) -> int:
        return 50


def make_event(
    sender: str,
    type: str = "m.room.message",
    content: dict[str, Any] | None = None,
    state_key: str | None = None,
    *,
    event_id: str = "$event",
    room_id: str = ROOM,
) -> Event:
    pdu: dict[str, Any] = {
        "type": type,
        "sender": sender,
        "room_id": room_id,
        "content": {"msgtype": "m.text", "body": "hello"} if content is None else content,
        "depth": 1,
        "origin_server_ts": 1,
        "prev_events": [],
        "auth_events": [],
        "hashes": {},
        "signatures": {},
    }
    if state_key is not None:
        pdu["state_key"] = state_key
    return Event.load(orjson.dumps(pdu), event_id, VERSION)


def head_with(members: dict[str, str], names: dict[str, str] | None = None) -> Head:
    """A room with these memberships; `names` are event IDs of member events."""
    entries = {
        ("m.room.member", user_id): StateEntry(0, (names or {}).get(user_id, ""), membership)
        for user_id, membership in members.items()
    }
    joined = list(members.values()).count("join")
    power: Any = Power()
    return Head(RoomState(Map(entries), ()), (), 1, None, power, joined, 0)


class World:
    def __init__(self, db: SynchronousDatabase) -> None:
        self.db = db
        self.members: dict[str, dict[str, str]] = {}
        self.nids: dict[str, int] = {}
        self.events: dict[str, StoredEvent] = {}
        self.ignored: dict[str, set[str]] = {}
        self._numbers = itertools.count(1)
        self.rules = PushRules(db.database)
        self.subscribers = Subscribers(db.database)
        self.actions = PushActions(
            self.rules, "here", self.local_members, self.events.get, self.subscribers.of
        )
        self.unread = Unread(db.database, self.rules, self._ignored)

    def local_members(self, room_id: str) -> set[str]:
        members = self.members.get(room_id, {})
        return {user for user, state in members.items() if state == "join" and user.endswith(":here")}

    async def _ignored(self, user_id: str) -> set[str]:
        return self.ignored.get(user_id, set())

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        result: T = SynchronousDatabase._wait(ensureDeferred(coroutine))
        return result

    # Doing

    def send(
        self,
        sender: str,
        type: str = "m.room.message",
        content: dict[str, Any] | None = None,
        state_key: str | None = None,
        *,
        room_id: str = ROOM,
        redacts: str | None = None,
    ) -> str:
        number = next(self._numbers)
        event = make_event(sender, type, content, state_key, event_id=f"$e{number}", room_id=room_id)
        members = self.members.setdefault(room_id, {})
        head = head_with({**members, **({state_key or "": event.membership} if event.membership else {})})
        base, thread, push = self.actions.of_event(event, head)
        nid = self.nids.setdefault(room_id, len(self.nids) + 1)
        stored = StoredEvent(event, number, nid, None, None, None, notify=base, thread=thread)
        membership = None
        if event.membership is not None and state_key is not None:
            previous = members.get(state_key)
            membership = Membership(
                state_key, room_id, event.membership, previous, event.event_id, sender, 0
            )
        committed = Committed(stored, BEFORE_CREATION, membership, push)
        append = Append(
            stored, room_id, "11", None, number, (event.event_id,), (),
            [membership] if membership else (), [membership.user_id] if membership else (),
            (redacts, b"{}") if redacts else None, push, committed,
        )
        self.db.write(rooms.append, [append])
        self.events[event.event_id] = stored
        if membership is not None:
            members[membership.user_id] = membership.membership
        return event.event_id

    def join(self, *users: str, room_id: str = ROOM) -> None:
        for user in users:
            self.send(user, "m.room.member", {"membership": "join"}, user, room_id=room_id)

    def thread(self, sender: str, root: str, **content: Any) -> str:
        relation = {"rel_type": "m.thread", "event_id": root}
        return self.send(sender, content={"body": "in a thread", "m.relates_to": relation, **content})

    def receipt(
        self, user: str, event_id: str, thread: str | None = None, type: str = "m.read", room_id: str = ROOM
    ) -> None:
        position = self.events[event_id].position
        self.db.write(receipts.add_receipt, room_id, user, type, thread, event_id, position, 1)

    # Asking

    def counts(self, user: str, room_id: str = ROOM) -> UnreadCounts:
        """The counts, held against what a server that has just started would say."""
        counts = self.run(self.unread.counts(user, room_id))
        fresh = Unread(self.db.database, self.rules, self._ignored)
        assert counts == self.run(fresh.counts(user, room_id))
        self.db.database._followers.remove(fresh._follow)
        return counts

    def shown(self, user: str, room_id: str = ROOM) -> tuple[int, int]:
        counts = self.counts(user, room_id)
        return counts.notification_count, counts.highlight_count

    def rows(self) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self.db.read(
            lambda tx: tx.all(
                "SELECT user_id, event_id, notify, highlight FROM push_action ORDER BY position"
            )
        )
        return found


def mention(*users: str, room: bool = False) -> dict[str, Any]:
    mentions: dict[str, Any] = {"user_ids": list(users)} if users else {}
    if room:
        mentions["room"] = True
    return {"msgtype": "m.text", "body": "hello", "m.mentions": mentions}


def actions_of(rows: Sequence[PushAction]) -> list[tuple[str, int, int]]:
    return sorted((row.user_id, row.notify, row.highlight) for row in rows)
