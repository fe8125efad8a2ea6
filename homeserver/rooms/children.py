"""Sending an event that relates to another: nobody reacts twice alike, and threads have no threads.

https://spec.matrix.org/v1.19/client-server-api/#avoiding-duplicate-annotations
https://spec.matrix.org/v1.19/client-server-api/#validation-of-mthread-relationships

The database knows the reactions up to some position. What was committed since, or is on its way there, is
looked for in memory at the very moment of sending, so that of two taps at once only one counts.
"""

from collections.abc import Callable
from typing import Any

import orjson

from homeserver.errors import DuplicateAnnotation, MatrixError
from homeserver.protocol.events import Event
from homeserver.protocol.relations import ANNOTATION, THREAD, Relation, has_rel_type, relation_of
from homeserver.rooms.head import Head, Proposal
from homeserver.rooms.registry import Registry
from storage import relations as store

Guard = Callable[[Head], None]


async def append_child(
    registry: Registry, room_id: str, proposal: Proposal, relation: Relation, guard: Guard
) -> str:
    """The ID of the event, which may have been sent before under the same transaction ID.

    Raises DuplicateAnnotation, and MatrixError for a thread within a thread.
    """
    room = await registry.get(room_id)
    guard(room.tip)
    if relation.rel_type == THREAD:
        await _require_root(registry, room_id, relation.parent)
    key = _key(proposal.content)
    while relation.rel_type == ANNOTATION and key is not None:
        position = registry.db.position
        args = (room.nid, relation.parent, proposal.type, proposal.sender)
        for known in await registry.db.read(store.annotations, *args):
            if _key(orjson.loads(known.json).get("content")) != key:
                continue
            sent = (proposal.device_id, proposal.txn_id)
            if None not in sent and sent == (known.device_id, known.txn_id):
                return known.event_id
            raise DuplicateAnnotation("You have put this on the event already.")
        try:
            return await _append_once(registry, room_id, proposal, guard, position)
        except _LookAgain:
            room = await registry.get(room_id)
            await registry.settled(room)
    [stored] = await registry.append(room_id, [proposal], guard=guard)
    return stored.event_id


class _LookAgain(Exception):
    """There may be a twin that the database did not show."""


async def _append_once(
    registry: Registry, room_id: str, proposal: Proposal, guard: Guard, position: int
) -> str:
    """Appends unless something of the kind came after the position."""

    def guard_and_look(tip: Head) -> None:
        guard(tip)
        room = registry.cached(room_id)
        news = room.since(position, 2**63) if room is not None else None
        if room is None or news is None:
            raise _LookAgain
        if any(_is_twin(stored.event, proposal) for stored in (*news, *room.pending.values())):
            raise _LookAgain

    [stored] = await registry.append(room_id, [proposal], guard=guard_and_look)
    return stored.event_id


async def _require_root(registry: Registry, room_id: str, event_id: str) -> None:
    root = await registry.events.get(event_id)
    if root is not None and root.event.room_id == room_id and has_rel_type(root.event.content):
        raise MatrixError("A thread cannot start from an event that relates to another itself.")


def _is_twin(event: Event, proposal: Proposal) -> bool:
    return (
        (event.sender, event.type) == (proposal.sender, proposal.type)
        and relation_of(event.content) == relation_of(proposal.content)
        and _key(event.content) == _key(proposal.content)
    )


def _key(content: Any) -> str | None:
    relation = content.get("m.relates_to") if isinstance(content, dict) else None
    key = relation.get("key") if isinstance(relation, dict) else None
    return key if isinstance(key, str) else None
