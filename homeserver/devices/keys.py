"""Identity keys of devices: uploading and querying them.

https://spec.matrix.org/v1.19/client-server-api/#key-management-api

Keys are stored as their owner's clients made them, signatures included; a query adds to the stored bytes
what is not signed (`unsigned`) and the signatures that only the asker may see. Most answers are thus put
together without parsing a single key, and from memory (`local_keys`).
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import orjson

from homeserver.devices import one_time_keys, opaque
from homeserver.devices.device_lists import JoinedRooms
from homeserver.devices.local_keys import LocalKeys, UserKeys
from homeserver.devices.remote import MAX_WAIT_MS, NoRemotes, RemoteKeys, answers_about, ask_all, by_server
from homeserver.devices.spare_keys import SpareKeys
from homeserver.errors import BadJson, Forbidden, InvalidParam
from storage import cross_signing, device_keys, device_lists, to_device, transactions
from storage.cross_signing import UserSignature
from storage.database import Database
from storage.device_keys import OneTimeKey
from storage.remote_devices import KeptList
from storage.transaction import Transaction

MAX_KEYS_BYTES = 65_536


class Upload(NamedTuple):
    """What a device publishes of its keys, checked."""

    identity: dict[str, Any] | None
    one_time: list[OneTimeKey]
    fallback: list[OneTimeKey]


class DeviceList(NamedTuple):
    """One user's devices that have keys, and the keys that vouch for them, as other servers may see them.

    `stream_id` is the position of the list's last change; `cross_signing` has what there is of
    `master_key` and `self_signing_key`.
    """

    stream_id: int
    devices: list[dict[str, Any]]
    cross_signing: dict[str, Any]


class KeptLists(NamedTuple):
    """`good`: the lists to answer from. `marks`: those to be filled with the answer of their server."""

    good: Mapping[str, KeptList]
    marks: Mapping[str, int]


class ListKeeper(Protocol):
    """Keeps lists of remote users' devices; `remote_lists.RemoteLists`."""

    async def look_up(self, viewer: str, user_ids: Collection[str]) -> KeptLists: ...

    async def fill(self, marks: Mapping[str, int], answer: Mapping[str, Any]) -> None: ...

    def fetch_later(self, user_ids: Collection[str]) -> None: ...


class KeepsNothing:
    """Every question goes to the remote server."""

    async def look_up(self, viewer: str, user_ids: Collection[str]) -> KeptLists:
        return KeptLists({}, {})

    async def fill(self, marks: Mapping[str, int], answer: Mapping[str, Any]) -> None:
        """Nothing to fill."""

    def fetch_later(self, user_ids: Collection[str]) -> None:
        """Nothing to fetch for."""


