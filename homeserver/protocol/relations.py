"""What an event says it relates to.

https://spec.matrix.org/v1.19/client-server-api/#forming-relationships-between-events

A relation that breaks the rules is none; the event then stands for itself. Rich replies have no `rel_type`
and are no relation in this sense.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from homeserver.protocol.ids import fits, is_valid_event_id

REPLACE, THREAD, REFERENCE, ANNOTATION = "m.replace", "m.thread", "m.reference", "m.annotation"
ENCRYPTED = "m.room.encrypted"


class Relation(NamedTuple):
    parent: str
    rel_type: str


def relation_of(content: Mapping[str, Any]) -> Relation | None:
    """What the content of a message event relates to."""
    relation = content.get("m.relates_to")
    if not isinstance(relation, dict):
        return None
    parent, rel_type = relation.get("event_id"), relation.get("rel_type")
    if not isinstance(parent, str) or not isinstance(rel_type, str):
        return None
    if not is_valid_event_id(parent) or "\0" in rel_type or not fits(rel_type):
        return None
    return Relation(parent, rel_type)


def has_rel_type(content: Mapping[str, Any], *rel_types: str) -> bool:
    """Whether the event is a child already: of any kind, or of one of these kinds."""
    relation = relation_of(content)
    return relation is not None and (not rel_types or relation.rel_type in rel_types)


def is_possible_edit(type: str, content: Mapping[str, Any]) -> bool:
    """Whether an `m.replace` says what it puts in place; an encrypted one says so where we cannot look."""
    return type == ENCRYPTED or isinstance(content.get("m.new_content"), dict)
