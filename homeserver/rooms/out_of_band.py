"""Memberships in rooms that this server is not in: invites, knocks, and how they end.

https://spec.matrix.org/v1.19/server-server-api/#inviting-to-a-room
https://spec.matrix.org/v1.19/client-server-api/#stripped-state

Of such a room nothing is known but its version and the event itself, which has a place in the stream (the
user is told of it) and no state. Should this server join later, the event is in the timeline already.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from homeserver.errors import Forbidden
from homeserver.protocol import canonical_json
from homeserver.protocol.canonical_json import NotCanonical
from homeserver.protocol.events import Event
from homeserver.protocol.room_versions import RoomVersion
from homeserver.rooms import judgement
from homeserver.rooms.head import MEMBER, OutOfBand
from homeserver.rooms.registry import Registry
from homeserver.rooms.stripped_state import strip
from storage import events as event_rows
from storage import memberships as membership_rows
from storage import rooms as room_rows
from storage.database import Transaction
from storage.events import StoredEvent
from storage.memberships import Membership

MOST_SHOWN = 50
MOST_SHOWN_BYTES = 256 * 1024


class OutOfBandMembership:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def add(
        self, event: Event, version: RoomVersion, stripped: Sequence[Mapping[str, Any]]
    ) -> None:
        """Makes it the user's membership. `stripped`: what they are shown of the room. Raises Forbidden."""
        user_id = event.state_key or ""
        known = await self._registry.events.get(event.event_id)
        if known is not None and not judgement.is_same(event, known.event):
            raise Forbidden("Another event is known under its ID.")
        row = (await self._registry.memberships.of(user_id)).get(event.room_id)
        if row is not None and row.event_id == event.event_id:
            return
        membership = Membership(
            user_id=user_id,
            room_id=event.room_id,
            membership=event.membership or "leave",
            previous=row.membership if row is not None else None,
            event_id=event.event_id,
            sender=event.sender,
            position=0,
            invite_state=_shown(stripped, event) if event.membership in ("invite", "knock") else None,
        )
        ids = self._registry.db.ids
        await self._registry.db.write(_write, ids.room(), ids.event(), event, version, membership)

    async def receive(self, event: Event) -> bool:
        """An invite or knock of ours that ended elsewhere; False if it is something else.

        The room's rules cannot be checked here. It is believed if it follows from the very event it ends, or
        comes from the server that invited.
        """
        user_id = event.state_key
        if event.type != MEMBER or user_id is None or event.membership not in ("leave", "ban"):
            return False
        if not self._registry.memberships.is_local(user_id):
            return False
        row = (await self._registry.memberships.of(user_id)).get(event.room_id)
        if row is None or row.membership not in ("invite", "knock"):
            return False
        if row.event_id not in event.auth_events:
            return False
        await self.add(event, event.version, [])
        return True


def _write(
    tx: Transaction, room: int, nid: int, event: Event, version: RoomVersion, membership: Membership
) -> None:
    room_rows.add_stub(tx, room, event.room_id, version.id)
    known_room = room_rows.number_of(tx, event.room_id)
    if known_room is not None:
        room = known_room[0]
    known = event_rows.by_id(tx, [event.event_id]).get(event.event_id)
    stored = known or StoredEvent(event, nid, room, None, None, None)
    if stored.position is None:
        stored = replace(stored)
    told = OutOfBand(stored, membership)
    position = tx.announce("event", users=(membership.user_id,), data=told)
    if stored.position is None:
        stored.position = position
        if known is None:
            event_rows.add(tx, stored)
        else:
            event_rows.place(tx, stored)
    membership_rows.put(tx, replace(membership, position=position))


def _shown(stripped: Iterable[Mapping[str, Any]], event: Event) -> bytes:
    """The stripped state a client reads, the event itself last. Whole events are stripped."""
    shown: dict[tuple[str, str], dict[str, Any]] = {}
    for each in list(stripped)[:MOST_SHOWN]:
        type, state_key = each.get("type"), each.get("state_key")
        content, sender = each.get("content"), each.get("sender")
        if not (isinstance(type, str) and isinstance(state_key, str) and isinstance(sender, str)):
            continue
        if isinstance(content, dict):
            shown[type, state_key] = {
                "type": type, "state_key": state_key, "sender": sender, "content": content,
            }  # fmt: skip
    if event.key is not None:
        shown.pop(event.key, None)
    own = canonical_json.write(strip(event))
    array = b"[" + b",".join([*_written(shown.values()), own]) + b"]"
    return array if len(array) <= MOST_SHOWN_BYTES else b"[" + own + b"]"


def _written(events: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """As JSON; nobody has checked that they can be written at all."""
    for each in events:
        try:
            canonical_json.validate_lax(each)
            yield canonical_json.write(each)
        except NotCanonical:
            continue
