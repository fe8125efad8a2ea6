"""People with devices and cross-signing keys that really sign, and remote servers to ask about others."""

import secrets
from collections.abc import Mapping
from typing import Any, get_args

import orjson

from homeserver.devices.cross_signing import CrossSigning, Usage
from homeserver.devices.device_lists import DeviceLists
from homeserver.devices.keys import DeviceKeys
from homeserver.devices.one_time_keys import OneTimeKeys
from homeserver.devices.signature_upload import SignatureUpload
from homeserver.errors import RemoteError
from homeserver.protocol.signing import SigningKey, sign_json
from storage import device_lists, devices, memberships
from storage.memberships import Membership
from tests.homeserver.sync.fakes import FakeClock, run
from tests.storage.conftest import SynchronousDatabase

SERVER = "hearth.test"
CURVE = "signed_curve25519"
ROOM = "!room:hearth.test"


def user(name: str) -> str:
    return f"@{name}:{SERVER}"


class Device:
    def __init__(self, user_id: str, device_id: str) -> None:
        self.user_id = user_id
        self.device_id = device_id
        self.signing_key = SigningKey.generate(device_id)
        self.key_id = f"ed25519:{device_id}"

    def keys(self) -> dict[str, Any]:
        keys = {
            "user_id": self.user_id,
            "device_id": self.device_id,
            "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
            "keys": {
                f"curve25519:{self.device_id}": "3C5BFWi2Y8MaVvjM8M22DBmh24PmgR0nPvJOIArzgyI",
                self.key_id: self.signing_key.verify_key.encode(),
            },
        }
        return sign_json(keys, self.user_id, self.signing_key)


class Identity:
    """A user's three cross-signing keys."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self._keys: dict[Usage, SigningKey] = {}
        for usage in get_args(Usage):
            seed = secrets.token_bytes(32)
            public = SigningKey("x", seed).verify_key.encode()
            self._keys[usage] = SigningKey(public, seed)

    def public(self, usage: Usage) -> str:
        return self._keys[usage].version

    def key(self, usage: Usage) -> dict[str, Any]:
        public = self.public(usage)
        key = {"user_id": self.user_id, "usage": [usage], "keys": {f"ed25519:{public}": public}}
        return key if usage == "master" else self.sign(key, "master")

    def keys(self, *usages: Usage) -> dict[Usage, Any]:
        return {usage: self.key(usage) for usage in usages or self._keys}

    def sign(self, signed: dict[str, Any], usage: Usage) -> dict[str, Any]:
        return sign_json(signed, self.user_id, self._keys[usage])


class FakeRemote:
    """remote.test knows Carol; down.test never answers; liar.test talks about others' users."""

    def __init__(self) -> None:
        self.carol = Identity("@carol:remote.test")
        self.asked: list[tuple[str, Mapping[str, Any], int]] = []

    async def query(
        self, server: str, device_keys: Mapping[str, list[str]], timeout_ms: int
    ) -> Mapping[str, Any]:
        self._ask(server, device_keys, timeout_ms)
        if server == "liar.test":
            wrong = Device(user("alice"), "EVIL").keys()
            return {
                "device_keys": {user("alice"): {"EVIL": wrong}, "@eve:liar.test": {"EVIL": wrong, "X": 1}},
                "master_keys": {"@eve:liar.test": {"user_id": user("alice"), "keys": 5}, user("bob"): {}},
                "self_signing_keys": [],
            }
        device = Device("@carol:remote.test", "CAROLS").keys()
        return {
            "device_keys": {"@carol:remote.test": {"CAROLS": device}},
            "master_keys": {"@carol:remote.test": self.carol.key("master")},
        }

    async def claim(
        self, server: str, one_time_keys: Mapping[str, Mapping[str, str]], timeout_ms: int
    ) -> Mapping[str, Any]:
        self._ask(server, one_time_keys, timeout_ms)
        key = {f"{CURVE}:AA": {"key": "x"}}
        return {"one_time_keys": {"@carol:remote.test": {"CAROLS": key, "OTHER": key}, user("alice"): {}}}

    def _ask(self, server: str, what: Mapping[str, Any], timeout_ms: int) -> None:
        self.asked.append((server, what, timeout_ms))
        if server == "down.test":
            raise RemoteError("No answer.")


class Scene:
    """The services on one database, and everybody in one room."""

    def __init__(self, db: SynchronousDatabase) -> None:
        self.db = db
        self.clock = FakeClock()
        self.remote = FakeRemote()
        database = db.database
        self.one_time_keys = OneTimeKeys(database, SERVER, self.remote)
        self.keys = DeviceKeys(
            database, SERVER, device_lists.joined_rooms, self.remote, spare=self.one_time_keys.spare
        )
        self.cross_signing = CrossSigning(database, device_lists.joined_rooms)
        self.signatures = SignatureUpload(database, SERVER, device_lists.joined_rooms, self.keys)
        self.lists = DeviceLists(database)

    def join(self, user_id: str, room_id: str = ROOM) -> None:
        def put(tx: Any) -> None:
            position = tx.announce("event", rooms=[room_id])
            memberships.put(tx, Membership(user_id, room_id, "join", None, "$e", user_id, position))

        self.db.write(put)

    def sign_in(self, user_id: str, device_id: str, name: str | None = None) -> None:
        self.db.write(devices.ensure, user_id, device_id, name, 1)

    def device(self, user_id: str, device_id: str, name: str | None = None) -> Device:
        """A device that is signed in and has uploaded its keys."""
        self.sign_in(user_id, device_id, name)
        device = Device(user_id, device_id)
        self.upload(device, keys=device.keys())
        return device

    def upload(self, device: Device, **keys: Any) -> dict[str, int]:
        return run(self.keys.upload(device.user_id, device.device_id, **keys))

    def query(self, viewer: str, *user_ids: str, **wanted: list[str]) -> dict[str, Any]:
        asked = {**dict.fromkeys(user_ids, list[str]()), **{user(name): ids for name, ids in wanted.items()}}
        answer: dict[str, Any] = orjson.loads(run(self.keys.query(viewer, asked)))
        return answer

    def announced(self, stream: str = "device_list") -> list[Any]:
        """What was announced since the last call."""
        found = [change for change in self.db.changes if change.stream == stream]
        self.db.changes.clear()
        return found
