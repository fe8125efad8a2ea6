"""Asking other servers for their users' keys.

https://spec.matrix.org/v1.19/server-server-api/#end-to-end-encryption

Anybody can send us to any server by naming its users, so a failure here does not back it off for others.
A server speaks for its own users only, for those it was asked about, and in the shape clients rely on: what
it says beside that is left out. Whether the keys are good, only clients can tell.
"""

from collections.abc import Collection, Mapping
from typing import Any

from federation.client import Backoff, FederationClient, Json, Limits, path_of
from federation.errors import NotFederated, Refused, Unreachable
from federation.shapes import is_signatures, is_stream_id, is_strings, objects, renderable
from homeserver.devices import remote_keys
from homeserver.devices.remote_lists import FetchedList
from homeserver.protocol.ids import domain_of
from storage.remote_devices import MAX_DEVICES, KeptList

_KEYS = "/_matrix/federation/v1/user/keys/"
_DEVICES = "/_matrix/federation/v1/user/devices"
MAX_ANSWER = 16 * 1024 * 1024
ONE_LIST = Limits(seconds=30.0, max_body=MAX_ANSWER, backoff=Backoff.HEED)


class UserKeys:
    """The ports RemoteKeys and RemoteDeviceLists."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    async def query(
        self, server: str, device_keys: Mapping[str, list[str]], timeout_ms: int
    ) -> Mapping[str, Any]:
        given = await self._ask(server, "query", {"device_keys": dict(device_keys)}, timeout_ms)
        users = {user_id for user_id in device_keys if domain_of(user_id) == server}
        return {
            "device_keys": {
                user_id: _devices(user_id, devices, device_keys[user_id])
                for user_id, devices in objects(given.get("device_keys")).items()
                if user_id in users
            },
            **{
                field: _cross_signing_keys(objects(given.get(field)), users)
                for field in ("master_keys", "self_signing_keys")
            },
        }

    async def claim(
        self, server: str, one_time_keys: Mapping[str, Mapping[str, str]], timeout_ms: int
    ) -> Mapping[str, Any]:
        content = {user_id: dict(devices) for user_id, devices in one_time_keys.items()}
        given = await self._ask(server, "claim", {"one_time_keys": content}, timeout_ms)
        return {
            "one_time_keys": {
                user_id: _claimed(devices, content[user_id])
                for user_id, devices in objects(given.get("one_time_keys")).items()
                if user_id in content and domain_of(user_id) == server
            }
        }

    async def devices(self, server: str, user_id: str) -> FetchedList | None:
        try:
            given = await self._client.get(server, path_of(_DEVICES, user_id), limits=ONE_LIST)
        except (NotFederated, Refused):
            return None
        return _list_of(user_id, given)

    async def _ask(self, server: str, what: str, content: Json, timeout_ms: int) -> Json:
        limits = Limits(seconds=timeout_ms / 1000, max_body=MAX_ANSWER, backoff=Backoff.HEED)
        try:
            return renderable(server, await self._client.post(server, _KEYS + what, content, limits=limits))
        except NotFederated as error:
            # One server we do not speak with costs the keys of the others nothing.
            raise Unreachable(str(error)) from error


def _list_of(user_id: str, given: Json) -> FetchedList | None:
    devices, stream_id = given.get("devices"), given.get("stream_id")
    if given.get("user_id") != user_id or not isinstance(devices, list):
        return None
    kept = KeptList()
    for each in devices[:MAX_DEVICES]:
        device_id = each.get("device_id") if isinstance(each, dict) else None
        if isinstance(device_id, str):
            keys = remote_keys.device(
                user_id, device_id, each.get("keys"), each.get("device_display_name")
            )
            if keys is not None:
                kept.devices[device_id] = keys
    for usage in ("master", "self_signing"):
        key = remote_keys.cross_signing_key(user_id, usage, given.get(f"{usage}_key"))
        if key is not None:
            kept.cross_signing[usage] = key
    return FetchedList(stream_id if is_stream_id(stream_id) else None, kept)


def _devices(user_id: str, devices: Json, wanted: Collection[str]) -> Json:
    """None wanted means all."""
    return {
        device_id: keys
        for device_id, keys in objects(devices).items()
        if (not wanted or device_id in wanted)
        and (keys.get("user_id"), keys.get("device_id")) == (user_id, device_id)
        and isinstance(keys.get("algorithms"), list)
        and is_strings(keys.get("keys"))
        and is_signatures(keys.get("signatures"))
        and isinstance(keys.get("unsigned", {}), dict)
    }


def _cross_signing_keys(keys: dict[str, Json], users: Collection[str]) -> dict[str, Json]:
    return {
        user_id: key
        for user_id, key in keys.items()
        if user_id in users
        and key.get("user_id") == user_id
        and isinstance(key.get("usage"), list)
        and is_strings(key.get("keys"))
        and is_signatures(key.get("signatures", {}))
    }


def _claimed(devices: Json, wanted: Mapping[str, str]) -> Json:
    """For each device one key of the algorithm that was wanted."""
    claimed = {}
    for device_id, keys in objects(devices).items():
        for name, key in keys.items():
            algorithm, _, key_id = name.partition(":")
            if key_id and wanted.get(device_id) == algorithm and isinstance(key, str | dict):
                claimed[device_id] = {name: key}
                break
    return claimed
