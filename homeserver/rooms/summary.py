"""What somebody who is not in a room may be shown of it, and who may be shown it.

https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidhierarchy
https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1room_summaryroomidoralias

The same summary stands for a room of this server and for one that another server tells of; whether somebody
may see it is judged by what is in it.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from homeserver.protocol.ids import is_valid_room_id, is_valid_server_name
from homeserver.protocol.room_versions import ROOM_VERSIONS
from storage.room_summaries import SPACE_CHILD, RoomFacts

Content = dict[str, Any]

SPACE = "m.space"
MOST_VIA = 10

SHOWN = (
    "m.room.create",
    "m.room.name",
    "m.room.topic",
    "m.room.canonical_alias",
    "m.room.avatar",
    "m.room.join_rules",
    "m.room.history_visibility",
    "m.room.guest_access",
    "m.room.encryption",
    SPACE_CHILD,
)

KNOCKABLE = frozenset({"knock", "knock_restricted"})
RESTRICTED = frozenset({"restricted", "knock_restricted"})

_MAX_ORDER = 50


@dataclass(frozen=True, slots=True)
class Child:
    """A room that a space lists; `event` is what clients see of the m.space.child."""

    room_id: str
    via: tuple[str, ...]
    suggested: bool
    sort_key: tuple[bool, str, int, str]
    event: Content

    @classmethod
    def of(cls, room_id: Any, content: Any, sender: Any, ts: Any) -> "Child | None":
        """None for what is no valid child, be it a removed one."""
        if not isinstance(content, dict) or not isinstance(room_id, str) or not is_valid_room_id(room_id):
            return None
        via = content.get("via")
        if not isinstance(via, list) or type(ts) is not int or not isinstance(sender, str):
            return None
        servers = dict.fromkeys(each for each in via if isinstance(each, str) and is_valid_server_name(each))
        order = content.get("order")
        ordered = isinstance(order, str) and len(order) <= _MAX_ORDER and all(" " <= c <= "~" for c in order)
        return cls(
            room_id=room_id,
            via=tuple(servers)[:MOST_VIA],
            suggested=content.get("suggested") is True,
            sort_key=(not ordered, str(order) if ordered else "", ts, room_id),
            event={
                "type": SPACE_CHILD,
                "state_key": room_id,
                "content": content,
                "sender": sender,
                "origin_server_ts": ts,
            },
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """`shown` are the fields of the specification's RoomSummary. `children` are in their order."""

    room_id: str
    shown: Content
    join_rule: str = "invite"
    world_readable: bool = False
    allowed: tuple[str, ...] = ()
    children: tuple[Child, ...] = field(default=())

    @property
    def is_space(self) -> bool:
        return self.shown.get("room_type") == SPACE

    def shown_to(self, membership: str | None, joined: Collection[str]) -> bool:
        """Whether to show it to a user with this membership, who is joined to these rooms."""
        if membership in ("join", "invite"):
            return True
        if membership == "ban":
            return False
        return self.is_open or (self.join_rule in RESTRICTED and any(each in joined for each in self.allowed))

    @property
    def is_open(self) -> bool:
        """Whether anybody may be shown it."""
        return self.world_readable or self.join_rule == "public" or self.join_rule in KNOCKABLE

    def entry(self, *, suggested_only: bool = False) -> Content:
        """With the state of the children, as hierarchies show it."""
        events = [child.event for child in self.children if child.suggested or not suggested_only]
        return {**self.shown, "children_state": events}


def in_order(children: Iterable[Child]) -> tuple[Child, ...]:
    """https://spec.matrix.org/v1.19/client-server-api/#ordering-of-children-within-a-space"""
    return tuple(sorted(children, key=lambda child: child.sort_key))


def of_facts(facts: RoomFacts) -> Summary | None:
    """The summary of a room that this server knows; None where it has no create event."""
    contents = {
        stored.event.type: stored.event.content
        for stored in facts.state
        if stored.event.state_key == "" and stored.event.type != SPACE_CHILD
    }
    create = contents.get("m.room.create")
    if create is None:
        return None
    version = str(create.get("room_version", "1"))
    rules = contents.get("m.room.join_rules", {})
    join_rule = _text(rules, "join_rule") or "invite"
    world_readable = _text(contents, "m.room.history_visibility", "history_visibility") == "world_readable"
    allowed = _allowed(rules) if join_rule in RESTRICTED else ()
    shown = {
        "room_id": facts.room_id,
        "num_joined_members": facts.joined,
        "world_readable": world_readable,
        "guest_can_join": _text(contents, "m.room.guest_access", "guest_access") == "can_join",
        "join_rule": join_rule,
        "name": _text(contents, "m.room.name", "name"),
        "topic": _text(contents, "m.room.topic", "topic"),
        "canonical_alias": _text(contents, "m.room.canonical_alias", "alias"),
        "avatar_url": _text(contents, "m.room.avatar", "url"),
        "room_type": _text(create, "type"),
        "encryption": _text(contents, "m.room.encryption", "algorithm"),
        "room_version": version,
        "allowed_room_ids": list(allowed) or None,
    }
    shown = {name: value for name, value in shown.items() if value is not None}
    children: list[Child] = []
    if shown.get("room_type") == SPACE:
        for stored in facts.state:
            event = stored.event
            if event.type == SPACE_CHILD:
                child = Child.of(event.state_key, event.content, event.sender, event.origin_server_ts)
                if child is not None:
                    children.append(child)
    in_force = join_rule if _is_in_force(join_rule, version) else "invite"
    return Summary(facts.room_id, shown, in_force, world_readable, allowed, in_order(children))


def _is_in_force(join_rule: str, version_id: str) -> bool:
    """Whether the room's version has the rule: elsewhere it admits nobody."""
    version = ROOM_VERSIONS.get(version_id)
    if version is None or join_rule not in KNOCKABLE | RESTRICTED:
        return True
    return join_rule in version.knock_join_rules | version.restricted_join_rules


def _allowed(rules: Mapping[str, Any]) -> tuple[str, ...]:
    allow = rules.get("allow")
    return tuple(
        each["room_id"]
        for each in (allow if isinstance(allow, list) else ())
        if isinstance(each, dict)
        and each.get("type") == "m.room_membership"
        and isinstance(each.get("room_id"), str)
        and is_valid_room_id(each["room_id"])
    )


def _text(content: Mapping[str, Any], *path: str) -> str | None:
    value: Any = content
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, str) and value else None