class DeviceKeys:
    def __init__(
        self,
        db: Database,
        server_name: str,
        joined_rooms: JoinedRooms,
        remote: RemoteKeys | None = None,
        lists: ListKeeper | None = None,
        spare: SpareKeys | None = None,
    ) -> None:
        self._db = db
        self._server_name = server_name
        self._joined_rooms = joined_rooms
        self.remote: RemoteKeys = remote or NoRemotes()
        self._lists: ListKeeper = lists or KeepsNothing()
        self._spare = spare or SpareKeys()
        self._local = LocalKeys(db)

    async def upload(
        self,
        user_id: str,
        device_id: str,
        *,
        keys: Mapping[str, Any] | None = None,
        one_time: Mapping[str, Any] | None = None,
        fallback: Mapping[str, Any] | None = None,
    ) -> dict[str, int]:
        """Takes all of it or nothing; returns how many one-time keys are held, by algorithm."""
        upload = parse_upload(user_id, device_id, keys or {}, one_time or {}, fallback or {})
        if any(upload):
            refused = await self._db.write(self.store_in, user_id, device_id, upload)
            if refused is not None:
                raise refused
        stored = await self._db.read(device_keys.one_time_key_counts, user_id, device_id)
        return self._spare.count(user_id, device_id, stored)

    async def query(
        self, viewer: str, wanted: Mapping[str, Collection[str]], timeout_ms: int = 10_000
    ) -> bytes:
        """`wanted`: user → devices, none meaning all. The JSON of the answer as `viewer` may see it."""
        servers = by_server(wanted)
        local = servers.pop(self._server_name, {})
        found = await self._local.of(local)
        signatures = await self._local.signatures_by(viewer)
        result = _local_answer(local, found, viewer)
        timeout_ms = max(0, min(timeout_ms, MAX_WAIT_MS))
        result["failures"] = {}
        if servers:
            await self._add_remote(result, viewer, servers, timeout_ms)
        _add_signatures(result["master_keys"], signatures)
        return orjson.dumps(result)

    async def _add_remote(
        self,
        result: dict[str, Any],
        viewer: str,
        servers: Mapping[str, Mapping[str, Collection[str]]],
        timeout_ms: int,
    ) -> None:
        kept = await self._lists.look_up(viewer, [user_id for users in servers.values() for user_id in users])
        to_ask: dict[str, dict[str, Collection[str]]] = {}
        for server, users in servers.items():
            for user_id, devices in users.items():
                if user_id in kept.good:
                    _add_kept(result, user_id, kept.good[user_id], devices)
                else:
                    to_ask.setdefault(server, {})[user_id] = devices
        # Lists that will be kept are asked for as a whole.
        answers, result["failures"] = await ask_all(
            to_ask,
            lambda server, users: self.remote.query(
                server,
                {user_id: [] if user_id in kept.marks else list(users[user_id]) for user_id in users},
                timeout_ms,
            ),
        )
        for server, users in to_ask.items():
            marks = {user_id: kept.marks[user_id] for user_id in users if user_id in kept.marks}
            if server not in answers:
                self._lists.fetch_later(marks)
                continue
            _add_remote_answer(result, answers[server], users)
            if marks:
                await self._lists.fill(marks, answers[server])

    async def query_local(self, wanted: Mapping[str, Collection[str]]) -> dict[str, Any]:
        """What other servers may see of our users' keys."""
        return _local_answer(wanted, await self._local.of(wanted), None)

    async def device_list(self, user_id: str) -> DeviceList:
        """Empty for a user who has no keys, or does not exist."""
        return await self._db.read(_device_list, user_id)

    def forget_devices(self, tx: Transaction, user_id: str, device_ids: Collection[str]) -> None:
        """For the transaction that deletes devices: everything that was kept for them goes, too."""
        to_device.forget_devices(tx, user_id, device_ids)
        for device_id in device_ids:
            transactions.forget_device(tx, user_id, device_id)
        had_keys = device_keys.forget_devices(tx, user_id, device_ids)
        if had_keys:
            device_lists.record(tx, user_id, had_keys, self._joined_rooms(tx, user_id))

    def renamed(self, tx: Transaction, user_id: str, device_id: str) -> None:
        """For the transaction that changes a display name, which a query for keys shows."""
        if device_keys.identity_keys(tx, user_id, device_id) is not None:
            device_lists.record(tx, user_id, [device_id], self._joined_rooms(tx, user_id))

    def store_in(
        self, tx: Transaction, user_id: str, device_id: str, upload: Upload
    ) -> Forbidden | InvalidParam | None:
        """Returns why the upload is refused; it is judged before anything is written."""
        if upload.identity is not None and any(
            key.public_key == device_id for key in cross_signing.keys_of(tx, [user_id])
        ):
            return Forbidden("The device has the ID of one of your cross-signing keys.")
        if upload.one_time:
            other = device_keys.add_one_time_keys(tx, user_id, device_id, upload.one_time)
            if other is not None:
                name = f"{other.algorithm}:{other.key_id}"
                return InvalidParam(f"One-time key {name} exists already and is another key.")
        if upload.fallback:
            device_keys.replace_fallback_keys(tx, user_id, device_id, upload.fallback)
        if upload.identity is not None:
            self._store_identity(tx, user_id, device_id, upload.identity)
        return None

    def _store_identity(self, tx: Transaction, user_id: str, device_id: str, keys: dict[str, Any]) -> None:
        held_bytes = device_keys.identity_keys(tx, user_id, device_id)
        if held_bytes is not None:
            held = orjson.loads(held_bytes)
            if opaque.without(held, "signatures") == opaque.without(keys, "signatures"):
                # The same keys: signatures that came by other ways, such as cross-signing, stay.
                keys = opaque.merge_signatures(held, keys["signatures"])
        data = opaque.to_bytes(keys)
        if data != held_bytes:
            device_keys.put_identity_keys(tx, user_id, device_id, data)
            device_lists.record(tx, user_id, [device_id], self._joined_rooms(tx, user_id))


def parse_upload(
    user_id: str,
    device_id: str,
    keys: Mapping[str, Any],
    one_time: Mapping[str, Any],
    fallback: Mapping[str, Any],
) -> Upload:
    return Upload(
        identity=_parse_identity(user_id, device_id, keys) if keys else None,
        one_time=one_time_keys.parse(one_time),
        fallback=one_time_keys.parse_fallback(fallback),
    )


