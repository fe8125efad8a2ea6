"""Other servers without a network: rooms that they are in, and what they say to those who want to get in."""

from collections.abc import Mapping, Sequence
from typing import Any

from homeserver.errors import RemoteError, RemoteRefused
from homeserver.protocol.events import Event
from homeserver.protocol.room_versions import ROOM_VERSIONS, RoomVersion
from homeserver.protocol.signing import SigningKey, sign_event
from homeserver.rooms.remote import RemoteJoin, Template
from storage.events import StoredEvent

ROOM = "!room:there"


def refused(status: int, errcode: str, message: str = "No.", **body: Any) -> RemoteRefused:
    return RemoteRefused("there", status, errcode, message, {"errcode": errcode, **body})


class Resident:
    """A server in the room. `says`: an endpoint's name → its error. `changes` spoil templates."""

    def __init__(self, version: str = "10", **says: RemoteError) -> None:
        self.version = ROOM_VERSIONS[version]
        self.says = says
        self.changes: dict[str, Any] = {}
        self.key = SigningKey.generate("k")
        self.shown: list[dict[str, Any]] = [{"type": "m.room.name"}]

    def template(self, server: str, membership: str, room_id: str, user_id: str) -> Template:
        reference: Any = "$create" if self.version.hashed_event_ids else ["$create:there", {"sha256": "hash"}]
        pdu = {
            "type": "m.room.member", "room_id": room_id, "sender": user_id, "state_key": user_id,
            "content": {"membership": membership}, "depth": 4, "prev_events": [reference],
            "auth_events": [reference], "origin": "evil", "unknown": True, **self.changes,
        }  # fmt: skip
        return Template(self.version, pdu, server)


class Elsewhere:
    """The part of RemoteRooms that handshakes need. `servers` answer; `asked` is what was asked of whom."""

    def __init__(self, **servers: Resident) -> None:
        self.servers = servers
        self.asked: list[tuple[str, str]] = []
        self.given: list[Event] = []
        self.invite_state: Sequence[Mapping[str, Any]] = ()
        self.exchanged: list[tuple[str, str, dict[str, Any]]] = []

    def _ask(self, what: str, server: str) -> Resident:
        self.asked.append((what, server))
        resident = self.servers.get(server)
        if resident is None:
            raise RemoteError(f"{server} does not answer.")
        if what in resident.says:
            raise resident.says[what]
        return resident

    async def make_join(self, server: str, room_id: str, user_id: str) -> Template:
        return self._ask("make_join", server).template(server, "join", room_id, user_id)

    async def make_leave(self, server: str, room_id: str, user_id: str) -> Template:
        return self._ask("make_leave", server).template(server, "leave", room_id, user_id)

    async def make_knock(self, server: str, room_id: str, user_id: str) -> Template:
        return self._ask("make_knock", server).template(server, "knock", room_id, user_id)

    async def send_join(self, template: Template, event: Event) -> RemoteJoin:
        self._ask("send_join", template.server)
        return RemoteJoin(event, [], [], False, [template.server], template.server)

    async def send_leave(self, server: str, event: Event) -> None:
        self._ask("send_leave", server)

    async def send_knock(self, server: str, event: Event) -> list[dict[str, Any]]:
        return self._ask("send_knock", server).shown

    async def invite(
        self, server: str, event: Event, version: RoomVersion, invite_state: Sequence[dict[str, Any]]
    ) -> Event:
        self.given.append(event)
        self.invite_state = invite_state
        return sign_event(event, server, self._ask("invite", server).key)

    async def exchange_third_party_invite(self, server: str, room_id: str, invite: dict[str, Any]) -> None:
        self._ask("exchange_third_party_invite", server)
        self.exchanged.append((server, room_id, invite))


class Arrived:
    """Keeps what arrives; an accepted event is not put into its room."""

    def __init__(self) -> None:
        self.joins: list[RemoteJoin] = []
        self.accepted: list[Event] = []
        self.out: list[tuple[Event, RoomVersion, Sequence[Mapping[str, Any]]]] = []

    async def begin(self, join: RemoteJoin) -> None:
        self.joins.append(join)

    async def accept(self, room_id: str, event: Event) -> StoredEvent:
        self.accepted.append(event)
        return StoredEvent(event, 0, 0, None, None, None)

    async def out_of_band(
        self, event: Event, version: RoomVersion, stripped: Sequence[Mapping[str, Any]]
    ) -> None:
        self.out.append((event, version, stripped))
