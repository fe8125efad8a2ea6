"""Guests leave a room that does not admit them any more.

https://spec.matrix.org/v1.19/client-server-api/#guest-access

Whoever revoked the access, and however (another setting, a redaction), the change arrives as a committed
event; so that is what this follows, not the request.
"""

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from homeserver.errors import Forbidden
from homeserver.rooms.head import Committed
from homeserver.rooms.rooms import Rooms
from storage import accounts
from storage.database import Change, Database

log = Logger()

GUEST_ACCESS = "m.room.guest_access"


class Guests:
    def __init__(self, db: Database, rooms: Rooms) -> None:
        self._db = db
        self._rooms = rooms
        db.follow(self._follow)

    def _follow(self, changes: Sequence[Change]) -> None:
        for change in changes:
            committed = change.data
            if isinstance(committed, Committed) and _shuts_out(committed):
                room_id = committed.stored.event.room_id
                leaving = Deferred.fromCoroutine(self._see_off(room_id))
                leaving.addErrback(_report, room_id)

    async def _see_off(self, room_id: str) -> None:
        await self._rooms.get(room_id)  # knows its members only while it is in memory
        members = sorted(self._rooms.memberships.local_members(room_id))
        for guest in await self._db.read(accounts.guests_among, members):
            try:
                await self._rooms.leave(room_id, guest)
            except Forbidden:
                continue  # gone in the meantime, or banned


def _report(failure: Failure, room_id: str) -> None:
    log.failure("guests could not be made to leave {room_id}", failure, room_id=room_id)


def _shuts_out(committed: Committed) -> bool:
    event = committed.stored.event
    if event.type == GUEST_ACCESS and event.state_key == "":
        return event.content.get("guest_access") != "can_join"
    return committed.redacts is not None and committed.redacts == committed.head.event_id(GUEST_ACCESS)