def _parse_identity(user_id: str, device_id: str, keys: Mapping[str, Any]) -> dict[str, Any]:
    if keys.get("user_id") != user_id or keys.get("device_id") != device_id:
        raise InvalidParam("user_id and device_id of the device keys must be those of the access token.")
    algorithms = keys.get("algorithms")
    if not isinstance(algorithms, list) or not all(isinstance(name, str) for name in algorithms):
        raise BadJson("algorithms must be a list of strings.")
    if not is_strings(keys.get("keys")):
        raise BadJson("keys must be an object of strings.")
    if not is_signatures(keys.get("signatures")):
        raise BadJson("signatures must be an object of objects of strings.")
    identity = opaque.without(keys, "unsigned")
    if len(opaque.to_bytes(identity)) > MAX_KEYS_BYTES:
        raise InvalidParam("The device keys are too large.")
    return identity


def is_strings(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())


def is_signatures(value: Any) -> bool:
    return isinstance(value, dict) and all(is_strings(by_key) for by_key in value.values())


def _device_list(tx: Transaction, user_id: str) -> DeviceList:
    devices = []
    for _, device_id, keys, display_name in device_keys.identity_keys_of(tx, [user_id]):
        device: dict[str, Any] = {"device_id": device_id, "keys": opaque.fragment(keys)}
        if display_name is not None:
            device["device_display_name"] = display_name
        devices.append(device)
    vouching = {
        f"{key.usage}_key": opaque.fragment(key.keys)
        for key in cross_signing.keys_of(tx, [user_id])
        if key.usage != "user_signing"
    }
    return DeviceList(device_lists.last_change(tx, user_id), devices, vouching)


_USAGE_FIELDS = {
    "master": "master_keys",
    "self_signing": "self_signing_keys",
    "user_signing": "user_signing_keys",
}


def _local_answer(
    wanted: Mapping[str, Collection[str]], found: Mapping[str, UserKeys], viewer: str | None
) -> dict[str, Any]:
    """Users without keys have an empty entry, whether they exist or not: that is nobody's business."""
    devices: dict[str, dict[str, Any]] = {}
    answer: dict[str, Any] = {"device_keys": devices, **{field: {} for field in _USAGE_FIELDS.values()}}
    for user_id, device_ids in wanted.items():
        keys = found[user_id]
        devices[user_id] = keys.devices
        if device_ids:
            devices[user_id] = {each: keys.devices[each] for each in device_ids if each in keys.devices}
        for usage, key in keys.cross_signing.items():
            if usage != "user_signing" or user_id == viewer:
                answer[_USAGE_FIELDS[usage]][user_id] = key
    return answer


def _add_kept(result: dict[str, Any], user_id: str, kept: KeptList, wanted: Collection[str]) -> None:
    result["device_keys"][user_id] = {
        device_id: opaque.fragment(keys)
        for device_id, keys in kept.devices.items()
        if not wanted or device_id in wanted
    }
    for usage, key in kept.cross_signing.items():
        result[_USAGE_FIELDS[usage]][user_id] = opaque.fragment(key)


def _add_remote_answer(
    result: dict[str, Any], answer: Mapping[str, Any], wanted: Mapping[str, Collection[str]]
) -> None:
    for user_id, devices in answers_about(answer, "device_keys", wanted).items():
        result["device_keys"][user_id] = {
            device_id: keys
            for device_id, keys in devices.items()
            if (not wanted[user_id] or device_id in wanted[user_id])
            and isinstance(keys, dict)
            and (keys.get("user_id"), keys.get("device_id")) == (user_id, device_id)
        }
    for field in ("master_keys", "self_signing_keys"):
        result[field] |= {
            user_id: key
            for user_id, key in answers_about(answer, field, wanted).items()
            if key.get("user_id") == user_id
            and is_strings(key.get("keys"))
            and is_signatures(key.get("signatures", {}))
        }


def _add_signatures(master_keys: dict[str, Any], signatures: Sequence[UserSignature]) -> None:
    """The viewer's own signatures on the master keys they were made for."""
    for made in signatures:
        key = master_keys.get(made.target_user_id)
        if isinstance(key, orjson.Fragment):
            key = orjson.loads(orjson.dumps(key))
        if key is not None and f"ed25519:{made.target_key}" in key["keys"]:
            by_signer = {made.signer: {made.signer_key_id: made.signature}}
            master_keys[made.target_user_id] = opaque.merge_signatures(key, by_signer)
