"""A remote with a room: it publishes its key, makes events, and answers as a test has it."""

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from homeserver.protocol.events import Event, build
from homeserver.protocol.room_versions import ROOM_VERSIONS, RoomVersion
from homeserver.protocol.signing import SigningKey, sign_json
from tests.federation.case import DAY_MS, FederationCase
from tests.federation.remote import Asked, Remote, answer
from tests.homeserver.sync.fakes import START_MS

Reply = Callable[[Asked], Any]
"""JSON for 200, or bytes: a whole answer, or the end of the connection."""


def always(reply: Any) -> Reply:
    return lambda asked: reply


class RoomRemote:
    """`replies` maps an endpoint's name (`backfill`, `v2/send_join`) to what it answers."""

    def __init__(self, case: FederationCase, version: str = "10") -> None:
        self.key = SigningKey.generate("k1")
        self.version: RoomVersion = ROOM_VERSIONS[version]
        self.replies: dict[str, Reply] = {}
        self.remote = case.make_remote(self._reply)
        self.name = self.remote.name
        self.create = self.event("m.room.create", {"room_version": version, "creator": self.user}, "")
        self.room_id = self.create.room_id

    @property
    def user(self) -> str:
        return f"@u:{self.name}"

    def event(
        self,
        type: str = "m.x",
        content: dict[str, Any] | None = None,
        state_key: str | None = None,
        **given: Any,
    ) -> Event:
        room_id: str | None = "!r:room.test"
        if self.version.room_id_is_create_id:
            room_id = None if type == "m.room.create" else self.room_id
        options: dict[str, Any] = {
            "room_id": room_id, "sender": self.user, "prev_events": [], "auth_events": [], "depth": 1,
            "origin_server_ts": START_MS, "server_name": self.name, "signing_key": self.key, **given,
        }
        return build(self.version, type=type, content=content or {}, state_key=state_key, **options)

    def asked(self, endpoint: str) -> list[Asked]:
        return [each for each in self.remote.asked if f"/{endpoint}" in each.uri]

    def _reply(self, asked: Asked) -> bytes | list[bytes]:
        path = unquote(asked.uri.partition("?")[0])
        if path.startswith("/_matrix/key/"):
            return answer(self._statement())
        for endpoint, reply in self.replies.items():
            if f"/{endpoint}/" in path:
                found = reply(asked)
                if found == Remote.CLOSE:
                    return [Remote.CLOSE]
                return found if isinstance(found, bytes) else answer(found)
        return answer({"errcode": "M_UNRECOGNIZED", "error": "Unrecognized request."}, 404)

    def _statement(self) -> dict[str, Any]:
        content = {
            "server_name": self.name,
            "verify_keys": {self.key.key_id: {"key": self.key.verify_key.encode()}},
            "valid_until_ts": START_MS + DAY_MS,
        }
        return sign_json(content, self.name, self.key)
