"""What a compiled filter is: immutable matchers, asked about one event at a time.

https://spec.matrix.org/v1.19/client-server-api/#filtering

The subtle idea: matchers know when they have nothing to say. `is_trivial` (everything passes) and
`is_empty` (nothing does) let callers skip the loop over events, or the query for them, altogether.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal


class Types:
    """A set of event types in which `*` stands for any sequence of characters.

    Matching is linear in the type's length: a pattern of many stars must not cost more than its text.
    """

    __slots__ = ("_everything", "_exact", "_globs")

    def __init__(self, patterns: Collection[str]) -> None:
        self._everything = any(pattern and not pattern.strip("*") for pattern in patterns)
        self._exact = frozenset(pattern for pattern in patterns if "*" not in pattern)
        self._globs = tuple(tuple(pattern.split("*")) for pattern in patterns if "*" in pattern)

    def __contains__(self, event_type: str) -> bool:
        if self._everything or event_type in self._exact:
            return True
        return any(_glob_matches(pieces, event_type) for pieces in self._globs)


def _glob_matches(pieces: tuple[str, ...], text: str) -> bool:
    """Whether the literal `pieces`, with anything between them, make up `text`."""
    first, *middle, last = pieces
    end = len(text) - len(last)
    start = len(first)
    if start > end or not text.startswith(first) or not text.endswith(last):
        return False
    for piece in middle:
        found = text.find(piece, start, end)
        if found < 0:
            return False
        start = found + len(piece)
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Presence and global account data. `limit` is None where the client left it out."""

    limit: int | None = None
    types: Types | None = None
    not_types: Types | None = None
    senders: frozenset[str] | None = None
    not_senders: frozenset[str] = frozenset()
    is_trivial: bool = True
    """Matches everything (its limit aside): callers skip the loop."""
    is_empty: bool = False
    """Matches nothing: callers skip the query."""

    def matches_type(self, event_type: str) -> bool:
        if self.not_types is not None and event_type in self.not_types:
            return False
        return self.types is None or event_type in self.types

    def matches_sender(self, sender: str) -> bool:
        return sender not in self.not_senders and (self.senders is None or sender in self.senders)

    def matches(self, event_type: str, sender: str | None = None) -> bool:
        """`sender` is None for what has none, such as account data; rules on senders then don't apply."""
        if self.is_trivial:
            return True
        return self.matches_type(event_type) and (sender is None or self.matches_sender(sender))


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomEventFilter(EventFilter):
    """The timeline, state, ephemeral events or account data of rooms; also `/messages` and `/context`."""

    rooms: frozenset[str] | None = None
    not_rooms: frozenset[str] = frozenset()
    contains_url: bool | None = None
    lazy_load_members: bool = False
    include_redundant_members: bool = False
    unread_thread_notifications: bool = False
    related_by_senders: frozenset[str] | None = None
    related_by_rel_types: frozenset[str] | None = None

    @property
    def asks_for_relations(self) -> bool:
        return self.related_by_senders is not None or self.related_by_rel_types is not None

    def matches_room(self, room_id: str) -> bool:
        return room_id not in self.not_rooms and (self.rooms is None or room_id in self.rooms)

    def matches(
        self,
        event_type: str,
        sender: str | None = None,
        content_has_url: bool | None = None,
        room_id: str | None = None,
    ) -> bool:
        """Arguments that are None were judged before or don't exist; their rules don't apply.

        `related_by_*` speak of an event's relations, which it does not carry: who can read relations
        judges those (`is_trivial` is false where they are set).
        """
        if self.is_trivial:
            return True
        return (
            self.matches_type(event_type)
            and (sender is None or self.matches_sender(sender))
            and (room_id is None or self.matches_room(room_id))
            and (
                self.contains_url is None or content_has_url is None or content_has_url is self.contains_url
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomFilter:
    rooms: frozenset[str] | None = None
    not_rooms: frozenset[str] = frozenset()
    include_leave: bool = False
    state: RoomEventFilter = RoomEventFilter()
    timeline: RoomEventFilter = RoomEventFilter()
    ephemeral: RoomEventFilter = RoomEventFilter()
    account_data: RoomEventFilter = RoomEventFilter()

    @property
    def is_trivial(self) -> bool:
        """Lets every room through; the four filters of what is in them are another question."""
        return self.rooms is None and not self.not_rooms

    def matches(self, room_id: str) -> bool:
        return room_id not in self.not_rooms and (self.rooms is None or room_id in self.rooms)


_Tree = dict[str, Any]
"""Each name leads to another tree, or to None where the whole property is taken."""


class Fields:
    """Dot-separated property paths, merged into one tree: `{"content": {"body": None}}`; None takes all.

    https://spec.matrix.org/v1.19/appendices/#dot-separated-property-paths
    """

    __slots__ = ("_tree",)

    def __init__(self, paths: Collection[str]) -> None:
        self._tree: _Tree = {}
        for path in paths:
            *parents, leaf = split_path(path)
            node = self._tree
            for name in parents:
                node = node.setdefault(name, {})
                if node is None:  # a shorter path takes the whole property already
                    break
            else:
                node[leaf] = None

    def project(self, event: Mapping[str, Any]) -> dict[str, Any]:
        return _project(self._tree, event)


def _project(tree: _Tree, value: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, below in tree.items():
        if name not in value:
            continue
        if below is None:
            out[name] = value[name]
        elif isinstance(value[name], dict) and (inner := _project(below, value[name])):
            out[name] = inner
    return out


def split_path(path: str) -> list[str]:
    r"""`content.m\.relates_to` -> `["content", "m.relates_to"]`; other escapes stay as they are."""
    names, name, characters = [], "", iter(path)
    for character in characters:
        if character == ".":
            names.append(name)
            name = ""
        elif character == "\\":
            following = next(characters, "")
            name += following if following in (".", "\\") else character + following
        else:
            name += character
    return [*names, name]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Filter:
    """A whole sync filter. Compare with `is`: equal definitions in equal words are one object."""

    event_fields: Fields | None = None
    event_format: Literal["client", "federation"] = "client"
    presence: EventFilter = EventFilter()
    account_data: EventFilter = EventFilter()
    room: RoomFilter = RoomFilter()

    def project(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """The event with only the `event_fields` asked for."""
        return dict(event) if self.event_fields is None else self.event_fields.project(event)
