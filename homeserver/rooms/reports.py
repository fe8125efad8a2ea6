"""Reporting events, rooms and people to the administrators.

https://spec.matrix.org/v1.19/client-server-api/#reporting-content

Whether a room or an account exists is no secret that a 404 here gives away: joining, or asking for a
profile, tells the same. Accounts of other servers are reported unseen.
"""

from collections.abc import Awaitable, Callable, Mapping

from homeserver.clock import Clock
from homeserver.errors import BadJson, InvalidParam, NotFound
from homeserver.protocol.ids import domain_of, is_valid_user_id
from homeserver.rooms.history import History
from homeserver.rooms.registry import Registry
from storage import reports as store
from storage.reports import Kind, Report

MOST_CHARACTERS = 10_000
MOST_LISTED = 1000


class Reports:
    """`has_account(user_id)`: whether a local account exists."""

    def __init__(
        self,
        clock: Clock,
        server_name: str,
        registry: Registry,
        history: History,
        has_account: Callable[[str], Awaitable[bool]],
    ) -> None:
        self._clock = clock
        self._server_name = server_name
        self._registry = registry
        self._db = registry.db
        self._history = history
        self._has_account = has_account

    async def report_event(
        self, reporter: str, room_id: str, event_id: str, reason: str | None, score: int | None
    ) -> None:
        """NotFound unless the reporter is joined and sees the event."""
        _check(reason, score)
        access, stored, _ = await self._history.seen_event(room_id, reporter, event_id)
        if not access.joined:
            raise NotFound("The event was not found or you are not joined to the room.")
        now = self._clock.now_ms()

        await self._db.write(
            lambda tx: store.add(
                tx,
                "event",
                reporter,
                now,
                room_id=room_id,
                event_id=stored.event_id,
                reason=reason,
                score=score,
            )
        )

    async def report_room(self, reporter: str, room_id: str, reason: str) -> None:
        """NotFound for rooms this server does not know."""
        _check(reason)
        await self._registry.get(room_id)
        now = self._clock.now_ms()
        await self._db.write(lambda tx: store.add(tx, "room", reporter, now, room_id=room_id, reason=reason))

    async def report_user(self, reporter: str, user_id: str, reason: str) -> None:
        """NotFound for accounts this server should have and has not."""
        _check(reason)
        if not is_valid_user_id(user_id):
            raise InvalidParam("That is no user ID.")
        if domain_of(user_id) == self._server_name and not await self._has_account(user_id):
            raise NotFound("The user was not found.")
        now = self._clock.now_ms()
        await self._db.write(
            lambda tx: store.add(tx, "user", reporter, now, reported_user=user_id, reason=reason)
        )

    async def page(
        self, kind: Kind, containing: Mapping[str, str], *, skip: int, limit: int, newest_first: bool
    ) -> tuple[list[Report], int]:
        """Some reports, and how many there are in all."""
        if not 0 <= skip < 2**63 or limit < 0:
            raise InvalidParam("Neither 'from' nor 'limit' may be negative or out of bounds.")
        most = min(limit, MOST_LISTED)
        return await self._db.read(
            lambda tx: store.page(tx, kind, containing, skip=skip, limit=most, newest_first=newest_first)
        )

    async def get(self, kind: Kind, number: int) -> Report:
        """NotFound if there is none."""
        found = await self._db.read(store.get, kind, number)
        if found is None:
            raise NotFound("There is no such report.")
        return found

    async def delete(self, kind: Kind, number: int) -> None:
        """NotFound if there is none."""
        if not await self._db.write(store.delete, kind, number):
            raise NotFound("There is no such report.")


def _check(reason: str | None, score: int | None = None) -> None:
    if reason is not None and len(reason) > MOST_CHARACTERS:
        raise BadJson("The reason is too long.")
    if score is not None and not -(2**31) <= score < 2**31:
        raise BadJson("The score is out of bounds.")
