"""Asking other servers about rooms: the port, which `federation.rooms_client` implements.

https://spec.matrix.org/v1.19/server-server-api/#joining-rooms
https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events

Whatever comes back has been inspected: each Event was parsed by the rules of its room version, is in the
right room and carries the signatures it needs; one whose content hash is wrong has become its redacted
form; what failed is left out. Whether the rules *allow* an event is for the caller to judge.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from homeserver.errors import RemoteError
from homeserver.protocol.events import Event
from homeserver.protocol.room_versions import RoomVersion


@dataclass(frozen=True, slots=True)
class Template:
    """What `server` proposes for a join, leave or knock. `pdu` is its word, unchecked."""

    version: RoomVersion
    pdu: dict[str, Any]
    server: str


@dataclass(frozen=True, slots=True)
class RemoteJoin:
    """A join that `server` took. `event` has all signatures it needs; `state` is the state before it.

    `partial`: member events may be missing from the state. `servers` are those in the room, as far as
    `server` tells, itself included.
    """

    event: Event
    state: list[Event]
    auth_chain: list[Event]
    partial: bool
    servers: list[str]
    server: str


class RemoteRooms(Protocol):
    """Each raises RemoteError: RemoteRefused where the server's answer was a refusal."""

    async def missing_events(
        self,
        server: str,
        room_id: str,
        version: RoomVersion,
        *,
        earliest: Collection[str],
        latest: Collection[str],
        limit: int,
        min_depth: int = 0,
    ) -> list[Event]:
        """Events before `latest`, down to `earliest`; oldest first if the server keeps the custom."""

    async def backfill(
        self, server: str, room_id: str, version: RoomVersion, event_ids: Collection[str], limit: int
    ) -> list[Event]:
        """The events and those before them, at most `limit` in all."""

    async def state_ids(self, server: str, room_id: str, event_id: str) -> tuple[list[str], list[str]]:
        """The state before the event, and its authorisation chain."""

    async def state(
        self, server: str, room_id: str, version: RoomVersion, event_id: str
    ) -> tuple[list[Event], list[Event]]:
        """The same as whole events."""

    async def events(
        self, server: str, room_id: str, version: RoomVersion, event_ids: Collection[str]
    ) -> dict[str, Event]:
        """Those that the server has, asked for one by one: for a few, not for a room's state."""

    async def event_auth(
        self, server: str, room_id: str, version: RoomVersion, event_id: str
    ) -> list[Event]:
        """The event's authorisation chain."""

    async def timestamp_to_event(
        self, server: str, room_id: str, ts: int, *, backwards: bool
    ) -> tuple[str, int]:
        """The ID and the time of the server's event nearest to a moment, as it says."""

    async def make_join(self, server: str, room_id: str, user_id: str) -> Template: ...

    async def make_leave(self, server: str, room_id: str, user_id: str) -> Template: ...

    async def make_knock(self, server: str, room_id: str, user_id: str) -> Template: ...

    async def send_join(self, template: Template, event: Event) -> RemoteJoin:
        """Sends our event, made from the template, to the server the template came from."""

    async def send_leave(self, server: str, event: Event) -> None: ...

    async def send_knock(self, server: str, event: Event) -> list[dict[str, Any]]:
        """The room's stripped state."""

    async def invite(
        self, server: str, event: Event, version: RoomVersion, invite_state: Sequence[dict[str, Any]]
    ) -> Event:
        """Shows the invite to the invited user's server; the event with its signature."""

    async def exchange_third_party_invite(self, server: str, room_id: str, invite: dict[str, Any]) -> None:
        """Asks the inviting server to make a member event of a third-party invite that was claimed.

        https://spec.matrix.org/v1.19/server-server-api/#cases-where-an-association-doesnt-exist-for-a-third-party-identifier
        """

    async def verify(self, events: Sequence[Event]) -> list[Event]:
        """Inspects events that were parsed already; keeps their order."""


class NoRooms:
    """The port of a server that does not federate."""

    async def missing_events(self, *_: Any, **__: Any) -> NoReturn:
        raise _alone()

    async def backfill(self, *_: Any) -> NoReturn:
        raise _alone()

    async def state_ids(self, *_: Any) -> NoReturn:
        raise _alone()

    async def state(self, *_: Any) -> NoReturn:
        raise _alone()

    async def events(self, *_: Any) -> NoReturn:
        raise _alone()

    async def event_auth(self, *_: Any) -> NoReturn:
        raise _alone()

    async def timestamp_to_event(self, *_: Any, **__: Any) -> NoReturn:
        raise _alone()

    async def make_join(self, *_: Any) -> NoReturn:
        raise _alone()

    async def make_leave(self, *_: Any) -> NoReturn:
        raise _alone()

    async def make_knock(self, *_: Any) -> NoReturn:
        raise _alone()

    async def send_join(self, *_: Any) -> NoReturn:
        raise _alone()

    async def send_leave(self, *_: Any) -> NoReturn:
        raise _alone()

    async def send_knock(self, *_: Any) -> NoReturn:
        raise _alone()

    async def invite(self, *_: Any) -> NoReturn:
        raise _alone()

    async def exchange_third_party_invite(self, *_: Any) -> NoReturn:
        raise _alone()

    async def verify(self, *_: Any) -> NoReturn:
        raise _alone()


def _alone() -> RemoteError:
    return RemoteError("This server does not federate.")
