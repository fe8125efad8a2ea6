"""What an event does to whom: asked once for each event, by the one writer of its room.

https://spec.matrix.org/v1.19/client-server-api/#server-behaviour-12

The subtle idea: nobody goes through the members. The event gets a base, which says what it does to a member
like any other (`protocol.push_rules.base`); only users whom it names and users whose own rules it sets off
(`push.index`) are evaluated, and only those for whom something else comes out than their base get a row.
An ordinary message in a room of ten thousand costs the same as in a room of ten.
"""

from collections.abc import Callable, Collection, Iterator, Set
from typing import Any

from homeserver.protocol.events import Event
from homeserver.protocol.ids import is_valid_event_id
from homeserver.protocol.push_rules import Facts, base_of, bases
from homeserver.push.rules import PushRules
from homeserver.rooms.head import Head
from storage.events import StoredEvent
from storage.push_actions import PushAction

_MEMBER = "m.room.member"


class PushActions:
    """`of_event` is what the rooms call.

    `local_members(room_id)`: the joined local members as last committed; `cached_event(event_id)`: an event
    that is in memory, or None. `subscribers(room_id, thread)`: who follows a thread.
    """

    def __init__(
        self,
        rules: PushRules,
        server_name: str,
        local_members: Callable[[str], Set[str]],
        cached_event: Callable[[str], StoredEvent | None],
        subscribers: Callable[[str, str], Collection[str]],
    ) -> None:
        self._rules = rules
        self._server_name = server_name
        self._local_members = local_members
        self._cached_event = cached_event
        self._subscribers = subscribers

    def of_event(self, event: Event, head: Head) -> tuple[int, str | None, list[PushAction]]:
        """(base, thread root, rows). `head` is the room after the event."""
        facts = self.facts(event, head)
        base = base_of(event, facts)
        thread = facts.thread
        members = self._local_members(event.room_id)
        concerned = self._rules.index.find(event, base, members)
        concerned.update(self._named(event, head))
        concerned.update(user_id for user_id in facts.subscribers if user_id in members)
        concerned.discard(event.sender)
        rows: list[PushAction] = []
        if event.type == _MEMBER and event.state_key is not None:
            rows.extend(self._stay(event, event.state_key, members))
        for user_id in concerned:
            ruleset = self._rules.of(user_id)
            outcome = ruleset.outcome(event, facts, user_id)
            if outcome != bases(ruleset, event.room_id, head.joined)[base]:
                rows.append(PushAction(user_id, event.room_id, event.event_id, thread, *outcome))
        return base, thread, rows

    def facts(self, event: Event, head: Head) -> Facts:
        """What push rules ask about the room."""
        thread = self._thread(event)
        subscribers = self._subscribers(event.room_id, thread) if thread is not None else ()
        return Facts(head.joined, _permission(event, head), self._display_names(head), thread, subscribers)

    def _named(self, event: Event, head: Head) -> Iterator[str]:
        """The local users whom the event mentions or invites."""
        mentions = event.content.get("m.mentions")
        users = mentions.get("user_ids") if isinstance(mentions, dict) else None
        if isinstance(users, list):
            local = (user_id for user_id in users if isinstance(user_id, str) and self._is_local(user_id))
            yield from (user_id for user_id in local if head.membership(user_id) == "join")
        target = event.state_key if event.type == _MEMBER and event.membership == "invite" else None
        if target is not None and self._is_local(target):
            yield target

    def _stay(self, event: Event, user_id: str, members: Set[str]) -> Iterator[PushAction]:
        """The row that begins a local user's stay; changing one's name is no new stay."""
        if event.membership == "join" and self._is_local(user_id) and user_id not in members:
            yield PushAction(user_id, event.room_id, event.event_id, None, 0, 0, joins=True)

    def _is_local(self, user_id: str) -> bool:
        return user_id[:1] == "@" and user_id.partition(":")[2] == self._server_name

    def _display_names(self, head: Head) -> Callable[[str], str | None]:
        def display_name(user_id: str) -> str | None:
            event_id = head.event_id(_MEMBER, user_id)
            stored = self._cached_event(event_id) if event_id is not None else None
            name = stored.event.content.get("displayname") if stored is not None else None
            return name if isinstance(name, str) else None

        return display_name

    def _thread(self, event: Event) -> str | None:
        """The root of the thread the event is in, by its own word or that of the event it relates to.

        The parent's thread was settled when the parent arrived, so one step is all it takes. A parent that
        is no longer in memory leaves the event in the main timeline: what comes so late is an edit or a
        reaction, which nobody is notified of.
        """
        relation = event.content.get("m.relates_to")
        if not isinstance(relation, dict):
            return None
        target: Any = relation.get("event_id")
        if not isinstance(target, str) or not isinstance(relation.get("rel_type"), str):
            return None
        if relation["rel_type"] == "m.thread":
            return target if is_valid_event_id(target) else None
        parent = self._cached_event(target)
        if parent is None or parent.event.room_id != event.room_id:
            return None
        return parent.thread


def _permission(event: Event, head: Head) -> Callable[[str], bool]:
    def permits(key: str) -> bool:
        return head.power is not None and head.power.user(event.sender) >= head.power.notifications(key)

    return permits
